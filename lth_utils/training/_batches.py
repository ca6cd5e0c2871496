"""Which images a member sees at each step, and what is done to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lth_utils.randomness import Stream, stream
from lth_utils.recipes import Augment


def _noise(seed: int, copy: int, purpose: str, *where: object) -> Stream:
    """Copy 0 is the seed's own noise; any other differs in order and augmentation alone."""
    if copy == 0:
        return stream(seed, purpose, *where)
    return stream(seed, "copy", copy, purpose, *where)


class Order:
    """The endless order in which one member sees ``n`` images: one permutation after another."""

    def __init__(self, seed: int, copy: int, n: int):
        self.seed, self.copy, self.n = seed, copy, n
        self._epoch, self._permutation = -1, np.empty(0, dtype=np.int64)

    def slice(self, position: int, count: int) -> np.ndarray:
        """Indices of the images at ``position`` to ``position + count``."""
        pieces = []
        while count > 0:
            epoch, offset = divmod(position, self.n)
            if epoch != self._epoch:
                self._epoch = epoch
                self._permutation = _noise(self.seed, self.copy, "order", epoch).permutation(self.n)
            piece = self._permutation[offset : offset + count]
            pieces.append(piece)
            position, count = position + len(piece), count - len(piece)
        return np.concatenate(pieces)

    def batches(self, first: int, last: int, batch: int) -> np.ndarray:
        """Indices of the images of iterations ``first`` to ``last``: int64 (iterations, batch)."""
        return self.slice(first * batch, (last - first) * batch).reshape(-1, batch)


def noise(
    seeds: Sequence[int], copies: Sequence[int], purpose: str, iteration: int, layer: str
) -> list[Stream]:
    """What each member draws from in a layer at an iteration."""
    return [
        _noise(seed, number, purpose, iteration, layer)
        for seed, number in zip(seeds, copies, strict=True)
    ]


def augmentation(
    seeds: Sequence[int], copies: Sequence[int], first: int, last: int, batch: int
) -> np.ndarray:
    """Draws for :func:`augmented`, one set an iteration: float64 (iterations, R, 3, batch)."""
    return np.stack(
        [
            [
                _noise(seed, number, "augment", iteration).uniform(3, batch)
                for seed, number in zip(seeds, copies, strict=True)
            ]
            for iteration in range(first, last)
        ]
    )


def augmented(images: Tensor, augment: Augment, draws: Tensor) -> Tensor:
    """Mirrored and shifted copies of uint8 images (R, B, C, H, W), by uniform draws (R, 3, B)."""
    members, batch, _, height, width = images.shape
    reach = 2 * augment.crop + 1
    mirrored = (draws[:, 0] < 0.5) & augment.flip
    down, right = (draws[:, 1] * reach).long(), (draws[:, 2] * reach).long()
    rows = torch.arange(height, device=images.device) + down.unsqueeze(-1)
    columns = torch.arange(width, device=images.device).expand(members, batch, width)
    columns = torch.where(mirrored.unsqueeze(-1), columns.flip(-1), columns) + right.unsqueeze(-1)
    padded = F.pad(images, [augment.crop] * 4)
    r = torch.arange(members, device=images.device).view(-1, 1, 1, 1)
    b = torch.arange(batch, device=images.device).view(1, -1, 1, 1)
    # Advanced indices on both sides of the channel slice put the channels last.
    picked = padded[r, b, :, rows.unsqueeze(-1), columns.unsqueeze(-2)]
    return picked.movedim(-1, 2)
