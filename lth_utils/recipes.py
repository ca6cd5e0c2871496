"""Recipes: how a network is trained, as values.

A :class:`Recipe` says everything about a training but the network, the data and the seeds. All
of it is frozen, compares by value and can be written down, so a recipe is also part of the key
under which a result is stored.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any, ClassVar

import torch
from torch import Tensor

from lth_utils.errors import InputError, unknown

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True, order=False)
class Step:
    """A point in training: ``"500it"`` iterations, ``"3ep"`` epochs, or ``"1%"`` of the recipe.

    >>> Step.of("1%").iteration(duration=50_000, epoch=917)
    500

    Raises:
        InputError: the text is not a number followed by ``it``, ``ep`` or ``%``.
    """

    amount: float
    unit: str

    @classmethod
    def of(cls, step: Step | str | int) -> Step:
        """A step from its text; an integer counts iterations."""
        if isinstance(step, Step):
            return step
        return _parsed(f"{step}it" if isinstance(step, Integral) else str(step))

    def iteration(self, duration: int, epoch: int) -> int:
        """The iteration meant, given the iterations of the recipe and of one epoch."""
        per_unit = {"it": 1, "ep": epoch, "%": duration / 100}[self.unit]
        return round(self.amount * per_unit)

    def __str__(self) -> str:
        return f"{self.amount:.15g}{self.unit}"


@functools.lru_cache  # asked several times an iteration
def _parsed(text: str) -> Step:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(it|ep|%)", text)
    if not match or (match[2] == "it" and "." in match[1]):
        raise InputError(f"{text!r} is not a step; write '500it', '3ep' or '1%'.")
    return Step(float(match[1]), match[2])


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, 2015) at a learning ``rate``, with the usual moments."""

    rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def build(self, tensors: list[Tensor], capturable: bool = False) -> torch.optim.Optimizer:
        """PyTorch's optimiser; ``capturable`` where its steps are recorded and replayed."""
        return torch.optim.Adam(
            tensors,
            lr=self.rate,
            betas=self.betas,
            eps=self.eps,
            fused=True,
            capturable=capturable and tensors[0].is_cuda,
        )


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent at a learning ``rate``; ``decay`` is the L2 coefficient."""

    rate: float
    momentum: float = 0.0
    decay: float = 0.0
    nesterov: bool = False

    def build(self, tensors: list[Tensor], capturable: bool = False) -> torch.optim.Optimizer:
        """PyTorch's optimiser, whose steps can always be recorded and replayed."""
        return torch.optim.SGD(
            tensors,
            lr=self.rate,
            momentum=self.momentum,
            weight_decay=self.decay,
            nesterov=self.nesterov,
            fused=True,
        )


@dataclass(frozen=True)
class Schedule:
    """What the learning rate is multiplied by as training goes on.

    Linear warm-up from 0 until ``warmup``; then either a drop to ``factor`` of the rate at each of
    ``milestones``, or, with ``cosine``, half a cosine down to zero.
    """

    milestones: tuple[str, ...] = ()
    factor: float = 0.1
    warmup: str = "0it"
    cosine: bool = False

    def multiplier(self, iteration: int, duration: int, epoch: int) -> float:
        warmup = Step.of(self.warmup).iteration(duration, epoch)
        if iteration < warmup:
            return (iteration + 1) / warmup
        if self.cosine:
            share = (iteration - warmup) / max(1, duration - warmup)
            return 0.5 * (1 + math.cos(math.pi * share))
        passed = sum(iteration >= Step.of(m).iteration(duration, epoch) for m in self.milestones)
        return self.factor**passed


@dataclass(frozen=True)
class Augment:
    """Random changes to training images: mirrored left to right, and shifted by up to ``crop``
    pixels either way, with what comes in from outside black."""

    flip: bool = False
    crop: int = 0

    def __bool__(self) -> bool:
        return self.flip or self.crop > 0


@dataclass(frozen=True)
class Recipe:
    """Everything about a training but the network, the data and the seeds.

    Args:
        duration: length, in iterations or epochs.
        batch: images in a batch.
        optimiser: :class:`Adam` or :class:`SGD`.
        schedule: what becomes of the learning rate.
        augment: random changes to the training images.
        every: how often the validation set is looked at.
        precision: ``"float32"``, or ``"bfloat16"`` for products in bfloat16 with the weights in
            float32.
    """

    duration: str
    batch: int
    optimiser: Adam | SGD
    schedule: Schedule = field(default_factory=Schedule)
    augment: Augment = field(default_factory=Augment)
    every: str = "100it"
    precision: str = "float32"

    # What moves the mask while a network trains, if anything; :func:`.dynamic.moving` has it.
    moves: ClassVar[Any] = None

    def __post_init__(self):
        if Step.of(self.duration).unit == "%":
            raise InputError("A recipe's duration is in iterations ('50000it') or epochs ('30ep').")
        if self.batch < 1:
            raise InputError(f"A batch holds at least one image; got {self.batch}.")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)

    def epoch(self, images: int) -> int:
        """Iterations that it takes to see ``images`` once, rounded up."""
        return -(-images // self.batch)

    def iterations(self, images: int) -> int:
        """Length of the recipe on a training set of ``images``, in iterations."""
        return Step.of(self.duration).iteration(0, self.epoch(images))

    def iteration(self, step: Step | str | int, images: int) -> int:
        """The iteration that ``step`` means on a training set of ``images``.

        Raises:
            InputError: it lies beyond the end of the recipe.
        """
        end = self.iterations(images)
        iteration = Step.of(step).iteration(end, self.epoch(images))
        if iteration > end:
            raise InputError(f"Step {step} is iteration {iteration}, beyond the recipe's {end}.")
        return iteration

    def cadence(self, images: int) -> int:
        """Iterations from one look at the validation set to the next, at least one."""
        return max(1, Step.of(self.every).iteration(self.iterations(images), self.epoch(images)))

    def rate(self, iteration: int, images: int) -> float:
        """The learning rate at ``iteration``."""
        return self.rates(iteration, iteration + 1, images)[0]

    def rates(self, first: int, last: int, images: int) -> list[float]:
        """The learning rate at each iteration from ``first`` to before ``last``."""
        duration, epoch = self.iterations(images), self.epoch(images)
        factors = (self.schedule.multiplier(i, duration, epoch) for i in range(first, last))
        return [self.optimiser.rate * factor for factor in factors]

    def fine_tune(self, duration: str | None = None) -> Recipe:
        """The recipe that goes on at this one's last learning rate, with no schedule."""
        if self.schedule.cosine:
            raise InputError("A cosine schedule ends at rate 0, so it has no rate to fine-tune at.")
        last = self.optimiser.rate * self.schedule.factor ** len(self.schedule.milestones)
        return replace(
            self,
            duration=duration or self.duration,
            optimiser=replace(self.optimiser, rate=last),
            schedule=Schedule(),
        )
