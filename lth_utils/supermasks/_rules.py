"""Rules: from scores to a mask, and from a mask to a network."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lth_utils import models
from lth_utils.errors import InputError
from lth_utils.masks import Mask
from lth_utils.models import Masked, Weights, kaiming_normal
from lth_utils.randomness import Stream, stream

Deviation = Callable[[Sequence[int]], float]


class _StraightThrough(torch.autograd.Function):
    """Zeros and ones on the way forward; on the way back, as if they were ``soft``.

    A choice has no slope, so that of the number behind the choice stands in (Bengio et al., 2013).
    """

    @staticmethod
    def forward(ctx, soft: Tensor, kept: Tensor) -> Tensor:
        return kept.to(soft.dtype)

    @staticmethod
    def backward(ctx, slope: Tensor) -> tuple[Tensor, None]:
        return slope, None


@dataclass(frozen=True)
class Bernoulli:
    """Keep each weight with probability sigmoid(score), drawn anew at every step (Zhou et al.,
    2019).

    Where nothing is drawn, as when the validation set is looked at, the mask is the most probable
    one. How dense it becomes is learnt, too.

    Attributes:
        constant: weights are plus or minus one constant a layer, the deviation of the network's
            initial weights, in place of the initial weights themselves.
        rescale: multiply each layer's weights by weights ÷ weights kept, so that a sparser layer
            puts out as much.
        start: the score of every weight at the start.
    """

    constant: bool = False
    rescale: bool = False
    start: float = 0.0

    purpose = "mask"

    def kept(self, scores: Tensor, draws: Tensor | None) -> Tensor:
        probable = torch.sigmoid(scores)
        kept = self.choice(scores) if draws is None else draws < probable
        return _StraightThrough.apply(probable, kept) * self.factor(kept)

    def choice(self, scores: Tensor) -> Tensor:
        """The most probable mask, boolean like the scores."""
        return scores >= 0

    def factor(self, kept: Tensor) -> Tensor | float:
        """What the weights of a layer of one member are multiplied by besides."""
        return kept.numel() / kept.sum().clamp(min=1) if self.rescale else 1.0

    def scores(self, shape: Sequence[int], stream: Stream) -> Tensor:
        return torch.full(tuple(shape), float(self.start))

    def weights(self, draws: Tensor, deviation: Deviation) -> Tensor:
        return _constant(draws, self.constant) * deviation(draws.shape[1:])


@dataclass(frozen=True)
class EdgePopup:
    """Keep the weights with the highest scores of each layer (Ramanujan et al., 2020).

    A score changes by how the loss would change if its weight acted, whether it is kept or not, so
    that a weight left out can come back.

    Attributes:
        density: share of each layer's weights that is kept; ``round(density × n)`` of n.
        constant: weights are plus or minus one constant a layer, the deviation of He et al., or
            normal with that deviation.
        rescale: multiply each layer's weights by sqrt(1 ÷ density), so that a sparser layer puts
            out values of the same deviation.

    Raises:
        InputError: the density is not above 0 and at most 1.
    """

    density: float = 0.5
    constant: bool = True
    rescale: bool = True

    purpose = ""

    def __post_init__(self):
        if not 0 < self.density <= 1:
            raise InputError(
                f"A density is the share of weights kept, above 0 and at most 1; got "
                f"{self.density}."
            )

    def kept(self, scores: Tensor, draws: Tensor | None) -> Tensor:
        return _StraightThrough.apply(scores, self.choice(scores)) * self.factor(scores)

    def choice(self, scores: Tensor) -> Tensor:
        """The mask of the highest scores, boolean like the scores, with an exact count."""
        flat = scores.detach().flatten()
        count = round(self.density * len(flat))
        if flat.device.type == "cpu" and 0 < count < len(flat):  # a seventh of PyTorch's time
            order = np.argpartition(flat.numpy(), len(flat) - count)
            best = torch.from_numpy(order[len(flat) - count :])
        else:
            best = flat.topk(count, sorted=False).indices
        kept = torch.zeros_like(flat, dtype=torch.bool)
        kept[best] = True
        return kept.view_as(scores)

    def factor(self, kept: Tensor) -> float:
        """What the weights of a layer are multiplied by besides."""
        return math.sqrt(1 / self.density) if self.rescale else 1.0

    def scores(self, shape: Sequence[int], stream: Stream) -> Tensor:
        # As PyTorch's layers start their weights; of scores only the order matters at first.
        draws = torch.from_numpy(stream.uniform(*shape)).float()
        return (2 * draws - 1) / math.sqrt(math.prod(shape[1:]))

    def weights(self, draws: Tensor, deviation: Deviation) -> Tensor:
        return _constant(draws, self.constant) * kaiming_normal(draws.shape[1:])


Rule = Bernoulli | EdgePopup


def _constant(draws: Tensor, constant: bool) -> Tensor:
    """Normal deviates, or only their signs: the same network with one absolute value."""
    return torch.where(draws < 0, -1.0, 1.0) if constant else draws


def masked(model: nn.Module, rule: Rule) -> nn.Module:
    """A copy of a network in which scores are all that can be trained.

    Every prunable layer becomes a :class:`.Masked` one. What else had parameters, batch norm for
    instance, keeps them as they start.
    """
    model = copy.deepcopy(model)
    for name in models.prunable(model):
        parent, _, own = name.removesuffix(".weight").rpartition(".")
        parent = model.get_submodule(parent)
        setattr(parent, own, Masked(getattr(parent, own), rule))
    for module in model.modules():
        if not isinstance(module, Masked):
            for name, tensor in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, tensor.detach())
    return model


# From scores to what has been found ---------------------------------------------------------------


def mask(model: nn.Module, weights: Weights) -> Mask:
    """The mask that trained scores stand for: the most probable one, or the highest scores.

    Args:
        model: a network of :class:`.Masked` layers, as a task with a rule has.
        weights: its weights, scores among them, (R, \\*shape).

    Raises:
        InputError: the network has no such layers.
    """
    return Mask({
        f"{name}.weight": torch.stack([layer.rule.choice(one) for one in weights[f"{name}.scores"]])
        for name, layer in _layers(model).items()
    })  # fmt: skip


def sample(model: nn.Module, weights: Weights, seeds: Sequence[int], number: int = 0) -> Mask:
    """A mask drawn with the probabilities that have been learnt.

    Args:
        model: a network of :class:`.Masked` layers under the rule :class:`Bernoulli`.
        weights: its weights, scores among them, (R, \\*shape).
        seeds: one for each member; with ``number`` and the layer's name they name the draw.
        number: which of many draws.

    Raises:
        InputError: the rule of the network's masks draws nothing.
    """
    drawn = {}
    for name, layer in _layers(model).items():
        if not layer.rule.purpose:
            raise InputError(f"{layer.rule} keeps the highest scores and draws no mask.")
        scores = weights[f"{name}.scores"]
        draws = [
            torch.from_numpy(stream(seed, "mask", "sample", number, name).coarse(*one.shape))
            for seed, one in zip(seeds, scores, strict=True)
        ]
        probable = torch.sigmoid(scores)
        drawn[f"{name}.weight"] = torch.stack(draws).to(probable) < probable
    return Mask(drawn)


def network(model: nn.Module, weights: Weights, mask: Mask) -> Weights:
    """Weights of the plain network that a mask leaves, for anything that takes a network.

    Args:
        model: a network of :class:`.Masked` layers.
        weights: its weights, scores among them, (R, \\*shape).
        mask: which of them act, R members; see :func:`mask` and :func:`sample`.

    Returns:
        Weights without scores, zero where the mask prunes and rescaled where the rule says so.
    """
    plain = {name: w for name, w in weights.items() if not name.endswith(".scores")}
    plain = mask.apply(plain)
    for name, layer in _layers(model).items():
        name = f"{name}.weight"
        for member, kept in enumerate(mask[name]):
            plain[name][member] *= layer.rule.factor(kept)
    return plain


def _layers(model: nn.Module) -> dict[str, Masked]:
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, Masked)}
    if not layers:
        raise InputError(
            "This network has no masks that are trained; take one of supermasks.masked(model, "
            "rule), or the model of a task with a supermask."
        )
    return layers
