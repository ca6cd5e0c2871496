"""Layers whose weights never change: what is trained is a score for each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lth_utils.models._networks import Noisy
from lth_utils.randomness import Stream


class Rule(Protocol):
    """How scores become a mask, and what is masked; see :mod:`lth_utils.supermasks`."""

    purpose: str
    """Of what is drawn at every step of training; empty if nothing is."""

    def kept(self, scores: Tensor, draws: Tensor | None) -> Tensor:
        """What a layer's weights are multiplied by, as a function that has gradients.

        Args:
            scores: of one member, any shape.
            draws: uniform deviates of that shape while training, if the rule draws.
        """

    def weights(self, draws: Tensor, deviation: Callable[[Sequence[int]], float]) -> Tensor:
        """Weights (R, \\*shape) from normal deviates, given the network's own deviation."""

    def scores(self, shape: Sequence[int], stream: Stream) -> Tensor:
        """Scores of one member to start from."""


class Masked(Noisy):
    """A layer under a mask that is trained, with weights that are not (Zhou et al., 2019).

    Its parameters are the ``scores``; weights and biases are buffers, which a training carries
    along as it does batch norm's statistics. They are zero until given: a network here is only a
    function.

    Args:
        layer: linear or a convolution.
        rule: how its scores become a mask.
    """

    def __init__(self, layer: nn.Module, rule: Rule):
        super().__init__()
        self.scores = nn.Parameter(torch.zeros_like(layer.weight))
        for name, tensor in layer.named_parameters():
            self.register_buffer(name, tensor.detach().clone())
        self.rule, self.purpose = rule, rule.purpose
        self._layer = (layer,)  # out of sight, or its own weights would be this one's parameters

    @property
    def layer(self) -> nn.Module:
        """The layer as a function; its own weights play no part."""
        return self._layer[0]

    def forward(self, x: Tensor) -> Tensor:
        """What the layer makes of ``x`` (B, \\*) under a mask of its scores."""
        draws = None
        if self.training and self.purpose:
            shape = self.scores.shape
            draws = (
                torch.from_numpy(self.streams.pop(0).coarse(*shape)).to(self.scores)
                if self.streams
                else torch.rand_like(self.scores)
            )
        values = dict(self.named_buffers())
        values["weight"] = values["weight"] * self.rule.kept(self.scores, draws)
        return functional_call(self.layer, values, (x,))

    def extra_repr(self) -> str:
        return f"{self.layer}, {self.rule}"
