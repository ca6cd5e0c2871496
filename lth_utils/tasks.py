"""Tasks: the papers' settings as named constants, at three scales.

A :class:`Task` is a network, a dataset, a recipe and a way to prune. The constants here hold the
papers' settings; ``task.at("live")`` is the same task made small enough for two CPU cores, and
nothing but numbers changes. The scale is chosen once, by ``LTH_SCALE`` or by :func:`scale`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import torch
from torch import nn

from lth_utils import datasets, models
from lth_utils.datasets import Dataset
from lth_utils.errors import InputError, look_up, unknown
from lth_utils.masks import Mask
from lth_utils.models import Network, Weights
from lth_utils.recipes import SGD, Adam, Augment, Recipe, Schedule, Step
from lth_utils.supermasks import Bernoulli, EdgePopup, masked
from lth_utils.training import Run, train

SCALES = ("smoke", "live", "paper")

_chosen: str | None = None


def scale(name: str | None = None) -> str:
    """The scale at which tasks run; with a name, choose it first.

    ``"smoke"`` takes seconds and is for tests, ``"live"`` under a minute on two cores, and
    ``"paper"`` has the papers' settings and wants a GPU. Without a choice it is ``$LTH_SCALE``, or
    ``"live"``.
    """
    global _chosen
    if name is not None:
        _chosen = _known_scale(name)
    return _chosen or _known_scale(os.environ.get("LTH_SCALE") or "live")


def _known_scale(name: str) -> str:
    if name not in SCALES:
        raise unknown("scale", name, SCALES)
    return name


def device() -> torch.device:
    """Where networks are trained: ``$LTH_DEVICE``, or a GPU where there is one, or the CPU."""
    default = "cuda" if torch.cuda.is_available() else "cpu"
    name = os.environ.get("LTH_DEVICE") or default
    try:
        return torch.device(name)
    except RuntimeError:
        raise InputError(f"LTH_DEVICE={name} is not a device; try cpu, cuda or mps.") from None


@dataclass(frozen=True)
class Task:
    """A network, a dataset, a recipe and a way to prune.

    Attributes:
        name: how the command line knows it.
        title: the network's name in figures.
        network: its name in :data:`lth_utils.models.NETWORKS`; or your own, as an ``nn.Module``,
            or as a class or function that makes one from those of ``inputs`` (the shape of an
            image), ``classes`` and ``width`` that it names.
        dataset: its name in :mod:`lth_utils.datasets`; or your own, as
            :func:`lth_utils.datasets.make` gives it, or a function that gives it. A dataset is
            sent to the workers of a cluster, a function is called there.
        embedded: the set that stands in where the dataset is not found; every title says so.
        recipe: how it is trained.
        prune: share of the remaining weights that one of the paper's levels removes, by kind of
            layer: ``conv``, ``linear``, ``output``.
        scope: ``"layer"`` or ``"global"``.
        levels: how many times it is pruned.
        stride: how many of the paper's levels one of ours does at once, so that the densities
            reached are the paper's at any scale; one number, or one for each level.
        replicates: how many seeds.
        width: multiplies the network's hidden layers.
        dropout: rate of dropout behind hidden layers that are fully connected.
        label_noise: share of the training labels that is replaced by labels drawn at random.
        permuted: whether the pixels of all images are put in another, common order.
        pool: rows and columns of pixels that are averaged into one; 1 leaves images as they are.
        classes: the classes whose images are used, numbered anew in this order; all if None.
        supermask: the rule by which masks are trained in place of weights, by ``recipe``; see
            :mod:`lth_utils.supermasks`.
        dense: beside a supermask, the recipe that trains the weights of the same network.
        report: splits that are looked at, at the early stop and at the end.
        images: how many images to train, validate and test on; all by default.
        control_levels: levels at which controls are trained; all by default.
        scales: what each scale changes, by attribute.
        scale: the scale that this task is at.
    """

    name: str
    title: str
    network: Network
    dataset: str | Dataset | Callable[[], Dataset]
    recipe: Recipe
    prune: Mapping[str, float]
    embedded: str | None = None
    scope: str = "layer"
    levels: int = 20
    stride: int | tuple[int, ...] = 1
    replicates: int = 5
    width: float = 1.0
    dropout: float = 0.0
    label_noise: float = 0.0
    permuted: bool = False
    pool: int = 1
    classes: tuple[int, ...] | None = None
    supermask: Bernoulli | EdgePopup | None = None
    dense: Recipe | None = None
    report: tuple[str, ...] = ("test",)
    images: tuple[int | None, int | None, int | None] = (None, None, None)
    control_levels: tuple[int, ...] | None = None
    scales: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    scale: str = "paper"

    def at(self, name: str | None = None) -> Task:
        """This task at the scale called ``name``, by default the one chosen for the session."""
        name = _known_scale(name) if name else scale()
        if self.scale == name:
            return self
        if self.scale != "paper":
            raise InputError(
                f"Task {self.name} is at scale {self.scale} already; a scale starts from the "
                f"paper's task."
            )
        return self.changed(**self.scales.get(name, {}), scale=name)

    def changed(self, **changes) -> Task:
        """This task with other attributes; of a recipe or a rule only some parts may be given."""
        for part in ("recipe", "dense", "supermask"):
            if isinstance(changes.get(part), Mapping):
                changes[part] = replace(getattr(self, part), **changes[part])
        return replace(self, **changes)

    def __getstate__(self) -> dict:
        # Another process makes its own parts: data are loaded where they are needed, never sent.
        return {f.name: getattr(self, f.name) for f in fields(self)}

    # The parts, made when first asked for -------------------------------------------------------

    @cached_property
    def data(self) -> Dataset:
        """The dataset on the training device; the embedded set only where there is no other."""
        data = self._given_data()
        data = data.only(self.classes) if self.classes else data
        data = data.pooled(self.pool) if self.pool != 1 else data
        data = data.permuted() if self.permuted else data
        limits = [
            n if n is None else min(n, len(split))
            for n, split in zip(self.images, (data.train, data.val, data.test), strict=True)
        ]
        data = data.subset(*limits) if any(limits) else data
        return data.with_label_noise(self.label_noise) if self.label_noise else data

    def _given_data(self) -> Dataset:
        if isinstance(name := self.dataset, str):
            if self.embedded and datasets.find(name) is None:
                name = self.embedded
            return datasets.load(name, device=device())
        data = self.dataset() if callable(self.dataset) else self.dataset
        if not isinstance(data, Dataset):
            raise InputError(
                f"Task {self.name} has {type(data).__name__} for a dataset; give a name, or what "
                "lth.datasets.make makes of your arrays."
            )
        return data.to(device())

    @cached_property
    def model(self) -> nn.Module:
        """The network as a function; its own weights play no part.

        Raises:
            InputError: a network of one's own cannot be made, pruned or trained here.
        """
        data = self.data
        model = models.build(
            self.network, data.input_shape, data.num_classes, self.width, self.dropout
        )
        if not isinstance(self.network, str):
            two = data.train.first(2)
            images = data.normalise(two.images).cpu()
            models.check(model, images, (*two.labels.shape, data.num_classes))
        return (masked(model, self.supermask) if self.supermask else model).to(device())

    @property
    def seeds(self) -> tuple[int, ...]:
        """One seed for each replicate."""
        return tuple(range(self.replicates))

    @property
    def iterations(self) -> int:
        """Length of one training."""
        return self.recipe.iterations(len(self.data.train))

    @property
    def fractions(self) -> dict[str, float]:
        """Share of the remaining weights that a level removes, for each prunable tensor; the first
        level, where levels differ."""
        return self.fractions_at(1)

    def fractions_at(self, level: int) -> dict[str, float]:
        """Share of the remaining weights that one level removes, for each prunable tensor.

        Raises:
            InputError: the task has strides for fewer levels, or no fraction for a kind of layer.
        """
        stride = self.stride
        if not isinstance(stride, int):
            if level > len(stride):
                raise InputError(
                    f"Task {self.name} has strides for {len(stride)} levels, not for {level}; give "
                    "it one number for all levels, or more of them."
                )
            stride = stride[level - 1]
        kinds = models.prunable(self.model)
        missing = {kind for kind in kinds.values() if kind not in self.prune}
        if missing:
            raise InputError(
                f"Task {self.name} has no fraction for layers of kind {missing.pop()}."
            )
        # Rounded, so that one level of 20% is 0.2 and not 0.19999999999999996.
        share = {kind: round(1 - (1 - f) ** stride, 12) for kind, f in self.prune.items()}
        return {name: share[kind] for name, kind in kinds.items()}

    def arms_at(self, level: int, levels: int, treatments: Sequence[str]) -> list[str]:
        """The treatments trained at a level: the first always, the rest where controls are due."""
        due = self.control_levels is None or level in self.control_levels or level == levels
        return list(treatments) if due else list(treatments[:1])

    def describe(self) -> str:
        """Two lines for a figure's title: network, data, length, and what was narrowed."""
        changed = [f"{self.width:g} × the width"] if self.width != 1 else []
        changed += [f"dropout {self.dropout:g}"] if self.dropout else []
        title = f"{self.title} ({', '.join(changed)})" if changed else self.title
        return f"{title} on {self.data.title},\n{self.iterations:,} iterations"

    # The verbs ----------------------------------------------------------------------------------

    def init(self, seeds: Sequence[int], purpose: str = "init", *where: object) -> Weights:
        """Initial weights, one member a seed: (R, \\*shape). See
        :func:`lth_utils.models.initialise`."""
        weights = models.initialise(self.model, seeds, purpose, *where)
        return {name: w.to(device()) for name, w in weights.items()}

    def dense_mask(self, seeds: Sequence[int]) -> Mask:
        """The mask that keeps everything, one member a seed."""
        return models.dense_mask(self.model, len(seeds)).to(device())

    def train(
        self,
        start: Weights,
        mask: Mask,
        seeds: Sequence[int],
        begin: Step | str | int = "0it",
        end: Step | str | int | None = None,
        keep: Iterable[Step | str | int] = (),
        recipe: Recipe | None = None,
        **options,
    ) -> Run:
        """:func:`lth_utils.train` with this task's network, data and recipe."""
        recipe = recipe or self.recipe
        options.setdefault("report", self.report)
        return train(self.model, start, mask, self.data, recipe, seeds, begin, end, keep, **options)


LENET_MNIST = Task(
    name="lenet-mnist",
    title="LeNet-300-100",
    network="lenet-300-100",
    dataset="mnist",
    embedded="mnist-5k",
    recipe=Recipe(duration="50000it", batch=60, optimiser=Adam(1.2e-3), every="100it"),
    prune={"linear": 0.20, "output": 0.10},
    levels=24,
    scales={
        "live": {
            "recipe": {"duration": "400it", "every": "25it"},
            "levels": 5,
            "stride": 3,
            "images": (None, 2_000, None),
            "control_levels": (3, 5),
        },
        "smoke": {
            "recipe": {"duration": "20it", "every": "10it"},
            "levels": 2,
            "stride": 7,
            "replicates": 2,
            "images": (1_000, 200, 200),
        },
    },
)
"""LeNet-300-100 on MNIST, the first experiment of Frankle and Carbin (2019)."""

LENET_FASHION = replace(LENET_MNIST, name="lenet-fashion", dataset="fashion-mnist", embedded=None)
"""The same network and recipe on Fashion-MNIST, which must be fetched first."""


def _conv(depth: int, rate: float, iterations: int, conv: float) -> Task:
    return Task(
        name=f"conv-{depth}-cifar10",
        title=f"Conv-{depth}",
        network=f"conv-{depth}",
        dataset="cifar10",
        embedded="shapes-32",
        recipe=Recipe(duration=f"{iterations}it", batch=60, optimiser=Adam(rate), every="100it"),
        prune={"conv": conv, "linear": 0.20, "output": 0.10},
        levels=24,
        scales={
            "live": {
                # Many small batches: on a CPU they learn more in a second than few large ones.
                "recipe": {
                    "duration": "200it",
                    "batch": 20,
                    "every": "40it",
                    "optimiser": Adam(4e-3),
                },
                "width": 0.125,
                "levels": 3,
                "stride": 5,
                "replicates": 3,
                "images": (4_000, 300, 1_000),
                "control_levels": (3,),
            },
            "smoke": {
                "recipe": {"duration": "6it", "every": "3it"},
                "width": 0.03125,
                "levels": 2,
                "stride": 7,
                "replicates": 2,
                "images": (200, 100, 100),
            },
        },
    )


CONV2_CIFAR10 = _conv(2, 2e-4, 20_000, conv=0.10)
"""Conv-2 on CIFAR-10 (Frankle and Carbin, 2019, figure 2)."""

CONV4_CIFAR10 = _conv(4, 3e-4, 25_000, conv=0.10)
"""Conv-4 on CIFAR-10 (Frankle and Carbin, 2019, figure 2)."""

CONV6_CIFAR10 = _conv(6, 3e-4, 30_000, conv=0.15)
"""Conv-6 on CIFAR-10 (Frankle and Carbin, 2019, figure 2)."""

LENET_MNIST1D = Task(
    name="lenet-mnist1d",
    title="LeNet-300-100",
    network="lenet-300-100",
    dataset="mnist-1d",
    recipe=Recipe(duration="2000it", batch=100, optimiser=Adam(1.2e-3), every="25it"),
    prune={"linear": 0.20, "output": 0.10},
    levels=7,
    stride=2,
    scales={
        "live": {
            "recipe": {"duration": "1000it", "every": "50it"},
            "levels": 3,
            "stride": 4,
            "replicates": 3,
        },
        "smoke": {
            "recipe": {"duration": "20it", "every": "10it"},
            "levels": 2,
            "stride": 5,
            "replicates": 2,
            "images": (500, 100, 200),
        },
    },
)
"""LeNet-300-100 on MNIST-1D (Greydanus and Kobak, 2024), with a recipe of ours. Small enough to
think with, and its inputs have neighbours."""


MLP_MNIST1D = Task(
    name="mlp-mnist1d",
    title="MLP 200-200-200",
    network="mlp-3",
    dataset="mnist-1d",
    recipe=Recipe(
        duration="4000it",
        batch=32,
        optimiser=Adam(0.01),
        schedule=Schedule(cosine=True),
        every="200it",
    ),
    prune={"linear": 0.20, "output": 0.20},
    scope="global",
    levels=1,
    stride=(13,),
    replicates=10,
    scales={
        "live": {"replicates": 3},
        "smoke": {
            "recipe": {"duration": "20it", "every": "10it"},
            "replicates": 2,
            "images": (500, 100, 200),
        },
    },
)
"""The smallest system of the book in which resetting to initialisation costs accuracy that late
rewinding brings back, three hidden layers on MNIST-1D, pruned one-shot to 5.5%. Adam's rate is ten
times its default. Found by search; network and recipe are ours."""


MLP_DROPS_MNIST1D = replace(
    MLP_MNIST1D,
    name="mlp-mnist1d-drops",
    recipe=Recipe(
        duration="2000it",
        batch=32,
        optimiser=SGD(0.05, momentum=0.9),
        schedule=Schedule(milestones=("50%", "75%")),
        every="100it",
    ),
    # 32.8%, 13.4% and 5.5%.
    levels=3,
    stride=(5, 4, 4),
)
"""The same network with a rate that drops and does not end at zero, so that one can train on at the
last. Of six rates this one gives the best dense validation accuracy, five seeds; recipe of ours."""


def _hidden(task: Task, method: str, rule: Bernoulli | EdgePopup, recipe: Recipe, live) -> Task:
    """A task that trains masks over the weights of another, and for comparison the weights."""
    few = {"duration": "6it", "batch": 20, "every": "3it"}
    usual = {"duration", "every", "batch", "optimiser"}
    return replace(
        task,
        name=f"{task.network.removesuffix('-300-100')}-{method}",
        recipe=recipe,
        supermask=rule,
        dense=task.recipe,
        scales={
            scale: {
                **{k: v for k, v in changes.items() if k in ("width", "images")},
                "replicates": 2 if scale == "smoke" else 3,
                "recipe": few if scale == "smoke" else live,
                "dense": {k: v for k, v in changes["recipe"].items() if k in usual},
            }
            for scale, changes in task.scales.items()
        },
    )


def _bernoulli(task: Task, live: Mapping) -> Task:
    sgd = SGD(100.0, momentum=0.9)
    recipe = Recipe(duration="20000it", batch=250, optimiser=sgd, every="250it")
    return _hidden(
        task, "supermask", Bernoulli(constant=True, rescale=True, start=1.0), recipe, live
    )


def _edge_popup(task: Task, live: Mapping) -> Task:
    sgd = SGD(0.1, momentum=0.9, decay=1e-4)
    cosine = Schedule(cosine=True)
    recipe = Recipe(duration="100ep", batch=128, optimiser=sgd, schedule=cosine, every="1ep")
    return _hidden(task, "edge-popup", EdgePopup(), recipe, live)


LENET_SUPERMASK = _bernoulli(LENET_MNIST, live={"duration": "400it", "every": "50it"})
"""Supermasks of LeNet-300-100 on MNIST, after Zhou et al. (2019). Masks are trained, and for
comparison, by recipe ``dense``, the weights. Length and first score are ours."""

LENET_EDGE_POPUP = _edge_popup(LENET_MNIST, live={"duration": "300it", "every": "50it"})
"""Edge-popup in LeNet-300-100 on MNIST, with the recipe of Ramanujan et al. (2020)."""

CONV2_SUPERMASK, CONV4_SUPERMASK, CONV6_SUPERMASK = (
    _bernoulli(task, live={"duration": "200it", "batch": 20, "every": "50it"})
    for task in (CONV2_CIFAR10, CONV4_CIFAR10, CONV6_CIFAR10)
)
CONV2_EDGE_POPUP, CONV4_EDGE_POPUP, CONV6_EDGE_POPUP = (
    _edge_popup(task, live={"duration": "200it", "batch": 20, "every": "50it"})
    for task in (CONV2_CIFAR10, CONV4_CIFAR10, CONV6_CIFAR10)
)

CONVOLUTIONS = {"conv": 0.20, "shortcut": 0.0, "output": 0.0}
"""The first paper prunes the convolutions of a deep network. The output layer and the
convolutions of shortcuts keep all their weights, 1.2% of a ResNet-20 and 11.9% of a ResNet-50."""

EVERYTHING = {"conv": 0.20, "shortcut": 0.20, "output": 0.20}
"""All layers are ranked together, which is the other choice."""


def _deep(network: str, title: str, recipe: Recipe, width: float) -> Task:
    return Task(
        name=f"{network}-cifar10",
        title=title,
        network=network,
        dataset="cifar10",
        embedded="shapes-32",
        recipe=recipe,
        prune=CONVOLUTIONS,
        scope="global",
        # 21.0% and 10.7%, seven and ten of the papers' levels; levels=20, stride=1 are all of them.
        levels=2,
        stride=(7, 3),
        replicates=3,
        scales={
            "live": {
                "recipe": {"duration": "300it", "batch": 32, "every": "100it"},
                "width": width,
                "pool": 2,
                "levels": 1,
                "stride": (10,),
                "images": (4_000, 300, 1_000),
            },
            "smoke": {
                "recipe": {"duration": "8it", "batch": 10, "every": "4it"},
                "width": width / 4,
                "pool": 2,
                "levels": 1,
                "stride": (10,),
                "replicates": 2,
                "images": (100, 50, 50),
            },
        },
    )


def _sgd(duration: str, batch: int, decay: float) -> Recipe:
    return Recipe(
        duration=duration,
        batch=batch,
        optimiser=SGD(0.1, momentum=0.9, decay=decay),
        schedule=Schedule(milestones=("50%", "75%")),
        augment=Augment(flip=True, crop=4),
        every="1ep",
    )


RESNET20_CIFAR10 = _deep("resnet-20", "ResNet-20", _sgd("182ep", 128, 2e-4), width=0.5)
"""ResNet-20 on CIFAR-10 with the recipe of Renda et al. (2020), whose drops of the rate are at 91
and 136 of 182 epochs. It is the network that Frankle and Carbin (2019) call Resnet-18."""

VGG19_CIFAR10 = _deep("vgg-19", "VGG-19", _sgd("112000it", 64, 1e-4), width=0.125)
"""VGG-19 on CIFAR-10 (Frankle and Carbin, 2019, section 4)."""

VGG11_CIFAR10 = _deep("vgg-11", "VGG-11", _sgd("112000it", 64, 1e-4), width=0.25)
"""VGG-11 with the recipe of VGG-19, small enough for a CPU; a network of ours to the papers'."""

VGG11_PLAIN_CIFAR10 = _deep(
    "vgg-11-plain",
    "VGG-11 without batch norm",
    replace(_sgd("112000it", 64, 1e-4), optimiser=SGD(0.02, momentum=0.9, decay=1e-4)),
    width=0.25,
)
"""The same without batch norm, which does not bear so high a rate."""

RESNET50_CIFAR10 = _deep("resnet-50", "ResNet-50", _sgd("182ep", 128, 2e-4), width=0.125)
"""ResNet-50 with a stem for small images, by the recipe of ResNet-20. The papers train it on
ImageNet."""

TRANSFORMER_TEXT = Task(
    name="transformer-text",
    title="Transformer",
    network="transformer-2",
    dataset="python-docs",
    recipe=Recipe(
        duration="1200it",
        batch=16,
        optimiser=Adam(0.006, betas=(0.9, 0.99)),
        schedule=Schedule(warmup="5%", cosine=True),
        every="100it",
    ),
    prune={"linear": 0.20, "output": 0.20},
    scope="global",
    # 51.2%, 21.0%, 10.7% and 5.5%.
    levels=4,
    stride=(3, 4, 3, 3),
    replicates=3,
    scales={
        "live": {
            "recipe": {"duration": "500it", "optimiser": Adam(0.01, betas=(0.9, 0.99))},
            "width": 0.5,
            "levels": 1,
            "stride": (10,),
            "images": (None, 200, 400),
        },
        "smoke": {
            "recipe": {"duration": "6it", "every": "3it"},
            "width": 0.25,
            "levels": 1,
            "stride": (10,),
            "replicates": 2,
            "images": (60, 20, 20),
        },
    },
)
"""A transformer of two blocks that predicts the next character of the manual that ships with
Python: a system of ours, small enough for a CPU. Of three rates Adam's has the least validation
loss after 300 iterations, one seed."""

TASKS = {
    task.name: task
    for task in (
        LENET_MNIST,
        LENET_FASHION,
        CONV2_CIFAR10,
        CONV4_CIFAR10,
        CONV6_CIFAR10,
        LENET_MNIST1D,
        LENET_SUPERMASK,
        LENET_EDGE_POPUP,
        CONV2_SUPERMASK,
        CONV4_SUPERMASK,
        CONV6_SUPERMASK,
        CONV2_EDGE_POPUP,
        CONV4_EDGE_POPUP,
        CONV6_EDGE_POPUP,
        MLP_MNIST1D,
        MLP_DROPS_MNIST1D,
        RESNET20_CIFAR10,
        VGG19_CIFAR10,
        VGG11_CIFAR10,
        VGG11_PLAIN_CIFAR10,
        RESNET50_CIFAR10,
        TRANSFORMER_TEXT,
    )
}


def by_name(name: str) -> Task:
    """The task called ``name``; an :class:`.InputError` lists those known."""
    return look_up("task", name, TASKS)


def find(where: str) -> Task:
    """A task by its name, or one of your own from where it is defined.

    >>> find("lenet-mnist").title
    'LeNet-300-100'

    Args:
        where: a name that ``lth tasks`` lists; a file, ``"my_study.py"``; one of several tasks in
            it, ``"my_study.py:wide"``; or a task of a module that can be imported,
            ``"package.module:task"``. By default the task called ``task``, or the only one.

    Raises:
        InputError: there is no such name, file or module; its code fails; or nothing in it is a
            task of that name.
    """
    place, _, name = where.rpartition(":")
    if not place or not name.isidentifier():
        place, name = where, ""
    if place.endswith(".py"):
        module = _module(Path(place))
    elif name:
        module = _module(place)
    else:
        return by_name(where)
    found = {n: value for n, value in vars(module).items() if isinstance(value, Task)}
    if not found:
        raise InputError(f"{place} defines no lth.Task; `lth new FILE` writes an example.")
    name = name or ("task" if "task" in found or len(found) > 1 else next(iter(found)))
    task = look_up(f"task in {place}", name, found)
    if not module.__name__.startswith("lth_utils."):
        # Workers have no such file; what they need of it is sent to them.
        cloudpickle.register_pickle_by_value(module)
    return task


def _module(place: Path | str) -> ModuleType:
    """A reader's own module, from its file or by its name."""
    folder = str(place.parent.resolve()) if isinstance(place, Path) else os.getcwd()
    if isinstance(place, Path) and not place.is_file():
        raise InputError(f"There is no file {place}; `lth new {place}` writes one to begin with.")
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as for a script, which finds what lies beside it
    try:
        if isinstance(place, Path):
            # Under a name of its own, so that a file called test.py hides no other.
            spec = importlib.util.spec_from_file_location(f"own task {place.stem}", place)
            module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
    except Exception as error:  # a reader's own code fails in its own ways
        reason = " ".join(str(error).split()).rstrip(".")
        line = _line(error, place) if isinstance(place, Path) else ""
        raise InputError(f"{place} fails{line}: {type(error).__name__}: {reason}.") from error
    return module


def _line(error: Exception, place: Path) -> str:
    """Where in the file an error came up."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == place.resolve()]
    if isinstance(error, SyntaxError):
        lines.append(error.lineno)
    return f" in line {lines[-1]}" if lines else ""
