"""The mask explorer: what is left at every level, beside a random mask of the same densities."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Sequence

import matplotlib.figure
import numpy as np
from matplotlib.colors import to_hex

from lth_utils import plots
from lth_utils.errors import InputError, unknown
from lth_utils.lottery import Lottery
from lth_utils.masks import Mask
from lth_utils.randomness import stream
from lth_utils.widgets._figure import Figure, source

KEPT = 255
"""Stands for a weight that no level removes."""
MOST_WEIGHTS = 3_000_000


class _Masks(Figure):
    _esm = source("shared.js", "masks.js")
    _css = source("shared.css", "masks.css")
    alt = "A ticket's mask and a random mask of the same densities, at the sparsest level."


def masks(
    found: Lottery | Sequence[Mask],
    layers: Sequence[str] | None = None,
    shape: tuple[int, int] = (28, 28),
    title: str = "",
) -> Figure:
    """Explore masks level by level: which pixels are still read, which connections are left.

    The control is a random mask with as many weights in each layer at each level.

    Args:
        found: what :func:`lth_utils.imp` gave back, or masks from level 1 on; the first member is
            shown. Each mask lies within the one before it.
        layers: names of the layers to offer; all by default.
        shape: height and width of the images. Where the first layer has an input for each pixel,
            it is shown as a picture.
        title: what was trained on what; taken from the task where there is one.

    Raises:
        InputError: there is no mask, one is not within the one before, a layer is not known, or
            the layers have more weights than a page should carry.
    """
    if isinstance(found, Lottery):
        given = [ticket.mask for ticket in found.tickets]
        title = title or found.task.describe().replace("\n", " ")
    else:
        given = list(found)
    if not given or not all(isinstance(mask, Mask) for mask in given):
        raise InputError("The mask explorer needs masks: what lth.imp(...) gives, or a list.")
    given = [mask.member(0).to("cpu") for mask in given]
    for level, (before, mask) in enumerate(itertools.pairwise(given), start=2):
        mask.check(before.shapes, None)
        if not mask <= before:
            raise InputError(
                f"The mask of level {level} keeps weights that the level before had removed; "
                "give masks of one pruning, from dense to sparse."
            )
    chosen = list(given[0] if layers is None else layers)
    for name in chosen:
        if name not in given[0]:
            raise unknown("layer", name, given[0])
    size = sum(math.prod(given[0].shapes[name]) for name in chosen)
    if not chosen or size > MOST_WEIGHTS:
        raise InputError(
            f"These layers have {size:,} weights, and a page carries 1 to {MOST_WEIGHTS:,}; "
            "choose with layers=[...]."
        )
    removed = {name: _removed([mask[name][0].numpy() for mask in given]) for name in chosen}
    # Where a weight goes at random, so goes its level: every level keeps as many in each layer.
    orders = {
        n: stream(0, "random mask", "widget", n).permutation(r.size) for n, r in removed.items()
    }
    shuffled = {name: r.ravel()[orders[name]] for name, r in removed.items()}
    first = next(iter(given[0]))
    spec = {
        "title": title,
        "size": given[0].size,
        "kept": [given[0].size, *(int(mask.kept) for mask in given)],
        "layers": [{"name": n, "shape": list(r.shape)} for n, r in removed.items()],
        "pixels": list(shape) if math.prod(given[0].shapes[first][1:]) == math.prod(shape) else [],
        "first": first,
        "colours": {kind: to_hex(plots.COLOURS[kind]) for kind in ("ticket", "random mask")},
    }
    data = b"".join(r.tobytes() for r in (*removed.values(), *shuffled.values()))
    return _Masks(spec, zlib.compress(data, 9), _picture(spec, removed, shuffled))


def _removed(kept: Sequence[np.ndarray]) -> np.ndarray:
    """The level at which each weight is removed, uint8 of the layer's shape."""
    levels = sum(mask.astype(int) for mask in kept) + 1
    return np.where(kept[-1], KEPT, levels).astype(np.uint8)


def _picture(spec: dict, removed: dict, shuffled: dict) -> matplotlib.figure.Figure:
    """The sparsest level of the first layer on offer: ticket and random mask side by side."""
    name, rows = next(iter(removed.items()))
    last = len(spec["kept"]) - 1
    figure = matplotlib.figure.Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    read = name == spec["first"] and spec["pixels"]
    for ax, values, kind in zip(
        axes, (rows.ravel(), shuffled[name]), ("ticket", "random mask"), strict=True
    ):
        kept = (values == KEPT).reshape(rows.shape[0], -1)
        image = kept.sum(0).reshape(spec["pixels"]) if read else kept
        ax.imshow(image, cmap="Blues", vmin=0, aspect="equal" if read else "auto")
        ax.set_title(f"{kind}, level {last}", fontsize="medium")
        ax.set(xticks=[], yticks=[])
    what = "units that read each pixel" if read else f"connections of {name}"
    share = spec["kept"][-1] / spec["size"]
    figure.suptitle(f"{spec['title']}\n{what}, {share:.1%} of weights remaining", fontsize="medium")
    return figure
