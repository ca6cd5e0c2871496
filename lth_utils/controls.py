"""Controls and treatments: what a sparse network starts from.

Pruning finds a mask. A *treatment* says with which weights, and with which mask of the same
density, the sparse network is then trained. The winning ticket is one treatment; each control
changes one thing about it. A treatment is a function from a :class:`Situation` to an :class:`Arm`,
registered under the name that tables and figures use::

    @treatment("reinit")
    def reinit(now):
        return Arm(now.fresh(), now.mask)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lth_utils.errors import InputError, look_up
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.randomness import stream
from lth_utils.recipes import Recipe


@dataclass(frozen=True)
class Arm:
    """One arm of an experiment: weights, mask, and the part of the recipe to train them by."""

    start: Weights
    mask: Mask
    begin: str = "0it"
    recipe: Recipe | None = None
    """Another recipe than the task's, if any."""


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

    def fresh(self) -> Weights:
        """Initial weights drawn anew, different at every level."""
        return self.draw(self.seeds, "reinit", self.level)


Treatment = Callable[[Situation], Arm]

TREATMENTS: dict[str, Treatment] = {}
"""Every treatment, by name."""


def treatment(name: str) -> Callable[[Treatment], Treatment]:
    """Register a function from a :class:`Situation` to an :class:`Arm` under a name."""

    def register(function: Treatment) -> Treatment:
        TREATMENTS[name] = function
        return function

    return register


def by_name(name: str) -> Treatment:
    """The treatment called ``name``; an :class:`.InputError` lists those known."""
    return look_up("treatment", name, TREATMENTS)


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
    """The found mask with the trained weights, trained on at the recipe's last rate."""
    return Arm(now.trained, now.mask, recipe=now.recipe.fine_tune())


@treatment("rate rewinding")
def rate_rewinding(now: Situation) -> Arm:
    """The found mask with the trained weights, and the schedule rewound (Renda et al., 2020)."""
    return Arm(now.trained, now.mask, begin=now.rewind)


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
