"""Criteria for whole attention heads: every weight of a head has one score, so that all go."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lth_utils import models, training
from lth_utils.errors import InputError
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.pruning._criteria import Criterion
from lth_utils.pruning._scopes import check, prune
from lth_utils.randomness import stream

if TYPE_CHECKING:
    from lth_utils.tasks import Task

IMAGES = 500
"""Training windows on which the loss without a head is measured."""


@dataclass(frozen=True)
class Groups:
    """What a criterion of whole groups may look at."""

    weights: Weights
    """Trained weights (R, \\*shape), zero where pruned."""
    mask: Mask
    parts: Sequence[Mapping[str, tuple]]
    """For each group its place in each tensor, without the axis of members."""
    task: Task
    seeds: Sequence[int] | None
    level: int

    def total(self, values: Mapping[str, Tensor]) -> Tensor:
        """The sum of values (R, \\*shape) over each group, (R, groups)."""
        sums = [
            sum(values[name][(slice(None), *where)].flatten(1).sum(1) for name, where in p.items())
            for p in self.parts
        ]
        return torch.stack(sums, dim=1)

    def without(self, group: int) -> Weights:
        """The weights with one group at zero."""
        weights = dict(self.weights)
        for name, where in self.parts[group].items():
            weights[name] = weights[name].clone()
            weights[name][(slice(None), *where)] = 0
        return weights


def grouped(
    groups: Callable[[torch.nn.Module], Mapping[str, Mapping[str, tuple]]],
) -> Callable[[Callable[[Groups], Tensor]], Criterion]:
    """Make a pruner of a function from :class:`Groups` to scores (R, groups), as
    :func:`~lth_utils.pruning.criterion` does of one that scores each weight.

    All weights of a group go together, those of the lowest score first. So the fractions have to
    add up to whole groups, with scope ``"global"``; weights that belong to no group have fraction
    0. The pruner needs ``task=...``, for the groups are those of its network.

    Most networks have no such groups, so the pruner does not join ``CRITERIA``: pass the function.

    Args:
        groups: from a network to its groups, as :func:`lth_utils.models.heads`; for each group
            its place in each of its tensors.
    """

    def decorate(scores: Callable[[Groups], Tensor]) -> Criterion:
        @functools.wraps(scores)
        def pruner(
            weights: Weights,
            mask: Mask,
            fractions: float | Mapping[str, float],
            scope: str = "global",
            *,
            start: Weights | None = None,
            seeds: Sequence[int] | None = None,
            level: int = 0,
            task: Task | None = None,
        ) -> Mask:
            if task is None:
                raise InputError("This criterion asks the network for its groups: pass task=....")
            parts = list(groups(task.model).values())
            if not parts:
                raise InputError(f"{task.title} has no such groups; take another criterion.")
            outside = [n for n in mask if not any(n in part for part in parts)]
            if any(check(mask, fractions, scope)[n] for n in outside):
                raise InputError(
                    f"{outside[0]} is part of no group: give it and its like the fraction 0."
                )
            now = Groups(mask.apply(weights), mask, parts, task, seeds, level)
            # By rank, since two equal scores would let a little of both go.
            ranks = scores(now).argsort(dim=1, stable=True).argsort(dim=1)
            values = {n: torch.zeros(kept.shape, device=kept.device) for n, kept in mask.items()}
            for number, part in enumerate(parts):
                for tensor, where in part.items():
                    place = values[tensor][(slice(None), *where)]
                    place += ranks[:, number].view(-1, *[1] * (place.dim() - 1))
            pruned = prune(values, mask, fractions, scope, weights, task)
            for part in parts:
                _check_whole(pruned, mask, part)
            return pruned

        pruner.scores = scores
        return pruner

    return decorate


def _check_whole(pruned: Mask, before: Mask, part: Mapping[str, tuple]) -> None:
    own = [(pruned[n][(slice(None), *w)], before[n][(slice(None), *w)]) for n, w in part.items()]
    kept, had = (torch.cat([each[i].flatten(1) for each in own], dim=1) for i in (0, 1))
    if ((kept != had).any(1) & kept.any(1)).any():
        raise InputError(
            "These fractions and this scope would cut a group in two; ask for whole ones, as "
            "1/8 and then 1/7 of eight heads, with scope='global'."
        )


# Heads --------------------------------------------------------------------------------------------


@grouped(models.heads)
def heads_by_magnitude(now: Groups) -> Tensor:
    """Keep the heads whose weights are largest, in the sum of absolute values."""
    return now.total({name: w.abs() for name, w in now.weights.items()})


@grouped(models.heads)
def heads_by_loss(now: Groups) -> Tensor:
    """Keep the heads without which the loss on training windows would be highest, each tried alone
    (after Michel et al., 2019)."""
    data = now.task.data
    seen = data.train.first(min(IMAGES, len(data.train)))
    losses = [
        training.evaluate(now.task.model, now.without(group), data, seen)[0]
        for group in range(len(now.parts))
    ]
    return torch.stack(losses, dim=1)


@grouped(models.heads)
def heads_at_random(now: Groups) -> Tensor:
    """Keep heads at random: the control for the other two."""
    if now.seeds is None:
        raise InputError("This criterion draws at random: pass seeds=..., one a member.")
    draws = [
        stream(seed, "random mask", "heads", now.level).uniform(len(now.parts))
        for seed in now.seeds
    ]
    return torch.from_numpy(np.stack(draws))
