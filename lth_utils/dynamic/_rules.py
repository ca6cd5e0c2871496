"""Rules: when a mask moves, which weights it drops and which it grows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn

from lth_utils import costs
from lth_utils.errors import InputError
from lth_utils.masks import Mask
from lth_utils.randomness import Stream
from lth_utils.recipes import Recipe, Step


@dataclass(frozen=True)
class Rule:
    """What SET and RigL share: the schedule, and dropping the smallest weights.

    At every ``every`` until ``until``, each layer drops a share of its kept weights, those nearest
    to zero, and grows as many others, at zero. A weight just dropped may be grown again, as a new
    one. The share is ``fraction`` at the start and falls to nothing at ``until``, along half a
    cosine.

    Attributes:
        fraction: share of the kept weights of a layer that the first moves would replace.
        every: from one move to the next; in percent, of the recipe.
        until: where the last move lies before.

    Raises:
        InputError: the fraction is not above 0 and at most 1, or no time passes between moves.
    """

    fraction: float = 0.3
    every: str = "2.5%"
    until: str = "75%"

    looks = False

    def __post_init__(self):
        if not 0 < self.fraction <= 1:
            raise InputError(
                f"What moves is a share of the kept weights, above 0 and at most 1; got "
                f"{self.fraction}."
            )
        if not Step.of(self.every).amount > 0:
            raise InputError(f"A mask moves every so often, as in '100it'; got {self.every!r}.")

    def share(self, at: int, locate: Callable[[Step | str | int], int]) -> float:
        """Share of every layer's kept weights that moves at iteration ``at``; 0 where none do.

        Args:
            at: iteration, counted from the recipe's start.
            locate: turns a step such as ``"75%"`` into an iteration.
        """
        every, until = max(1, locate(self.every)), locate(self.until)
        if at == 0 or at % every or at >= until:
            return 0.0
        return self.fraction / 2 * (1 + math.cos(math.pi * at / until))

    def move(
        self, weights: Tensor, kept: Tensor, slopes: Tensor | None, share: float, draws: Stream
    ) -> tuple[Tensor, Tensor]:
        """One layer's next mask, with exactly as many weights as before.

        Args:
            weights: of any shape, zero where pruned.
            kept: the present mask, boolean of that shape.
            slopes: the loss's gradient for every weight, for a rule that looks at it.
            share: of the kept weights, rounded to a whole number; never more than are pruned.
            draws: for a rule that draws.

        Returns:
            The next mask, and which of its weights have been grown.
        """
        places = kept.flatten().nonzero().squeeze(1)
        count = min(round(share * len(places)), kept.numel() - len(places))
        nearest = torch.sort(weights.flatten()[places].abs(), stable=True).indices[:count]
        left = kept.flatten().clone()
        left[places[nearest]] = False
        scores = self.scores(weights, slopes, draws).flatten().masked_fill(left, -1)
        grown = torch.zeros_like(left)
        grown[_largest(scores, count)] = True
        return (left | grown).view_as(kept), grown.view_as(kept)

    def scores(self, weights: Tensor, slopes: Tensor | None, draws: Stream) -> Tensor:
        """What grows is where these are largest; none is negative."""
        raise NotImplementedError


@dataclass(frozen=True)
class SET(Rule):
    """Grow at random (Mocanu et al., 2018), by the schedule of Evci et al. (2020).

    The first paper drops a fixed share after every epoch, the smallest of the positive weights and
    the largest of the negative ones, and grows random weights that are not zero.
    """

    def scores(self, weights: Tensor, slopes: Tensor | None, draws: Stream) -> Tensor:
        return torch.from_numpy(draws.coarse(*weights.shape)).to(weights.device)


@dataclass(frozen=True)
class RigL(Rule):
    """Grow where the gradient is largest (Evci et al., 2020)."""

    looks = True

    def scores(self, weights: Tensor, slopes: Tensor | None, draws: Stream) -> Tensor:
        return slopes.abs()


def _largest(scores: Tensor, count: int) -> Tensor:
    """The places of the ``count`` largest scores, in any order."""
    if scores.device.type == "cpu" and 0 < count < len(scores):  # several times as fast
        order = np.argpartition(scores.numpy(), len(scores) - count)
        return torch.from_numpy(order[len(scores) - count :])
    return scores.topk(count, sorted=False).indices


@dataclass(frozen=True)
class Moving(Recipe):
    """A recipe by which pruned networks train while their masks move; see :func:`moving`.

    Attributes:
        moves: the rule by which they do.
    """

    moves: Rule = RigL()


def moving(recipe: Recipe, rule: Rule | None = None) -> Moving:
    """The same recipe, with masks that move; a network of which nothing is pruned stays dense.

    Args:
        recipe: how the weights are trained, any recipe.
        rule: :class:`RigL` by default, or :class:`SET`, or one of your own.
    """
    same = {f.name: getattr(recipe, f.name) for f in fields(Recipe)}
    return Moving(**same, moves=rule or RigL())


def operations(
    model: nn.Module, input_shape: Sequence[int], mask: Mask, recipe: Recipe, images: int
) -> Tensor:
    """Multiply-adds of a whole training: what a machine would have to do that skips every zero.

    A step counts as :func:`lth_utils.costs.operations` says, for each image of its batch. Where
    the mask moves no step is taken; a rule that looks at all gradients there runs the sparse
    network forward and back, and forms the gradients of all its weights. Finding the smallest and
    the largest is not counted.

    Args:
        model: the function.
        input_shape: of one image, (C, H, W).
        mask: R members; one that moves keeps its counts.
        recipe: how it is trained.
        images: how many there are to train on, which gives an epoch its length.

    Returns:
        int64 (R,).
    """
    sparse = costs.operations(model, input_shape, mask)
    total = recipe.iterations(images) * costs.PASSES * sparse
    if recipe.moves and bool((~mask).kept.any()):
        whole = costs.operations(model, input_shape, mask | ~mask)
        at = range(recipe.iterations(images))
        moved = sum(
            recipe.moves.share(i, lambda step: recipe.iteration(step, images)) > 0 for i in at
        )
        look = (costs.PASSES - 1) * sparse + whole if recipe.moves.looks else 0 * sparse
        total = total + moved * (look - costs.PASSES * sparse)
    return recipe.batch * total
