"""A network that reads text: a small causal transformer, and the parts of it that are heads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lth_utils.errors import InputError
from lth_utils.models._networks import _scaled

Part = dict[str, tuple[slice, slice]]
"""Rows and columns of some weight matrices, by name."""


class Attention(nn.Module):
    """Attention of every character to those before it and itself (Vaswani et al., 2017).

    Query, key, value and what joins the heads are a plain matrix each, without biases, so that a
    head is some rows of the first three and some columns of the last. What tells near from far is
    a penalty on a score that grows with the distance (Press et al., 2022), in each head half as
    fast as in the one before.

    Args:
        channels: numbers that stand for a character, divided equally among the heads.
        heads: how many.
    """

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.slopes = tuple(2.0 ** (2 - head) for head in range(heads))
        self.query = nn.Linear(channels, channels, bias=False)
        self.key = nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels, bias=False)
        self.join = nn.Linear(channels, channels, bias=False)

    @property
    def heads(self) -> int:
        """How many heads there are."""
        return len(self.slopes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, channels) to the same."""
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        penalty = far(x.shape[1], self.slopes).to(x).expand(len(x), -1, -1, -1)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=penalty)
        return self.join(found.transpose(1, 2).flatten(2))


@lru_cache(maxsize=64)
def far(length: int, slopes: tuple[float, ...]) -> Tensor:
    """What is added to the scores of each head, (heads, length, length): minus the distance, times
    the head's slope, and minus infinity for what comes later."""
    places = torch.arange(length)
    distance = (places[:, None] - places).float()
    added = -torch.tensor(slopes).view(-1, 1, 1) * distance
    return added.masked_fill(distance < 0, -torch.inf)


class Reader(nn.Module):
    """A block of a transformer: attention, then two layers for each character by itself, both
    added to what came in and both behind a layer norm."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, channels) to the same."""
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Transformer(nn.Module):
    """A causal transformer that predicts the next character at every place of a window.

    Layer norms stand before what they serve (as in Radford et al., 2019). Its matrices can be
    pruned, the embedding of characters and the layer norms cannot. With two blocks of
    four heads, 64 channels and 96 characters, 104,448 prunable weights.

    Args:
        inputs: shape of a window of T characters, (1, 1, T).
        classes: number of characters that there are.
        width: multiplies the channels of a head, 16 at width 1.
        depth: number of blocks.
        heads: of each block.

    Raises:
        InputError: inputs are pictures, or there is no block or no head.
    """

    def __init__(
        self,
        inputs: Sequence[int] = (1, 1, 32),
        classes: int = 96,
        width: float = 1.0,
        depth: int = 2,
        heads: int = 4,
    ):
        super().__init__()
        if len(inputs) != 3 or tuple(inputs[:2]) != (1, 1):
            raise InputError(
                f"A transformer reads windows of characters, of shape (1, 1, T); got "
                f"{tuple(inputs)}."
            )
        if depth < 1 or heads < 1:
            raise InputError(f"A transformer has blocks and heads; got {depth} and {heads}.")
        channels = heads * _scaled(16, width)
        self.character = nn.Embedding(classes, channels)
        for i in range(1, depth + 1):
            self.add_module(f"block{i}", Reader(channels, heads))
        self.norm = nn.LayerNorm(channels)
        self.output = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Windows (B, 1, 1, t) of t characters, as numbers, to outputs (B, t, classes)."""
        x = self.character(x.flatten(1).long())
        for block in self.children():
            if isinstance(block, Reader):
                x = block(x)
        return self.output(self.norm(x))


def heads(model: nn.Module) -> dict[str, Part]:
    """The attention heads of a network: for each the rows and columns of its weight matrices.

    With all of these at zero the head says nothing, and the network is as if it were not there.

    >>> found = heads(Transformer(depth=1, heads=2))
    >>> list(found)
    ['block1 head 1', 'block1 head 2']
    >>> found["block1 head 2"]["block1.attention.join.weight"]
    (slice(None, None, None), slice(16, 32, None))

    Returns:
        Names as ``"block1 head 1"``, in the network's order; none where there is no
        :class:`Attention`.
    """
    found = {}
    for name, module in model.named_modules():
        if not isinstance(module, Attention):
            continue
        size = len(module.query.weight) // module.heads
        for head in range(module.heads):
            own = slice(head * size, (head + 1) * size)
            rows = {f"{name}.{each}.weight": (own, slice(None)) for each in _READING}
            block = name.rpartition(".")[0] or name
            found[f"{block} head {head + 1}"] = rows | {f"{name}.join.weight": (slice(None), own)}
    return found


_READING = ("query", "key", "value")
