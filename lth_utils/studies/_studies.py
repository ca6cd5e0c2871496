"""What a study is, and the studies of the book."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pandas as pd

from lth_utils import anatomy, lottery, pruning, speed, stability, structures, supermasks, tasks
from lth_utils.errors import InputError, look_up
from lth_utils.lottery import Lottery
from lth_utils.recipes import SGD, Adam, Augment, Schedule
from lth_utils.store import Store
from lth_utils.tasks import Task


class Procedure(NamedTuple):
    """Something to do with a task, as :func:`lth_utils.imp` does, and how long it will take."""

    run: Callable[..., Lottery]
    predict: Callable[..., float]


PROCEDURES = {
    "imp": Procedure(lottery.imp, lottery.predict),
    "instability": Procedure(stability.instability, stability.predict),
    "supermasks": Procedure(supermasks.learn, supermasks.predict),
    "transfer": Procedure(lottery.transfer, lottery.predict_transfer),
    "speed": Procedure(speed.measure, speed.predict),
}
"""What a study may do with its task, by name.

:meta hide-value:
"""


@dataclass(frozen=True)
class Variant:
    """One of the runs that a study compares: what it changes in the task, at every scale, and
    what it passes on to the study's procedure."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A task with treatments, levels and replicates, run once and recorded.

    Attributes:
        name: names the files in ``data/results``.
        title: one line for readers.
        task: the task at the paper's scale.
        changes: what was changed from the paper's settings, by attribute; recorded with the
            result, so that every figure can say it.
        options: passed on to the procedure.
        procedure: what is done with the task, one of ``PROCEDURES``.
        axis: what the variants differ in; the table has a column of that name.
        variants: the runs that are compared, by name; without any there is one run.
        splits: which splits the table keeps.
        also: further rows of the table, made from what each run has found, for instance how its
            masks look.
        minutes: what to expect on two CPU cores.
        pending: why it has not been recorded yet; empty once it has.
        scale: the scale that is recorded. ``"live"`` records what readers' own runs should give,
            on the embedded data.
    """

    name: str
    title: str
    task: Task
    changes: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    procedure: str = "imp"
    axis: str = ""
    variants: Mapping[str, Variant] = field(default_factory=dict)
    splits: tuple[str, ...] = ("val", "test")
    also: Callable[[Lottery], pd.DataFrame] | None = None
    minutes: int = 10
    pending: str = ""
    scale: str = "paper"

    def __post_init__(self):
        if bool(self.variants) != bool(self.axis) or self.axis in lottery.TABLE:
            raise InputError(
                f"Study {self.name!r} has variants and an axis, which is a new column of its "
                "table, or neither."
            )

    def prepared(
        self, scale: str | None = None, as_published: bool = False, variant: str = ""
    ) -> Task:
        """The task at the study's scale with its changes; at another scale, that scale's alone.

        With ``as_published`` nothing is changed from the paper's settings, which wants a GPU. What
        a ``variant`` changes is what the study is about, and is changed in any case.
        """
        if scale not in (None, self.scale):
            task = self.task.at(scale)
        elif self.scale == "live":
            task = replace(self.task.at("live"), dataset=self.task.embedded)
        else:
            task = self.task.changed(**({} if as_published else self.changes))
        return task.changed(**(self.variants[variant].changes if variant else {}))

    def runs(
        self, scale: str | None = None, as_published: bool = False
    ) -> dict[str, tuple[Task, dict[str, Any]]]:
        """For each variant, its task and what is passed on to the procedure; a study without
        variants has one, called ``""``."""
        variants = self.variants or {"": Variant()}
        return {
            name: (self.prepared(scale, as_published, name), {**self.options, **variant.options})
            for name, variant in variants.items()
        }

    def predict(
        self, as_published: bool = False, levels: int | None = None, store: Store | None = None
    ) -> float:
        """Seconds that recording the study will take here; what is stored already takes none."""
        runs = self.runs(as_published=as_published).values()
        shorter = {} if levels is None else {"levels": levels}
        predict = PROCEDURES[self.procedure].predict
        return sum(predict(replace(t, **shorter), store=store, **options) for t, options in runs)


def _conv(task: Task, **changes) -> Study:
    return Study(
        name=task.name,
        title=f"Tickets with convolutions: {task.title}, narrow and short",
        task=task,
        changes=NARROW | changes,
        options={"treatments": ("ticket", "reinit", "random mask")},
        minutes=15,
    )


def _kinds(task: Task) -> Study:
    alone = {
        "convolutions": {"conv": 0.2, "linear": 0.0, "output": 0.0},
        "fully connected": {"conv": 0.0, "linear": 0.2, "output": 0.2},
    }
    return Study(
        name=f"{task.name}-kinds",
        title=f"One kind of layer pruned at a time: {task.title}",
        task=task,
        changes=NARROW | SHORT,
        options={"treatments": ("ticket", "reinit")},
        axis="pruned",
        variants={kind: Variant({"prune": shares}) for kind, shares in alone.items()},
        splits=("test",),
        minutes=12,
    )


def _dropout(task: Task, **changes) -> Study:
    return Study(
        name=f"{task.name}-dropout",
        title=f"Tickets with dropout and without: {task.title}",
        task=task,
        changes=changes,
        options={"treatments": ("ticket", "random mask")},
        axis="dropout",
        variants={"0": Variant(), "0.5": Variant({"dropout": 0.5})},
        splits=("test",),
        minutes=10,
    )


WAYS = ("initial weights", "initial weights, rescaled", "constants", "constants, rescaled")
"""What masks are trained over: the initial weights or constants, and whether layers are rescaled
by weights ÷ weights kept."""


def _supermask(task: Task, ways: Sequence[str] = WAYS, **changes) -> Study:
    rules = {way: {"constant": "constants" in way, "rescale": "rescaled" in way} for way in ways}
    return Study(
        name=task.name,
        title=f"Masks trained over weights that are not: {task.title}",
        task=task,
        changes=changes,
        procedure="supermasks",
        axis="masked",
        variants={way: Variant({"supermask": rule}) for way, rule in rules.items()},
        minutes=15,
    )


def _edge_popup(task: Task, widths: Sequence[float], **changes) -> Study:
    return Study(
        name=task.name,
        title=f"What hides in a random network, by width and share kept: {task.title}",
        task=task,
        changes=changes,
        options={"densities": (0.7, 0.5, 0.3, 0.1)},
        procedure="supermasks",
        axis="width",
        variants={str(width): Variant({"width": width}) for width in widths},
        minutes=15,
    )


MOVING = (
    "ticket",
    "reinit",
    *(f"{name}{how}" for how in ("", ", erdos-renyi") for name in ("static", "SET", "RigL")),
    "static, 3x as long",
    "RigL, 3x as long",
    "dense, 3x as long",
)
"""Tickets, what is sparse from the first step under masks that stay or move, and more time."""

RACE = {"recipe": {"duration": "4000it"}, "levels": 6, "stride": 3}
"""What studies of many trainings change: six levels down to 1.9%, a twelfth of the length."""

MOMENTS = ("0%", "5%", "10%", "25%", "50%", "75%", "100%")
"""Steps of each training at which weights are looked at and pruned."""

AT_START = {"scope": "global", "one_shot": True, "prune_at": "0%"}
"""Pruned once, before any training, by one threshold for the whole network."""

SIGNS = (
    "ticket", "ticket, random signs", "reinit, same signs", "reinit", "reshuffle, same signs",
    "reshuffle", "constant, same signs", "constant", "random mask",
    "ticket, frozen", "ticket, frozen if grown", "ticket, frozen if shrunk",
    "ticket, frozen at random",
)  # fmt: skip
"""Kept weights with their signs and without, and what may become of the pruned ones."""

NARROW = {
    "dataset": "cifar10-jpeg",
    "width": 0.125,
    "recipe": {"duration": "2000it", "optimiser": Adam(2e-3)},
    "levels": 6,
    "stride": 3,
    "replicates": 3,
}
"""What the convolutional studies change for two CPU cores: an eighth of the channels and units, a
tenth of the length or less, and the rate that gives the best dense validation accuracy there."""

SHORT = {
    "recipe": NARROW["recipe"] | {"duration": "1000it"},
    "levels": 4,
    "stride": 4,
    "control_levels": (4,),
}
"""What is changed besides where iterations take longer or trainings are many."""


SMALL_PICTURES = {"dataset": "cifar10-jpeg", "pool": 2, "levels": 1, "stride": (10,)}
"""What the studies of deep networks change for two CPU cores: pictures of 16 × 16 pixels, and one
density, 10.7% of the convolutions' weights."""

BRIEF = {"batch": 128, "augment": Augment(flip=True, crop=2), "every": "1ep"}
"""And in the recipe; its rate and the drops at a half and three quarters stay."""

PENDING = "half an hour of two cores or more, or a GPU"
LATER = "minutes of two cores"

PARTING = {
    "one_shot": True,
    "steps": ("0%", "1%", "6%"),
    "dense": ("0%", "1%", "6%", "25%"),
    "between": stability.Between(limit=1000, bend="10%"),
}


RESCALED = "global, rescaled"


def _instability(
    task: Task,
    width: float,
    duration: str,
    options: Mapping[str, Any] | None = None,
    pending: str = "",
) -> Study:
    return Study(
        name=f"{task.network}-instability",
        title=f"Tickets rewound to several steps, and copies that part there: {task.title}, narrow",
        task=task,
        changes=SMALL_PICTURES | {"width": width, "recipe": BRIEF | {"duration": duration}},
        options=PARTING | (options or {}),
        procedure="instability",
        minutes=45,
        pending=pending,
    )


def _scopes(task: Task, scopes: Sequence[str], duration: str) -> Study:
    def options(scope: str) -> dict[str, Any]:
        if scope == RESCALED:
            return {"scope": "global", "criterion": "rescaled magnitude"}
        return {"scope": scope}

    return Study(
        name=f"{task.network}-scopes",
        title=f"How much each layer keeps, fixed or found: {task.title}, narrow",
        task=task,
        changes=SMALL_PICTURES
        | {"width": 0.25, "stride": (14,), "recipe": BRIEF | {"duration": duration}},
        options={"treatments": ("ticket",), "rewind": "6%", "one_shot": True},
        axis="scope",
        variants={scope: Variant(options=options(scope)) for scope in scopes},
        minutes=20,
    )


HEADLESS = {"linear": 0.20, "output": 0.0}
"""Where heads are put on anew, no ticket's output layer is pruned."""


def _transfer(
    name: str,
    title: str,
    task: Task,
    pairs: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]],
    options: Mapping[str, Any],
    axis: str = "transfer",
    minutes: int = 10,
    pending: str = "",
    **changes,
) -> Study:
    """``pairs`` give, by name, what the source and what the task change."""
    return Study(
        name=name,
        title=title,
        task=task,
        changes=changes,
        options=options,
        procedure="transfer",
        axis=axis,
        variants={
            pair: Variant(there, {"source": here, **(extra[0] if extra else {})})
            for pair, (here, there, *extra) in pairs.items()
        },
        splits=("test",),
        minutes=minutes,
        pending=pending,
    )


def _both_ways(one: str, a: Mapping, other: str, b: Mapping) -> dict:
    return {f"{one} → {other}": (a, b), f"{other} → {one}": (b, a)}


MOVED = ("ticket", "reinit", "random mask", "uniform mask", "large init")
GROWN = ("ticket", "reinit", "random mask", "random ticket", "random mask, moved")

BUDGET = ("ticket", "rate rewinding", "fine-tune")
"""What may be done after the cut; at one step all three train for equally long."""


def _retraining(
    task: Task,
    steps: Sequence[str],
    between: stability.ToDense,
    alone: Sequence[str] = (),
    title: str = "",
    **others: Any,
) -> Study:
    """Each way to retrain on several equal budgets, one-shot; and the dense network, which is cut
    by nothing, on the longest of them: is it only more training?"""
    names = tuple(f"{name} @ {step}" for step in steps for name in BUDGET)
    return Study(
        name=f"{task.name.removesuffix('-drops').removesuffix('-cifar10')}-retraining",
        title=f"Rewound, rate rewound or fine-tuned on equal budgets: {title or task.title}",
        task=task,
        options={"treatments": (*names, *alone), "one_shot": True, "between": between},
        axis="pruned",
        variants={
            "one-shot": Variant(),
            "not at all": Variant(
                {"levels": 1},
                {"treatments": (f"rate rewinding @ {steps[0]}",), "fractions": 0.0},
            ),
        },
        splits=("test",),
        **others,
    )


BLOCKS = ("block1", "block2")
ATTENTION = [f"{block}.attention.{part}.weight" for block in BLOCKS
             for part in ("query", "key", "value", "join")]  # fmt: skip
OTHERS = dict.fromkeys([f"{b}.{fc}.weight" for b in BLOCKS for fc in ("fc1", "fc2")], 0.0) | {
    "output.weight": 0.0
}
HEADS = (1 / 8, 1 / 7, 2 / 6, 2 / 4, 1 / 2)
"""Shares of a transformer's attention that leave 7, 6, 4, 2 and 1 of its eight heads."""


STUDIES = {
    study.name: study
    for study in (
        Study(
            name="lenet-mnist",
            title="Winning tickets, fresh weights and random masks",
            task=tasks.LENET_MNIST,
            changes={"recipe": {"duration": "12000it"}, "levels": 18},
            options={"treatments": ("ticket", "reinit", "random mask")},
            minutes=100,
        ),
        Study(
            name="lenet-mnist-finetune",
            title="Pruning a trained network, and training on",
            task=tasks.LENET_MNIST,
            changes={"recipe": {"duration": "6000it"}, "levels": 12},
            options={"treatments": ("fine-tune",)},
            minutes=15,
        ),
        Study(
            name="lenet-mnist-longer",
            title="The control for it: the dense network, trained on without pruning",
            task=tasks.LENET_MNIST,
            changes={"recipe": {"duration": "6000it"}, "levels": 4},
            options={"treatments": ("fine-tune",), "fractions": 0.0},
            minutes=4,
        ),
        Study(
            name="lenet-mnist-live",
            title="What a reader's own run of Winning tickets should give",
            task=tasks.LENET_MNIST,
            # Other seeds than the readers': a band must not have seen what it is to contain.
            options={"treatments": ("ticket", "reinit", "random mask"), "seeds": range(100, 110)},
            minutes=2,
            scale="live",
        ),
        Study(
            name="lenet-mnist-race",
            title="Criteria on equal budgets, each pruned and trained on",
            task=tasks.LENET_MNIST,
            changes=RACE,
            options={"treatments": ("fine-tune",)},
            axis="criterion",
            variants={
                name: Variant(options={"criterion": name})
                for name in ("magnitude", "gradient", "activation", "sensitivity", "movement",
                             "momentum", "random")
            },
            splits=("test",),
            minutes=10,
        ),
        Study(
            name="lenet-mnist-ways",
            title="Rewound or trained on, in many steps or in one, by layers or over all",
            task=tasks.LENET_MNIST,
            changes={"recipe": {"duration": "5000it"}, "levels": 18},
            axis="way",
            variants={
                "rewound": Variant(options={"treatments": ("ticket",)}),
                "rewound, one-shot": Variant(
                    options={"treatments": ("ticket",), "one_shot": True}
                ),
                "trained on": Variant(options={"treatments": ("fine-tune",)}),
                "trained on, one-shot": Variant(
                    options={"treatments": ("fine-tune",), "one_shot": True}
                ),
                "trained on, global": Variant(
                    options={"treatments": ("fine-tune",), "scope": "global"}
                ),
            },
            splits=("test",),
            minutes=20,
        ),
        Study(
            name="lenet-mnist-widths",
            title="Smaller and larger dense networks, and the tickets in them",
            task=tasks.LENET_MNIST,
            changes={
                "recipe": {"duration": "3000it"},
                "levels": 12,
                "stride": 2,
                "control_levels": (4, 8, 12),
            },
            options={"treatments": ("ticket", "reinit")},
            axis="width",
            variants={
                str(width): Variant({"width": width})
                for width in (0.01, 0.02, 0.05, 0.1, 0.3, 1.0, 2.0)
            },
            splits=("test",),
            minutes=8,
        ),
        Study(
            name="lenet-fashion",
            title="Winning tickets, fresh weights and random masks on Fashion-MNIST",
            task=tasks.LENET_FASHION,
            changes={
                "recipe": {"duration": "5000it"},
                "levels": 9,
                "stride": 2,
                "control_levels": (3, 5, 7, 9),
            },
            options={"treatments": ("ticket", "reinit", "random mask")},
            minutes=4,
        ),
        Study(
            name="lenet-mnist-noise",
            title="Training and test accuracy of tickets, with true and with noisy labels",
            task=tasks.LENET_MNIST,
            changes={
                "recipe": {"duration": "4000it"},
                "levels": 9,
                "stride": 2,
                "control_levels": (3, 6, 9),
                # Few enough to be learnt by heart in the time there is, noise and all.
                "images": (10_000, 2_500, None),
            },
            options={"treatments": ("ticket", "reinit")},
            axis="label noise",
            # At every scale, also the published one, it is about training accuracy.
            variants={
                str(share): Variant({"label_noise": share, "report": ("train", "test")})
                for share in (0, 0.3)
            },
            splits=("train", "test"),
            minutes=4,
        ),
        _dropout(
            tasks.LENET_MNIST, recipe={"duration": "4000it"}, levels=6, stride=2,
            control_levels=(3, 6), images=(10_000, 2_500, None),
        ),
        _conv(tasks.CONV2_CIFAR10, control_levels=(2, 4, 5, 6)),
        _conv(tasks.CONV4_CIFAR10, **SHORT),
        _conv(tasks.CONV6_CIFAR10, **SHORT),
        _kinds(tasks.CONV2_CIFAR10),
        _kinds(tasks.CONV6_CIFAR10),
        _dropout(tasks.CONV2_CIFAR10, **NARROW | {"levels": 4, "control_levels": (4,)}),
        Study(
            name="lenet-mnist-anatomy",
            title="What tickets look like, beside random masks",
            task=tasks.LENET_MNIST,
            # As "rewound" in lenet-mnist-ways, whose units these are.
            changes={"recipe": {"duration": "5000it"}, "levels": 18},
            options={"treatments": ("ticket",)},
            splits=("test",),
            also=anatomy.report,
            minutes=6,
        ),
        Study(
            name="lenet-mnist1d",
            title="Tickets for signals in order, and for the same signals permuted",
            task=tasks.LENET_MNIST1D,
            options={"treatments": ("ticket", "reinit", "random mask")},
            axis="inputs",
            variants={"in order": Variant(), "permuted": Variant({"permuted": True})},
            splits=("test",),
            also=anatomy.report,
            minutes=5,
        ),
        Study(
            name="lenet-mnist-signs",
            title="What of a ticket's initial weights matters, and what of its zeros",
            task=tasks.LENET_MNIST,
            changes=RACE | {"control_levels": (2, 4, 5, 6)},
            options={"treatments": SIGNS},
            minutes=10,
        ),
        Study(
            name="lenet-mnist-criteria",
            title="Which weights to keep: tickets, and masks that are never trained",
            task=tasks.LENET_MNIST,
            changes=RACE,
            options={
                "treatments": ("ticket", "ticket, untrained", "constant, same signs, untrained")
            },
            axis="criterion",
            variants={
                name: Variant(options={"criterion": name})
                for name in (
                    "magnitude", "smallest", "large init", "small init",
                    "large init large final", "small init small final", "magnitude increase",
                    "movement", "random", "magnitude same sign", "magnitude increase same sign",
                    "random same sign", "magnitude changed sign",
                )
            },
            splits=("test",),
            minutes=15,
        ),
        Study(
            name="lenet-mnist-moving",
            title="Sparse from the first step: masks that stay, and masks that move",
            task=tasks.LENET_MNIST,
            # Down to 8.7%, 5.6% and 2.0%; the levels before are those of the ticket alone.
            changes={
                "recipe": {"duration": "4000it"},
                "levels": 6,
                "stride": (4, 4, 3, 2, 2, 3),
                "control_levels": (3, 4, 6),
            },
            options={"treatments": MOVING},
            minutes=15,
        ),
        Study(
            name="lenet-mnist-early",
            title="Pruned before training by six criteria, and after it",
            task=tasks.LENET_MNIST,
            # Down to 10.8%, 5.6%, 2.3% and 1.0%, the last four levels.
            changes=RACE | {"stride": (4, 3, 3, 3, 4, 4), "control_levels": (4, 5, 6)},
            options=AT_START | {"treatments": ("ticket", "reinit", "random mask")},
            axis="criterion",
            variants={
                **{name: Variant(options={"criterion": name})
                   for name in ("snip", "grasp", "synflow", "large init")},
                # Its own control: any other mask is as random.
                "random": Variant(options={"criterion": "random", "treatments": ("ticket",)}),
                "magnitude": Variant(options={"one_shot": False, "prune_at": "100%"}),
            },
            splits=("test",),
            also=anatomy.layers,
            minutes=12,
        ),
        Study(
            name="lenet-mnist-moments",
            title="Tickets found by magnitude at several steps of each training",
            task=tasks.LENET_MNIST,
            changes=RACE | {"control_levels": (4, 5, 6)},
            options={"treatments": ("ticket",)},
            axis="pruned at",
            variants={
                **{at: Variant(options={"prune_at": at}) for at in MOMENTS[:-1]},
                # The same random masks would serve every step: layers keep as many weights in all.
                "100%": Variant(options={"treatments": ("ticket", "random mask")}),
            },
            splits=("test",),
            minutes=9,
        ),
        Study(
            name="mlp-mnist1d-moments",
            title="Tickets found by magnitude at several steps: the smallest system",
            task=tasks.MLP_MNIST1D,
            options={"treatments": ("ticket", "ticket @ 10%"), "one_shot": True},
            axis="pruned at",
            variants={at: Variant(options={"prune_at": at}) for at in MOMENTS},
            minutes=5,
            pending=LATER,
        ),
        _supermask(
            tasks.LENET_SUPERMASK,
            recipe={"duration": "10000it"},
            dense={"duration": "10000it"},
        ),
        Study(
            name="lenet-supermask-starts",
            title="Where the scores of masks start: LeNet-300-100",
            task=tasks.LENET_SUPERMASK,
            changes={
                "recipe": {"duration": "4000it"},
                "supermask": {"constant": False, "rescale": False},
                "dense": None,
            },
            procedure="supermasks",
            axis="start",
            variants={
                str(start): Variant({"supermask": {"start": start}}) for start in (0, 1, 2, 3)
            },
            minutes=10,
        ),
        *(
            _supermask(
                task,
                ways=(WAYS[0], WAYS[-1]),
                dataset="cifar10-jpeg",
                width=0.125,
                replicates=3,
                recipe={"duration": "800it", "batch": 64, "every": "100it"},
                dense=NARROW["recipe"] | {"duration": "800it"},
            )
            for task in (tasks.CONV2_SUPERMASK, tasks.CONV4_SUPERMASK, tasks.CONV6_SUPERMASK)
        ),
        _edge_popup(
            tasks.LENET_EDGE_POPUP,
            widths=(0.3, 1, 2),
            recipe={"duration": "2000it", "optimiser": SGD(1.0, 0.9, 1e-4), "every": "100it"},
            dense={"duration": "2000it"},
        ),
        _edge_popup(
            tasks.CONV2_EDGE_POPUP,
            widths=(0.125, 0.25, 0.5),
            dataset="cifar10-jpeg",
            replicates=3,
            recipe={"duration": "600it", "batch": 64, "every": "100it"},
            dense=NARROW["recipe"] | {"duration": "600it"},
        ),
        Study(
            name="mlp-mnist1d-instability",
            title="The smallest system: tickets rewound to several steps, and copies that part",
            task=tasks.MLP_MNIST1D,
            options={
                "one_shot": True,
                "steps": ("0%", "1%", "2%", "5%", "10%", "20%"),
                "alone": ("reinit", "random mask @ 10%"),
                "between": stability.Between(bend="25%"),
            },
            procedure="instability",
            minutes=6,
        ),
        Study(
            name="mlp-mnist1d-layerwise",
            title="The smallest system, with every layer pruned by an equal share",
            task=tasks.MLP_MNIST1D,
            changes={"scope": "layer", "prune": {"linear": 0.20, "output": 0.10}},
            options={
                "one_shot": True,
                "steps": ("0%", "10%"),
                "alone": ("reinit",),
                "between": stability.Between(),
            },
            procedure="instability",
            minutes=3,
        ),
        Study(
            name="mlp-mnist1d-bends",
            title="Bent paths between copies, by how long the bend is trained",
            task=tasks.MLP_MNIST1D,
            options={"one_shot": True, "steps": ("0%",)},
            procedure="instability",
            axis="bend",
            variants={
                bend: Variant(options={"between": stability.Between(bend=bend)})
                for bend in ("5%", "25%", "100%")
            },
            splits=("test",),
            minutes=6,
        ),
        Study(
            name="mlp-mnist1d-rates",
            title="Tickets and fresh weights at several learning rates: the smallest system",
            task=tasks.MLP_MNIST1D,
            options={"treatments": ("ticket", "reinit", "ticket @ 10%"), "one_shot": True},
            axis="rate",
            variants={
                str(rate): Variant({"recipe": {"optimiser": Adam(rate)}})
                for rate in (0.01, 0.004, 0.002, 0.001, 0.0005)
            },
            minutes=5,
        ),
        Study(
            name="lenet-mnist-instability",
            title="Copies of dense and sparse LeNets that part at several steps",
            task=tasks.LENET_MNIST,
            changes=RACE,
            options={
                "steps": ("0%", "1%"),
                "dense": ("0%", "1%", "6%", "25%"),
                "between": stability.Between(),
            },
            procedure="instability",
            minutes=6,
        ),
        _instability(tasks.VGG11_CIFAR10, 0.25, "8ep"),
        _instability(
            tasks.RESNET20_CIFAR10, 0.5, "3ep", {"dense": ("0%", "25%")}, PENDING
        ),
        Study(
            name="vgg-19-layers",
            title="What global pruning leaves of each layer: VGG-19 at full width",
            task=tasks.VGG19_CIFAR10,
            changes={
                "dataset": "cifar10-jpeg",
                "recipe": {"duration": "1ep", "every": "1ep"},
                "levels": 10,
                "stride": 2,
                "replicates": 1,
            },
            # The masks are what is asked for, so that only the dense network is trained.
            options={"treatments": (), "one_shot": True},
            axis="criterion",
            # Beside what training has made large, what was large from the start.
            variants={name: Variant(options={"criterion": name})
                      for name in ("magnitude", "large init")},
            splits=("test",),
            also=anatomy.layers,
            minutes=30,
        ),
        Study(
            name="vgg-11-rates",
            title="Tickets and fresh weights at several learning rates: VGG-11, narrow",
            task=tasks.VGG11_CIFAR10,
            changes=SMALL_PICTURES
            | {"width": 0.25, "recipe": BRIEF | {"duration": "3ep"}},
            options={"treatments": ("ticket", "reinit"), "one_shot": True},
            axis="rate",
            variants={
                "0.1": Variant(),
                "0.01": Variant({"recipe": {"optimiser": SGD(0.01, 0.9, 1e-4)}}),
                "0.1 after a warm-up": Variant(
                    {"recipe": {"schedule": Schedule(("50%", "75%"), warmup="20%")}}
                ),
            },
            minutes=25,
        ),
        _scopes(
            tasks.VGG11_CIFAR10, ("layer", "global", "erdos-renyi", "sensitivity", RESCALED), "3ep"
        ),
        _scopes(tasks.VGG11_PLAIN_CIFAR10, ("layer", "global", RESCALED), "3ep"),
        _instability(
            tasks.RESNET50_CIFAR10,
            0.125,
            "2ep",
            {"steps": ("0%", "6%"), "dense": ("0%", "6%")},
            PENDING,
        ),
        _transfer(
            "transfer-digits",
            "Tickets of one set of pictures on another: MNIST and Fashion-MNIST",
            tasks.LENET_FASHION,
            _both_ways(
                "MNIST", {"dataset": "mnist"}, "Fashion-MNIST", {"dataset": "fashion-mnist"}
            ),
            {"treatments": MOVED},
            recipe={"duration": "4000it"},
            prune=HEADLESS,
            levels=5,
            stride=(4, 3, 3, 3, 4),
            control_levels=(3, 4, 5),
        ),
        _transfer(
            "transfer-halves",
            "Tickets of one half of the classes on the other: CIFAR-10",
            tasks.CONV2_CIFAR10,
            _both_ways("classes 0–4", {"classes": (0, 1, 2, 3, 4)},
                       "classes 5–9", {"classes": (5, 6, 7, 8, 9)}),
            {"treatments": ("ticket", "random mask", "uniform mask")},
            pending=LATER,
            minutes=12,
            **NARROW
            | SHORT
            | {
                "recipe": NARROW["recipe"] | {"duration": "800it"},
                "prune": HEADLESS | {"conv": 0.10},
            },
        ),
        _transfer(
            "transfer-signals",
            "Tickets of one half of the classes on the other: MNIST-1D",
            tasks.LENET_MNIST1D,
            _both_ways("classes 0–4", {"classes": (0, 1, 2, 3, 4)},
                       "classes 5–9", {"classes": (5, 6, 7, 8, 9)}),
            {"treatments": MOVED},
            minutes=5,
            prune=HEADLESS,
            levels=4,
            stride=(5, 5, 3, 3),
            control_levels=(2, 3, 4),
            pending=LATER,
        ),
        _transfer(
            "transfer-optimisers",
            "Tickets found by one optimiser and trained by another",
            tasks.LENET_MNIST,
            _both_ways("Adam", {"recipe": {"optimiser": Adam(1.2e-3)}},
                       "SGD", {"recipe": {"optimiser": SGD(0.05, momentum=0.9)}}),
            {"treatments": ("ticket", "reinit", "random mask"), "head": "kept"},
            recipe={"duration": "4000it"},
            levels=5,
            stride=(4, 3, 3, 3, 4),
            control_levels=(3, 4, 5),
            pending=LATER,
        ),
        _transfer(
            "lenet-mnist-sizes",
            "Tickets of a narrow network in a wider one: MNIST",
            tasks.LENET_MNIST,
            {
                "width 0.5 → 1": ({"width": 0.5}, {"width": 1.0}),
                "width 1 → 2": ({"width": 1.0}, {"width": 2.0}),
            },
            {"treatments": GROWN, "head": "kept"},
            axis="size",
            recipe={"duration": "4000it"},
            levels=4,
            stride=(5, 5, 3, 4),
            control_levels=(2, 4),
        ),
        _transfer(
            "lenet-mnist1d-sizes",
            "Tickets of a small network in a larger one: MNIST-1D",
            tasks.LENET_MNIST1D,
            {
                "width 0.5 → 1": ({"width": 0.5}, {"width": 1.0}),
                "width 1 → 2": ({"width": 1.0}, {"width": 2.0}),
                "3 → 5 hidden layers": (
                    {"network": "mlp-3", "width": 1.0, "title": "MLP of 3 × 200"},
                    {"network": "mlp-5", "width": 1.0, "title": "MLP of 5 × 200"},
                ),
                "core 0.5 → 1": ({"width": 0.5}, {"width": 1.0}, {"grown": "core"}),
            },
            {"treatments": GROWN, "head": "kept"},
            axis="size",
            levels=3,
            stride=(5, 5, 4),
            control_levels=(2, 3),
        ),
        Study(
            name="speed",
            title="How long sparse networks take, in every form that they can have",
            task=tasks.LENET_MNIST,
            changes={
                "recipe": {"duration": "400it", "every": "400it"},
                "levels": 5,
                "stride": (3, 4, 3, 4, 7),
                "replicates": 1,
            },
            procedure="speed",
            axis="network",
            variants={
                "LeNet-300-100": Variant(),
                "MLP, 1,024 wide": Variant({"network": "mlp-3", "width": 5.12}),
                "VGG-11, a quarter wide": Variant(
                    {
                        "network": "vgg-11",
                        "width": 0.25,
                        "dataset": "cifar10-jpeg",
                        "embedded": "shapes-32",
                        "prune": {"conv": 0.2, "output": 0.2},
                    }
                ),
            },
            splits=("none",),
            minutes=5,
        ),
        Study(
            name="lenet-mnist-structures",
            title="Single weights or whole units pruned, and trained again",
            task=tasks.LENET_MNIST,
            changes={
                "recipe": {"duration": "4000it"},
                "levels": 5,
                "stride": (3, 4, 3, 4, 7),
            },
            options={"treatments": ("ticket", "reinit"), "one_shot": True},
            axis="removed",
            variants={
                "weights": Variant(),
                "units": Variant(options={"criterion": structures.units}),
                "units at random": Variant(options={"criterion": structures.random_units}),
            },
            splits=("test",),
            minutes=8,
            pending=LATER,
        ),
        _retraining(
            tasks.VGG11_CIFAR10,
            steps=("10%",),
            between=stability.ToDense(points=11, limit=1000),
            title="VGG-11, narrow",
            changes=SMALL_PICTURES | {
                # 33%, 21% and 13% of the convolutions' weights.
                "levels": 3,
                "stride": (5, 2, 2),
                "width": 0.25,
                "recipe": BRIEF | {"duration": "5ep"},
            },
            minutes=30,
        ),
        _retraining(
            tasks.LENET_MNIST,
            steps=("0%", "10%", "50%"),
            between=stability.ToDense(points=20, limit=2000),
            alone=("reinit",),
            changes={
                # Adam has no schedule here, so that nothing could be rewound. Of three rates of
                # SGD, 0.05 gives the best dense validation accuracy.
                "recipe": {
                    "duration": "3000it",
                    "optimiser": SGD(0.05, momentum=0.9),
                    "schedule": Schedule(("50%", "75%")),
                },
                "levels": 5,
                "stride": (5, 4, 3, 3, 3),
            },
            minutes=10,
            pending=LATER,
        ),
        _retraining(
            tasks.MLP_DROPS_MNIST1D,
            steps=("0%", "10%", "25%", "50%"),
            between=stability.ToDense(),
            alone=("reinit",),
            minutes=6,
            pending=LATER,
        ),
        _retraining(
            tasks.RESNET20_CIFAR10,
            steps=("10%", "50%"),
            between=stability.ToDense(),
            changes={"levels": 3, "stride": (5, 2, 2)},
            minutes=3000,
            pending=PENDING,
        ),
        Study(
            name="text-tickets",
            title="Winning tickets that read: a transformer on text",
            task=tasks.TRANSFORMER_TEXT,
            options={
                "treatments": ("ticket", "ticket @ 0%", "reinit", "random mask"),
                "rewind": "5%",
            },
            splits=("test",),
            also=anatomy.layers,
            minutes=10,
        ),
        Study(
            name="text-heads",
            title="Whole attention heads removed, or as many single weights of attention",
            task=tasks.TRANSFORMER_TEXT,
            changes={"levels": len(HEADS)},
            options={
                "treatments": ("ticket",),
                "rewind": "5%",
                "fractions": [dict.fromkeys(ATTENTION, share) | OTHERS for share in HEADS],
                "scope": "global",
            },
            axis="removed",
            variants={
                "heads by magnitude": Variant(options={"criterion": pruning.heads_by_magnitude}),
                "heads by loss": Variant(options={"criterion": pruning.heads_by_loss}),
                "heads at random": Variant(options={"criterion": pruning.heads_at_random}),
                "single weights": Variant(options={"criterion": "magnitude"}),
            },
            splits=("test",),
            also=anatomy.layers,
            minutes=10,
            pending=LATER,
        ),
    )
}  # fmt: skip


def by_name(name: str) -> Study:
    """The study called ``name``; an :class:`.InputError` lists those known."""
    return look_up("study", name, STUDIES)
