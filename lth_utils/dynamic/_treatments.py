"""Treatments: sparse from the start, with a mask that moves or stays."""

from __future__ import annotations

from dataclasses import replace

import torch

from lth_utils import pruning
from lth_utils.controls import Arm, Situation, fresh_random, modifier, treatment
from lth_utils.dynamic._rules import SET, RigL, moving
from lth_utils.masks import Mask
from lth_utils.randomness import stream
from lth_utils.recipes import Recipe, Step

LONG, LONGER = "3x as long", 3


@treatment("static")
def static(now: Situation) -> Arm:
    """The random ticket under the name that it has beside masks that move: its own never does."""
    return fresh_random(now)


@treatment("SET")
def with_set(now: Situation) -> Arm:
    """The same weights and mask, which moves: the smallest weights go, random ones grow."""
    return replace(static(now), recipe=moving(now.recipe, SET()))


@treatment("RigL")
def with_rigl(now: Situation) -> Arm:
    """The same weights and mask, which moves: the smallest weights go, those with the largest
    gradients grow."""
    return replace(static(now), recipe=moving(now.recipe, RigL()))


@modifier("uniform")
def uniform(now: Situation, arm: Arm) -> Arm:
    """A random mask in which all layers have one density, with as many weights in all."""
    return replace(arm, mask=_drawn(now, arm, "uniform"))


@modifier("erdos-renyi")
def erdos_renyi(now: Situation, arm: Arm) -> Arm:
    """A random mask in which small layers are denser, with as many weights in all (Mocanu et al.,
    2018; for convolutions Evci et al., 2020)."""
    return replace(arm, mask=_drawn(now, arm, "erdos-renyi"))


def _drawn(now: Situation, arm: Arm, scope: str) -> Mask:
    """Pruned at random to each member's number of weights, divided among the layers by a scope."""
    masks = []
    for i, seed in enumerate(now.seeds):
        kept = arm.mask.member(i)
        scores = {
            name: torch.from_numpy(
                stream(seed, "random mask", scope, now.level, name).uniform(*each.shape)
            ).to(each.device)
            for name, each in kept.items()
        }
        removed = {name: 1 - each.sum().item() / each.numel() for name, each in kept.items()}
        masks.append(pruning.prune(scores, kept | ~kept, removed, scope))
    return Mask.cat(masks)


@modifier(LONG)
def three_times_as_long(now: Situation, arm: Arm) -> Arm:
    """Three times the iterations, with the rate's schedule stretched; a mask that moves does so at
    the same intervals, and so three times as often (Evci et al., 2020)."""
    recipe = arm.recipe or now.recipe
    return replace(arm, begin=_apart(arm.begin, LONGER), recipe=longer(recipe, LONGER))


def times_as_long(name: str) -> int:
    """How many times as long as its recipe says a treatment is trained."""
    return LONGER ** name.split(", ")[1:].count(LONG)


def longer(recipe: Recipe, factor: int) -> Recipe:
    """A recipe ``factor`` times as long, its schedule stretched over it.

    What counts time from one thing to the next, moves of a mask or looks at the validation set,
    stays as it is.
    """
    schedule = replace(
        recipe.schedule,
        milestones=tuple(_later(m, factor) for m in recipe.schedule.milestones),
        warmup=_later(recipe.schedule.warmup, factor),
    )
    duration, every = _later(recipe.duration, factor), _apart(recipe.every, factor)
    changes = {"duration": duration, "schedule": schedule, "every": every}
    if recipe.moves:
        rule, every = recipe.moves, _apart(recipe.moves.every, factor)
        changes["moves"] = replace(rule, every=every, until=_later(rule.until, factor))
    return replace(recipe, **changes)


def _later(step: str, factor: int) -> str:
    """The same share of a training ``factor`` times as long."""
    step = Step.of(step)
    return str(step if step.unit == "%" else replace(step, amount=step.amount * factor))


def _apart(step: str, factor: int) -> str:
    """As many iterations in a training ``factor`` times as long."""
    step = Step.of(step)
    return str(replace(step, amount=step.amount / factor) if step.unit == "%" else step)
