"""Controls and treatments: what a sparse network starts from.

Pruning finds a mask. A *treatment* says with which weights, and with which mask of the same
density, the sparse network is then trained. The winning ticket is one treatment; each control
changes one thing about it. A treatment is a function from a :class:`Situation` to an :class:`Arm`,
registered under the name that tables and figures use::

    @treatment("reinit")
    def reinit(now):
        return Arm(now.fresh(), now.mask)

A treatment may name the step that it is rewound to: ``"ticket @ 6%"``. A *modifier* changes one
thing about whatever arm it is given, and follows after a comma: ``"reinit, same signs, frozen"``,
``"ticket @ 6%, copy"``. Any modifiers go with any treatment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lth_utils import models
from lth_utils.errors import InputError, look_up
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.randomness import stream
from lth_utils.recipes import Recipe, Step


@dataclass(frozen=True)
class Arm:
    """One arm of an experiment: weights, mask, and the part of the recipe to train them by."""

    start: Weights
    mask: Mask
    begin: str = "0it"
    recipe: Recipe | None = None
    """Another recipe than the task's, if any."""
    frozen: Mask | None = None
    """Which of the pruned weights stay at their values in ``start``; the others are zero."""
    copy: int = 0
    """Which SGD noise it sees, that is which order of the data, augmentation and dropout."""

    def member(self, index: int) -> Arm:
        """One member of this arm, as an arm with R = 1."""
        return replace(
            self,
            start={name: w[index : index + 1] for name, w in self.start.items()},
            mask=self.mask.member(index),
            frozen=None if self.frozen is None else self.frozen.member(index),
        )

    def to(self, device) -> Arm:
        """This arm on a device."""
        return replace(
            self,
            start={name: w.to(device) for name, w in self.start.items()},
            mask=self.mask.to(device),
            frozen=None if self.frozen is None else self.frozen.to(device),
        )


@dataclass(frozen=True)
class Situation:
    """What is at hand when a level has just been pruned."""

    mask: Mask
    """The mask that pruning has found."""
    start: Weights
    """The weights that the dense network started from."""
    rewound: Weights
    """The dense network's weights at the rewind step."""
    rewind: str
    """The rewind step."""
    trained: Weights
    """The trained weights that were pruned."""
    recipe: Recipe
    seeds: Sequence[int]
    level: int
    draw: Callable[..., Weights]
    """``draw(seeds, purpose, *where)``: initial weights of the network under another name."""
    deviation: Callable[[Sequence[int]], float] = models.glorot_normal
    """The deviation of a layer's initial weights, from its shape."""
    last: Weights | None = None
    """Every weight as it was last trained; one that an earlier level pruned, as it was then. By
    default ``trained``."""
    at: Callable[[str], Weights] | None = None
    """The dense network's weights at a step that was kept, for treatments that name their own."""

    def rewound_to(self, step: str) -> Situation:
        """The same, with another rewind step.

        Raises:
            InputError: the dense network's weights were not kept at any step.
        """
        if self.at is None:
            raise InputError(f"Nothing was kept at step {step}; give the situation at=....")
        return replace(self, rewound=self.at(step), rewind=step)

    @property
    def grown(self) -> Mask:
        """Which weights training moved away from zero, or not at all, since the rewind step."""
        last = self.last or self.trained
        return Mask({name: last[name].abs() >= self.rewound[name].abs() for name in self.mask})

    def fresh(self) -> Weights:
        """Initial weights drawn anew, different at every level."""
        return self.draw(self.seeds, "reinit", self.level)


Treatment = Callable[[Situation], Arm]
Modifier = Callable[[Situation, Arm], Arm]

COPY, DENSE = "copy", "dense"

TREATMENTS: dict[str, Treatment] = {}
"""Every treatment without modifiers, by name."""

MODIFIERS: dict[str, Modifier] = {}
"""Every modifier, by name."""


def treatment(name: str) -> Callable[[Treatment], Treatment]:
    """Register a function from a :class:`Situation` to an :class:`Arm` under a name."""

    def register(function: Treatment) -> Treatment:
        TREATMENTS[name] = function
        return function

    return register


def modifier(name: str) -> Callable[[Modifier], Modifier]:
    """Register a function from a :class:`Situation` and an :class:`Arm` to another arm."""

    def register(function: Modifier) -> Modifier:
        MODIFIERS[name] = function
        return function

    return register


def by_name(name: str) -> Treatment:
    """The treatment called ``name``, at the step that it names, with the modifiers that follow it
    after commas.

    Raises:
        InputError: there is no such treatment, step or modifier; the message lists those known.
    """
    first, *rest = parts(name)
    step = step_of(name)

    def composed(now: Situation) -> Arm:
        now = now.rewound_to(step) if step else now
        arm = first(now)
        for modify in rest:
            arm = modify(now, arm)
        return arm

    return composed if rest or step else first


def parts(name: str) -> list[Treatment | Modifier]:
    """What a name is composed of: the treatment, then its modifiers.

    Raises:
        InputError: there is no such treatment or modifier; the message lists those known.
    """
    if name in TREATMENTS:
        return [TREATMENTS[name]]
    head, *modifiers = name.split(", ")
    return [
        look_up("treatment", head.split(" @ ")[0], TREATMENTS),
        *(look_up("modifier of a treatment", each, MODIFIERS) for each in modifiers),
    ]


def step_of(name: str) -> str | None:
    """The rewind step that a treatment's name gives, as in ``"ticket @ 6%, copy"``, or None.

    Raises:
        InputError: what stands there is not a step.
    """
    _, at, step = name.split(", ")[0].partition(" @ ")
    return str(Step.of(step)) if at else None


def at_step(name: str, step: Step | str | int) -> str:
    """The treatment ``name`` rewound to ``step``: ``"ticket, copy"`` at 6% is
    ``"ticket @ 6%, copy"``."""
    head, *modifiers = name.split(", ")
    return ", ".join([f"{head.split(' @ ')[0]} @ {Step.of(step)}", *modifiers])


def original_of(name: str) -> str | None:
    """The treatment that ``name`` is a copy of, or None where it is no copy."""
    head, *modifiers = name.split(", ")
    if COPY not in modifiers:
        return None
    return ", ".join([head, *(m for m in modifiers if m != COPY)])


def is_dense(name: str) -> bool:
    """Whether a treatment trains the whole network, whatever has been pruned."""
    return name.split(", ")[0].split(" @ ")[0] == DENSE


def is_trained(name: str) -> bool:
    """Whether a treatment is trained, and not evaluated as it starts."""
    return "untrained" not in name.split(", ")


# Treatments ---------------------------------------------------------------------------------------


@treatment("ticket")
def ticket(now: Situation) -> Arm:
    """The found mask with the dense network's own weights, rewound (Frankle and Carbin, 2019)."""
    return Arm(now.rewound, now.mask, begin=now.rewind)


@treatment("reinit")
def reinit(now: Situation) -> Arm:
    """The found mask with fresh initial weights: is it the values that matter?

    Fresh weights have no past to rewind to: they are trained by the whole recipe from its start.
    """
    return Arm(now.fresh(), now.mask)


@treatment("random mask")
def random_ticket(now: Situation) -> Arm:
    """The ticket's weights under a random mask of equal layer densities: is it the mask?"""
    return Arm(now.rewound, random_mask(now.mask, now.seeds, now.level), begin=now.rewind)


@treatment("fine-tune")
def fine_tune(now: Situation) -> Arm:
    """The found mask with the trained weights, trained on at the recipe's last rate, for as long as
    a ticket that is rewound to the same step."""
    return Arm(now.trained, now.mask, begin=now.rewind, recipe=now.recipe.fine_tune())


@treatment("rate rewinding")
def rate_rewinding(now: Situation) -> Arm:
    """The found mask with the trained weights, and the schedule rewound (Renda et al., 2020)."""
    return Arm(now.trained, now.mask, begin=now.rewind)


@treatment(DENSE)
def dense(now: Situation) -> Arm:
    """All weights, at the step: what every ticket is compared with."""
    return Arm(now.rewound, now.mask | ~now.mask, begin=now.rewind)


@treatment("uniform mask")
def uniform(now: Situation) -> Arm:
    """The ticket's weights under a mask drawn at random from the whole network: is it how many
    weights each layer keeps?

    Layers that have lost nothing keep everything.
    """
    return Arm(now.rewound, uniform_mask(now.mask, now.seeds, now.level), begin=now.rewind)


@treatment("random ticket")
def fresh_random(now: Situation) -> Arm:
    """Fresh weights under a random mask of equal layer densities: nothing of the ticket but how
    many weights each layer keeps."""
    return Arm(now.fresh(), random_mask(now.mask, now.seeds, now.level))


@treatment("large init")
def large_start(now: Situation) -> Arm:
    """The ticket's weights under a mask of equal layer densities that keeps those that start
    largest: is it anything that training has found?"""
    return Arm(now.rewound, largest(now.start, now.mask), begin=now.rewind)


@treatment("reshuffle")
def reshuffle(now: Situation) -> Arm:
    """The kept weights' initial values, permuted within each layer: is it which value is where?

    Trained from the recipe's start, as a reinit is. What is pruned stays in its place.
    """
    start = {
        name: _permuted(w, now.mask[name], now, name, "reshuffle") if name in now.mask else w
        for name, w in now.start.items()
    }
    return Arm(start, now.mask)


@treatment("constant")
def constant(now: Situation) -> Arm:
    """Every weight ± the deviation of its layer's initial weights, at random signs (Zhou et al.,
    2019): is it the values at all?

    Trained from the recipe's start, as a reinit is.
    """
    start = {
        name: _signs(now, name) * now.deviation(w.shape[1:]) if name in now.mask else w
        for name, w in now.start.items()
    }
    return Arm(start, now.mask)


# Modifiers ----------------------------------------------------------------------------------------


@modifier("same signs")
def same_signs(now: Situation, arm: Arm) -> Arm:
    """The arm's absolute values with the signs of the ticket's weights (Zhou et al., 2019)."""
    return _with_signs(now, arm, lambda name: now.rewound[name])


@modifier("random signs")
def random_signs(now: Situation, arm: Arm) -> Arm:
    """The arm's absolute values with random signs: the control for the same signs."""
    return _with_signs(now, arm, lambda name: _signs(now, name))


@modifier("frozen")
def frozen(now: Situation, arm: Arm) -> Arm:
    """Pruned weights stay where the arm starts, not zero: is it the zeros (Zhou et al., 2019)?"""
    return replace(arm, frozen=~arm.mask)


@modifier("frozen if grown")
def frozen_if_grown(now: Situation, arm: Arm) -> Arm:
    """Pruned weights are zero only if training moved them toward zero, and else stay where the arm
    starts (Zhou et al., 2019)."""
    return replace(arm, frozen=now.grown & ~arm.mask)


@modifier("frozen if shrunk")
def frozen_if_shrunk(now: Situation, arm: Arm) -> Arm:
    """Pruned weights stay where the arm starts only if training moved them toward zero: the wrong
    way round."""
    return replace(arm, frozen=~now.grown & ~arm.mask)


@modifier("frozen at random")
def frozen_at_random(now: Situation, arm: Arm) -> Arm:
    """As many of each layer's pruned weights stay as :func:`frozen_if_grown` keeps, drawn at
    random: is it which ones?"""
    pruned = ~arm.mask
    drawn = {
        name: _permuted(grown, pruned[name], now, name, "frozen at random")
        for name, grown in (now.grown & pruned).items()
    }
    return replace(arm, frozen=Mask(drawn))


@modifier(COPY)
def copy(now: Situation, arm: Arm) -> Arm:
    """The same start and mask under other SGD noise (Frankle et al., 2020): do the two part?"""
    return replace(arm, copy=1)


@modifier("untrained")
def untrained(now: Situation, arm: Arm) -> Arm:
    """The arm evaluated as it starts: what does it know before any training?"""
    return replace(arm, begin="0it", recipe=replace(now.recipe, duration="0it"))


@modifier("moved")
def moved(now: Situation, arm: Arm) -> Arm:
    """A control that is made on the ticket's own network, and moved to another as the ticket is;
    for :func:`lth_utils.lottery.transfer`, which alone moves anything."""
    raise InputError("Only lth.lottery.transfer moves tickets; leave 'moved' out elsewhere.")


def _with_signs(now: Situation, arm: Arm, signs: Callable[[str], Tensor]) -> Arm:
    changed = {name: torch.copysign(arm.start[name], signs(name)) for name in now.mask}
    return replace(arm, start=arm.start | changed)


def _signs(now: Situation, name: str) -> Tensor:
    """1 or -1 for each weight of a layer, with equal chances."""
    like = now.start[name]
    draws = [
        stream(seed, "treatment", "signs", now.level, name).uniform(*like.shape[1:])
        for seed in now.seeds
    ]
    positive = torch.from_numpy(np.stack(draws)).to(like.device) < 0.5
    return torch.where(positive, torch.ones_like(like), -torch.ones_like(like))


def _permuted(values: Tensor, where: Tensor, now: Situation, name: str, what: str) -> Tensor:
    """Each member's values (R, \\*shape), permuted among the places that are true in ``where``."""
    permuted = values.clone()
    for i, seed in enumerate(now.seeds):
        own = values[i][where[i]]
        order = stream(seed, "treatment", what, now.level, name).permutation(len(own))
        permuted[i][where[i]] = own[torch.from_numpy(order).to(own.device)]
    return permuted


# Masks to compare with ----------------------------------------------------------------------------


def random_mask(mask: Mask, seeds: Sequence[int], level: int = 0) -> Mask:
    """A uniformly random mask that keeps exactly as many weights of each layer as ``mask`` does.

    Args:
        mask: R members.
        seeds: one for each member; with ``level`` and the layer's name they name the draw.
        level: makes the draw of each level its own.
    """
    if len(seeds) != mask.members:
        raise InputError(f"There are {len(seeds)} seeds for a mask of {mask.members} members.")
    shuffled = {}
    for name, kept in mask.items():
        flat = kept.flatten(1)
        orders = [
            torch.from_numpy(stream(seed, "random mask", level, name).permutation(flat.shape[1]))
            for seed in seeds
        ]
        rows = [row[order.to(row.device)] for row, order in zip(flat, orders, strict=True)]
        shuffled[name] = torch.stack(rows).view_as(kept)
    return Mask(shuffled)


def largest(weights: Weights, mask: Mask) -> Mask:
    """The mask that keeps as many weights of each layer as ``mask`` does: the largest.

    Args:
        weights: tensors (R, \\*shape).
        mask: R members.
    """
    kept = {}
    for name, old in mask.items():
        order = weights[name].abs().flatten(1).argsort(dim=1, descending=True, stable=True)
        first = torch.arange(order.shape[1], device=order.device) < old.flatten(1).sum(1)[:, None]
        kept[name] = torch.zeros_like(first).scatter_(1, order, first).view_as(old)
    return Mask(kept)


def uniform_mask(mask: Mask, seeds: Sequence[int], level: int = 0) -> Mask:
    """A random mask that keeps as many weights as ``mask`` does, whatever layer they are in.

    Layers of which ``mask`` keeps everything are left whole.

    Args:
        mask: R members.
        seeds: one for each member; with ``level`` they name the draw.
        level: makes the draw of each level its own.
    """
    cut = [name for name, kept in mask.items() if not bool(kept.all())]
    if not cut:
        return mask
    flat = torch.cat([mask[name].flatten(1) for name in cut], dim=1)
    drawn = random_mask(Mask({"every layer": flat}), seeds, level)["every layer"]
    pieces = drawn.split([mask[name][0].numel() for name in cut], dim=1)
    uniform = {n: piece.view_as(mask[n]) for n, piece in zip(cut, pieces, strict=True)}
    return Mask({name: uniform.get(name, kept) for name, kept in mask.items()})
