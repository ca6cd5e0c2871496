"""What a criterion learns from data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from lth_utils import models
from lth_utils.errors import InputError
from lth_utils.models import Weights
from lth_utils.randomness import stream

if TYPE_CHECKING:
    from lth_utils.tasks import Task


BATCHES = 20


def batches(task: Task, seed: int, level: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Twenty batches of training images and labels, in an order drawn for the seed and level; in a
    small set they begin again."""
    data = task.data
    order = stream(seed, "probe", level).permutation(len(data.train))
    index = torch.from_numpy(np.resize(order, (BATCHES, task.recipe.batch)))
    for batch in index.to(data.train.labels.device):
        yield data.normalise(data.train.images[batch]), data.train.labels[batch]


def loss_of(outputs: Tensor, labels: Tensor) -> Tensor:
    """The mean loss of one member's outputs (B, classes), or (B, places, classes)."""
    return F.cross_entropy(outputs.flatten(0, -2), labels.flatten())


def check_given(task: Task | None, weights: Weights, seeds: Sequence[int] | None) -> None:
    """Raise :class:`~lth_utils.errors.InputError` unless batches can be drawn for these weights."""
    if task is None or seeds is None:
        raise InputError(
            "This criterion looks at training images: pass task=... and seeds=..., one a member."
        )
    models.check_weights(task.model, weights)
    members = len(next(iter(weights.values())))
    if len(seeds) != members:
        raise InputError(f"There are {len(seeds)} seeds for {members} sets of weights.")


@dataclass(frozen=True)
class Probe:
    """Gradients and inputs of a trained network on batches of training images.

    Attributes:
        gradient: mean over the batches of each prunable tensor's gradient, (R, \\*shape).
        size: mean over the batches of its absolute value.
        momentum: running average over the batches, a tenth of what SGD with momentum 0.9 holds.
        inputs: mean absolute value of each layer's inputs, (R, 1, in) or (R, 1, in, 1, 1).
    """

    gradient: Weights
    size: Weights
    momentum: Weights
    inputs: Weights

    DECAY = 0.9

    @classmethod
    def of(
        cls, task: Task | None, weights: Weights, seeds: Sequence[int] | None, level: int = 0
    ) -> Probe:
        """Look at twenty batches, drawn for each seed and level.

        Args:
            task: whose network, training images and batch size.
            weights: trained weights (R, \\*shape), with pruned ones zero.
            seeds: one for each member.
            level: makes the draw of each level its own.

        Raises:
            InputError: there is no task, not one seed for each member, or the weights do not fit.
        """
        check_given(task, weights, seeds)
        members = [
            cls._of_member(task, {n: w[i] for n, w in weights.items()}, seed, level)
            for i, seed in enumerate(seeds)
        ]
        return cls(
            *({n: torch.stack([m[part][n] for m in members]) for n in members[0][part]}
              for part in range(4))
        )  # fmt: skip

    @classmethod
    def _of_member(
        cls, task: Task, weights: Weights, seed: int, level: int
    ) -> tuple[Weights, Weights, Weights, Weights]:
        names = list(models.prunable(task.model))
        weights = {n: w.detach().clone().requires_grad_(n in names) for n, w in weights.items()}
        mean, size, momentum = ({n: torch.zeros_like(weights[n]) for n in names} for _ in range(3))
        with _listening(task.model, names) as inputs:
            for images, labels in batches(task, seed, level):
                loss = loss_of(functional_call(task.model, weights, images), labels)
                gradients = torch.autograd.grad(loss, [weights[n] for n in names])
                for name, g in zip(names, gradients, strict=True):
                    mean[name] += g / BATCHES
                    size[name] += g.abs() / BATCHES
                    momentum[name].mul_(cls.DECAY).add_(g, alpha=1 - cls.DECAY)
        inputs = {n: torch.stack(means).mean(0).unsqueeze(0) for n, means in inputs.items()}
        return mean, size, momentum, inputs


@contextmanager
def _listening(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """While open, collect the mean absolute input of each channel of the layers named; as they
    are when a trained network is used, with nothing left out and no statistics updated."""
    heard: dict[str, list[Tensor]] = {name: [] for name in names}

    def hook(name: str):
        def listen(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            [x] = inputs
            channels = x.dim() - 1 if isinstance(layer, nn.Linear) else 1
            others = [axis for axis in range(x.dim()) if axis != channels]
            mean = x.detach().abs().mean(others)
            heard[name].append(mean.view(-1, *[1] * (layer.weight.dim() - 2)))

        return listen

    modes = {module: module.training for module in model.modules()}
    hooks = [
        model.get_submodule(name.removesuffix("weight").removesuffix(".")).register_forward_hook(
            hook(name)
        )
        for name in names
    ]
    model.eval()
    try:
        yield heard
    finally:
        for each in hooks:
            each.remove()
        for module, mode in modes.items():
            module.training = mode
