"""Masks: which weights a network keeps.

A :class:`Mask` is a dictionary of boolean tensors, one for each prunable tensor, each with a
leading axis of members: shape (R, \\*shape of the weights). ``True`` is kept. *Density* is the
share kept of what is prunable; biases and batch norm are not prunable and never count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lth_utils.errors import InputError


class Mask(Mapping[str, Tensor]):
    """Named boolean tensors (R, \\*shape), ``True`` where a weight is kept.

    >>> mask = Mask.dense({"fc.weight": (2, 3)}, members=2)
    >>> mask.density.tolist()
    [1.0, 1.0]

    Raises:
        InputError: a tensor is not boolean, or tensors differ in the number of members.
    """

    def __init__(self, tensors: Mapping[str, Tensor]):
        self._tensors = dict(tensors)
        if not self._tensors:
            raise InputError("A mask needs at least one prunable tensor; this one has none.")
        for name, kept in self._tensors.items():
            if kept.dtype != torch.bool:
                raise InputError(
                    f"A mask is boolean; {name} is {kept.dtype}. Compare with 0 first."
                )
        members = {name: kept.shape[0] for name, kept in self._tensors.items()}
        if len(set(members.values())) != 1:
            raise InputError(f"Every tensor of a mask leads with the same members; got {members}.")

    @classmethod
    def dense(cls, shapes: Mapping[str, tuple[int, ...]], members: int = 1, device="cpu") -> Mask:
        """The mask that keeps everything."""
        ones = {n: torch.ones(members, *s, dtype=torch.bool) for n, s in shapes.items()}
        return cls(ones).to(device)

    # A mapping from names to tensors -----------------------------------------------------------

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        low, high = self.density.min().item(), self.density.max().item()
        share = f"{low:.2%}" if low == high else f"{low:.2%} to {high:.2%}"
        return f"Mask({self.members} members, {self.size:,} prunable weights each, {share} kept)"

    # Counting ----------------------------------------------------------------------------------

    @property
    def members(self) -> int:
        return next(iter(self.values())).shape[0]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each prunable tensor, without the member axis."""
        return {name: tuple(kept.shape[1:]) for name, kept in self.items()}

    @property
    def size(self) -> int:
        """Prunable weights of one member."""
        return sum(kept[0].numel() for kept in self.values())

    @property
    def kept(self) -> Tensor:
        """Weights kept by each member, int64 (R,)."""
        return sum(kept.flatten(1).sum(1) for kept in self.values())

    @property
    def density(self) -> Tensor:
        """Share of the prunable weights that each member keeps, float64 (R,)."""
        return self.kept.double() / self.size

    def counts(self) -> pd.DataFrame:
        """One row for each member and layer: member, layer, kept, size, density."""
        rows = [
            (member, name, int(n), kept[0].numel(), int(n) / kept[0].numel())
            for name, kept in self.items()
            for member, n in enumerate(kept.flatten(1).sum(1).tolist())
        ]
        return pd.DataFrame(rows, columns=["member", "layer", "kept", "size", "density"])

    # Set algebra -------------------------------------------------------------------------------

    def _combine(self, other: Mask, operation) -> Mask:
        self.check(other.shapes, other.members)
        return Mask({name: operation(kept, other[name]) for name, kept in self.items()})

    def __and__(self, other: Mask) -> Mask:
        return self._combine(other, torch.logical_and)

    def __or__(self, other: Mask) -> Mask:
        return self._combine(other, torch.logical_or)

    def __xor__(self, other: Mask) -> Mask:
        return self._combine(other, torch.logical_xor)

    def __invert__(self) -> Mask:
        return Mask({name: ~kept for name, kept in self.items()})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask) or (self.shapes, self.members) != (
            other.shapes,
            other.members,
        ):
            return False
        return all(torch.equal(kept, other[name]) for name, kept in self.items())

    __hash__ = None

    def __le__(self, other: Mask) -> bool:
        """Whether every weight that this mask keeps is kept by the other as well."""
        return not bool((self & ~other).kept.any())

    # Members -----------------------------------------------------------------------------------

    def member(self, *index: int) -> Mask:
        """The mask of the members named, in that order, as a mask with that many members."""
        return Mask({name: kept[list(index)] for name, kept in self.items()})

    @staticmethod
    def cat(masks: Iterable[Mask]) -> Mask:
        """One mask with the members of all, in order."""
        masks = list(masks)
        return Mask({name: torch.cat([m[name] for m in masks]) for name in masks[0]})

    def to(self, device) -> Mask:
        return Mask({name: kept.to(device) for name, kept in self.items()})

    # Use ---------------------------------------------------------------------------------------

    def apply(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A copy of ``weights`` in which every pruned weight is exactly zero.

        Multiplication would leave ``-0.0`` and turn an infinity into NaN.
        """
        members = len(next(iter(weights.values()), ()))
        self.check({n: tuple(weights[n].shape[1:]) for n in self if n in weights}, members)
        return {
            name: torch.where(self[name], w, torch.zeros_like(w)) if name in self else w.clone()
            for name, w in weights.items()
        }

    def check(self, shapes: Mapping[str, tuple[int, ...]], members: int | None) -> None:
        """Raise :class:`.InputError` unless this mask fits tensors of these shapes and members."""
        for name in self.shapes.keys() | shapes.keys():
            mine, theirs = self.shapes.get(name), shapes.get(name)
            if mine != theirs:
                raise InputError(
                    f"The mask does not fit at {name}: the mask has shape {mine}, the weights "
                    f"{theirs}. Make it with task.dense_mask(seeds) or prune one that fits."
                )
        if members is not None and members != self.members:
            raise InputError(
                f"The mask has {self.members} members where {members} are expected; "
                "select some with mask.member(...)."
            )

    # Packing -----------------------------------------------------------------------------------

    def pack(self) -> dict[str, Tensor]:
        """Eight weights a byte: uint8 tensors (R, ceil(size / 8)), for storage."""
        return {
            name: torch.from_numpy(np.packbits(kept.flatten(1).cpu().numpy(), axis=1))
            for name, kept in self.items()
        }

    @classmethod
    def unpack(cls, packed: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> Mask:
        """The inverse of :meth:`pack`; ``shapes`` are those of the weights."""
        tensors = {}
        for name, shape in shapes.items():
            size = int(np.prod(shape))
            if name not in packed or packed[name].shape[1] != -(-size // 8):
                raise InputError(f"The packed mask does not fit {name} of shape {tuple(shape)}.")
            bits = np.unpackbits(packed[name].numpy(), axis=1, count=size).astype(bool)
            tensors[name] = torch.from_numpy(bits).reshape(-1, *shape)
        return cls(tensors)
