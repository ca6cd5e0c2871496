"""Anatomy: what masks look like.

Every measure here is relative to what chance would give: 1 is what a uniformly random mask shows,
more is more. So masks of any density can be compared, with chance and with one another. Tensors of
kept weights are boolean (R, out, in) or, for convolutions, (R, out, in, h, w).

>>> kept = torch.tensor([[[1, 1, 0, 0], [0, 0, 1, 1]]], dtype=torch.bool)
>>> in_degree(kept).tolist(), out_degree(kept).tolist()
([[2, 2]], [[1, 1, 1, 1]])
>>> locality(kept, (4,)).tolist()  # all pairs are neighbours, and of any two inputs one in two
[2.0]
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lth_utils import controls, pruning, shrinking
from lth_utils.datasets import Split
from lth_utils.errors import InputError
from lth_utils.masks import Mask
from lth_utils.randomness import stream

if TYPE_CHECKING:
    from lth_utils.lottery import Lottery
    from lth_utils.tasks import Task

__all__ = [
    "collapse", "dark", "empty_layers", "in_degree", "in_original_order", "locality", "match",
    "neighbours", "out_degree", "overlap", "report", "shuffled_readers", "spread",
]  # fmt: skip

RARELY = 1e-3

# Degrees ------------------------------------------------------------------------------------------


def in_degree(kept: Tensor) -> Tensor:
    """How many weights come in at each unit or channel of a layer: int64 (R, out)."""
    return _checked(kept).flatten(2).sum(2)


def out_degree(kept: Tensor) -> Tensor:
    """How many weights lead on from each input of a layer: int64 (R, in)."""
    return in_degree(_checked(kept).transpose(1, 2))


def spread(degrees: Tensor, places: int) -> Tensor:
    """Variance of degrees, relative to that under a random mask that keeps as many weights.

    A random mask deals the kept weights out to all places alike, so that a unit's degree is
    hypergeometric. Of a unit with n of the layer's N places, where K weights are kept, its
    variance is n K/N (1 − K/N) (N − n)/(N − 1). At 1 degrees are as uneven as chance makes them,
    below 1 more even, above 1 less.

    Args:
        degrees: (R, units), of all units of a layer, or of those that are looked at.
        places: how many weights each unit could keep, n.

    Returns:
        float64 (R,), NaN where everything or nothing is kept.

    Raises:
        InputError: a degree is not from 0 to ``places``, or there is one unit alone.
    """
    units = degrees.shape[1]
    if units < 2 or degrees.min() < 0 or degrees.max() > places:
        raise InputError(
            f"A spread needs the degrees of two units or more, each from 0 to {places}."
        )
    degrees = degrees.double()
    share = degrees.mean(1) / places
    expected = places * share * (1 - share) * (units - 1) * places / (units * places - 1)
    return degrees.var(1, correction=0) / expected


def dark(split: Split, rarely: float = RARELY) -> Tensor:
    """Which pixels are black in (nearly) all images: boolean (C, H, W).

    Args:
        split: uint8 images.
        rarely: share of the images in which such a pixel may be lit.
    """
    return (split.images > 0).sum(0) < rarely * len(split)


# Neighbours ---------------------------------------------------------------------------------------


def locality(kept: Tensor, shape: Sequence[int], popularity: bool = True) -> Tensor:
    """How often two inputs of the same unit are neighbours, relative to chance.

    Of all pairs of inputs that a unit keeps, some are neighbours: side by side in a row, or one
    above the other. Their share is divided by the share that any pair would have, in which a pair
    counts as often as chance lets one unit read both. With ``popularity`` the number of units that
    read each input is taken as given, so that a crowd around a few inputs, which every unit reads,
    is not yet locality; without it any two inputs are as likely as any others.

    Args:
        kept: boolean (R, units, inputs), of a layer that is fully connected.
        shape: of an input: (length,), (height, width) or (channels, height, width).
        popularity: whether some inputs may be read by more units than others.

    Returns:
        float64 (R,): 1 by chance, more where units read neighbours; NaN where no unit keeps two.
        Chance is exact without ``popularity`` and very nearly so with it.

    Raises:
        InputError: the shape has another number of inputs.
    """
    if kept.dim() != 3 or kept.shape[2] != math.prod(shape):
        raise InputError(
            f"A layer of shape {tuple(kept.shape)} does not read inputs of shape {tuple(shape)}."
        )
    one, other = neighbours(shape)
    kept = kept.double()
    near = (kept[..., one] * kept[..., other]).sum((1, 2))
    pairs = _pairs(kept.sum(2)).sum(1)
    readers = kept.sum(1) if popularity else torch.ones_like(kept[:, 0])
    by_chance = (readers[:, one] * readers[:, other]).sum(1)
    of_all = (readers.sum(1) ** 2 - (readers**2).sum(1)) / 2
    return (near / pairs) / (by_chance / of_all)


def neighbours(shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """All pairs of neighbouring inputs, each pair once: two int64 tensors of indices into the
    flat input of this shape."""
    index = torch.arange(math.prod(shape)).view(tuple(shape))
    ones, others = [], []
    for axis in range(max(0, len(shape) - 2), len(shape)):
        length = index.shape[axis]
        ones.append(index.narrow(axis, 0, length - 1).flatten())
        others.append(index.narrow(axis, 1, length - 1).flatten())
    return torch.cat(ones), torch.cat(others)


def _pairs(n: Tensor) -> Tensor:
    return n * (n - 1) / 2


# Two masks ----------------------------------------------------------------------------------------


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Weights that two masks have in common, relative to what independent masks would have.

    Args:
        one: kept weights (R, \\*shape) of a layer.
        other: of the same shape; members are compared one by one.

    Returns:
        float64 (R,): 1 by chance; NaN where either keeps nothing.

    Raises:
        InputError: the shapes differ.
    """
    if one.shape != other.shape:
        raise InputError(
            f"Two layers are compared place by place; these have shapes {tuple(one.shape)} and "
            f"{tuple(other.shape)}."
        )
    one, other = one.flatten(1).double(), other.flatten(1).double()
    return (one * other).sum(1) * one.shape[1] / (one.sum(1) * other.sum(1))


def match(one: Tensor, other: Tensor) -> Tensor:
    """The units of ``other``, in the order in which they fit those of ``one`` best.

    Hidden units have no names: a network with its units in another order is the same network. So
    two layers are compared fairly only after their units have been matched, here so that the
    number of weights in common is as large as any order can make it. That raises the overlap of
    *any* two masks; compare it with that of matched random masks.

    Args:
        one: kept weights (R, out, in) of a layer whose inputs have names, such as pixels.
        other: of the same shape.

    Returns:
        ``other`` with the units of each member in another order.
    """
    common = torch.einsum("roi,rpi->rop", one.double(), other.double()).cpu().numpy()
    orders = [linear_sum_assignment(table, maximize=True)[1] for table in common]
    return torch.stack([units[torch.from_numpy(o)] for units, o in zip(other, orders, strict=True)])


def shuffled_readers(mask: Mask, seeds: Sequence[int], level: int = 0) -> Mask:
    """A random mask in which every input keeps its number of readers, and they are drawn anew.

    It answers a stricter question than :func:`.random_mask`: which inputs are read stays, who
    reads which two together is left to chance.

    Args:
        mask: R members, of layers that are fully connected.
        seeds: one for each member; with ``level`` and the layer's name they name the draw.
        level: makes the draw of each level its own.
    """
    if len(seeds) != mask.members:
        raise InputError(f"There are {len(seeds)} seeds for a mask of {mask.members} members.")
    return Mask(
        {
            name: torch.stack([
                _shuffle_columns(member, seed, level, name)
                for member, seed in zip(kept, seeds, strict=True)
            ])
            for name, kept in mask.items()
        }
    )  # fmt: skip


def _shuffle_columns(kept: Tensor, seed: int, level: int, name: str) -> Tensor:
    draws = stream(seed, "random mask", "readers", level, name).uniform(*kept.shape)
    order = torch.from_numpy(draws).argsort(0).to(kept.device)
    return kept.gather(0, order)


# What is gone -------------------------------------------------------------------------------------


def empty_layers(mask: Mask) -> Tensor:
    """How many layers keep no weight at all: int64 (R,).

    Where one is empty nothing that comes in can reach the output (Tanaka et al., 2020, call it
    layer-collapse), unless there is a way around it, as in a residual network.
    """
    return sum((~kept.flatten(1).any(1)).long() for kept in mask.values())


def collapse(
    task: Task,
    criteria: Sequence[str],
    densities: Sequence[float],
    seeds: Sequence[int] | None = None,
    scope: str = "global",
) -> pd.DataFrame:
    """What criteria leave of a network at initialisation, the sparser the less.

    Args:
        task: whose network, and images for a criterion that looks at any.
        criteria: their names.
        densities: shares to keep, each pruned from the dense network in one call.
        seeds: one a replicate; the task's by default.
        scope: how what goes is divided among the layers.

    Returns:
        Columns criterion, density, replicate, layer, kept (weights), size and empty_layers (of the
        whole network).

    Raises:
        InputError: an unknown criterion or scope, or a density outside 0 to 1.
    """
    seeds = task.seeds if seeds is None else seeds
    start, dense, rows = task.init(seeds), task.dense_mask(seeds), []
    for name in criteria:
        prune = pruning.by_name(name)
        for density in densities:
            mask = prune(start, dense, 1 - density, scope, start=start, seeds=seeds, task=task)
            empty = empty_layers(mask).tolist()
            rows += [
                (name, density, seeds[member], layer.removesuffix(".weight"), kept, size,
                 empty[member])
                for member, layer, kept, size, _ in mask.counts().itertuples(index=False)
            ]  # fmt: skip
    columns = ["criterion", "density", "replicate", "layer", "kept", "size", "empty_layers"]
    return pd.DataFrame(rows, columns=columns)


# The report ---------------------------------------------------------------------------------------


def layers(found: Lottery) -> pd.DataFrame:
    """How many weights each layer keeps, for each level and replicate of a lottery's tickets.

    Returns:
        Rows with the columns of a lottery's table, at moment ``mask`` and split ``none``, with a
        metric ``kept, LAYER`` for each layer; level 0 is the dense network. :func:`layer_counts`
        reads them back.
    """
    seeds = found.table.replicate.unique()  # in the order of the members
    masks = {0: found.task.dense_mask(seeds)} | {t.level: t.mask for t in found.tickets}
    rows = [
        (found.table.study.iloc[0], "ticket", level, density, seed,
         "mask", 0, "none", f"kept, {name.removesuffix('.weight')}", float(kept))
        for level, mask in masks.items()
        for name, counts in ((n, k.flatten(1).sum(1).tolist()) for n, k in mask.items())
        for seed, density, kept in zip(seeds, mask.density.tolist(), counts, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(found.table))


def layer_counts(table: pd.DataFrame) -> pd.DataFrame:
    """What :func:`layers` recorded, one row for each level, layer and replicate.

    Returns:
        Columns level, density (of the whole network), layer (in the network's order), replicate,
        kept, size and layer_density.

    Raises:
        InputError: the table has no such rows, or those of several variants.
    """
    rows = table[table.metric.str.startswith("kept, ")]
    if rows.empty:
        raise InputError("The table does not say what each layer keeps; record it with layers.")
    if rows.duplicated(["level", "replicate", "metric"]).any():
        raise InputError("The table holds several variants of a study: choose one of them.")
    rows = rows.assign(layer=rows.metric.str.removeprefix("kept, "), kept=rows.value)
    sizes = rows[rows.level == 0].groupby("layer").kept.first()
    rows = rows.assign(size=rows.layer.map(sizes))
    rows = rows.assign(layer_density=rows.kept / rows["size"])
    order = {name: i for i, name in enumerate(rows.layer.unique())}
    rows = rows.sort_values(["level", "replicate", "layer"], key=lambda c: c.replace(order))
    columns = ["level", "density", "layer", "replicate", "kept", "size", "layer_density"]
    return rows[columns].astype({"kept": int, "size": int}).reset_index(drop=True)


def report(found: Lottery) -> pd.DataFrame:
    """What the tickets of a lottery look like, beside random masks of the same layer densities.

    For each level and replicate, of treatments ``ticket``, ``random mask`` and, with every input's
    number of readers kept, ``shuffled readers``:

    * ``in-degree spread, LAYER`` and ``out-degree spread, LAYER``, see :func:`spread`; of the first
      layer also ``..., lit``: with dark pixels left out, where there are any;
    * ``pixels read`` and ``dark pixels read``: share of them from which a weight leads on, percent;
    * ``dead units``: share of the hidden units from which no path leads to an output, percent;
    * ``locality`` and ``plain locality`` (without :func:`locality`'s popularity) of the first
      layer, in the order in which the network sees its inputs; where the task permutes them, also
      ``original locality``, in the order that they had;
    * ``overlap`` of the first layer with the next replicate's, and ``matched overlap``, with units
      matched; see :func:`overlap` and :func:`match`.

    What is not a number, as a spread where everything is kept, is left out.

    Args:
        found: of a task whose network reads its inputs by a layer that is fully connected.

    Returns:
        Rows with the columns of a lottery's table, at moment ``mask`` and split ``none``.

    Raises:
        InputError: the network begins with something else.
    """
    task, seeds = found.task, found.table.replicate.unique()  # in the order of the members
    black, rows = dark(task.data.train).flatten().cpu(), []
    for ticket in found.tickets:
        masks = {
            "ticket": ticket.mask,
            "random mask": controls.random_mask(ticket.mask, seeds, ticket.level),
            "shuffled readers": shuffled_readers(ticket.mask, seeds, ticket.level),
        }
        for treatment, mask in masks.items():
            for metric, values in _measures(task, mask.to("cpu"), black):
                rows += [
                    (found.table.study.iloc[0], treatment, ticket.level, density, seed,
                     "mask", 0, "none", metric, value)
                    for seed, density, value in zip(
                        seeds, mask.density.tolist(), values.tolist(), strict=True
                    )
                    if not math.isnan(value)
                ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(found.table))


def _measures(task: Task, mask: Mask, black: Tensor) -> Iterator[tuple[str, Tensor]]:
    """(metric, float64 (R,)) of everything that a report has."""
    shape, first = task.data.input_shape, next(iter(mask))
    kept = mask[first]
    if kept.dim() != 3 or kept.shape[2] != math.prod(shape):
        raise InputError(
            f"A report is for networks whose first layer is connected with every pixel; {first} "
            "is not."
        )
    for name, layer in mask.items():
        plain = name.removesuffix(".weight")
        _, out, n = layer.shape
        yield f"in-degree spread, {plain}", spread(in_degree(layer), n)
        yield f"out-degree spread, {plain}", spread(out_degree(layer), out)
        if name == first and black.any():
            lit = layer[..., ~black]
            yield f"in-degree spread, {plain}, lit", spread(in_degree(lit), lit.shape[2])
            yield f"out-degree spread, {plain}, lit", spread(out_degree(lit), out)
    read = kept.any(1).double()
    yield "pixels read", 100 * read.mean(1)
    if black.any():
        yield "dark pixels read", 100 * read[:, black].mean(1)
    yield "dead units", 100 * (1 - _alive(task.model, mask))
    yield "locality", locality(kept, shape)
    yield "plain locality", locality(kept, shape, popularity=False)
    if task.permuted:
        yield "original locality", locality(in_original_order(kept), shape)
    if mask.members > 1:
        following = kept.roll(-1, 0)
        yield "overlap", overlap(kept, following)
        yield "matched overlap", overlap(kept, match(kept, following))


def in_original_order(kept: Tensor) -> Tensor:
    """Kept weights (R, units, inputs) of a network that a task shows permuted inputs, with the
    inputs back where they came from."""
    order = torch.from_numpy(stream(0, "permuted inputs").permutation(kept.shape[-1]))
    return kept[..., order.argsort()]


def _alive(model, mask: Mask) -> Tensor:
    """Share of the hidden units that are alive, (R,)."""
    shares = []
    for r in range(mask.members):
        *hidden, _ = shrinking.live(model, mask.member(r)).values()
        shares.append(torch.cat([outputs for _, outputs in hidden]).double().mean())
    return torch.stack(shares)


def _checked(kept: Tensor) -> Tensor:
    if kept.dtype != torch.bool or kept.dim() < 3:
        raise InputError(
            f"Degrees are those of kept weights, boolean (R, out, in); got {kept.dtype} of shape "
            f"{tuple(kept.shape)}."
        )
    return kept
