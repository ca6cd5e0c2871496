"""The inputs of a first layer while masks move: how many units read each pixel, step by step."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import matplotlib.figure
import numpy as np
from matplotlib.colors import to_hex

from lth_utils import plots
from lth_utils.errors import InputError
from lth_utils.masks import Mask
from lth_utils.training import Run
from lth_utils.widgets._figure import Figure, source


class _Moving(Figure):
    _esm = source("shared.js", "moving.js")
    _css = source("shared.css", "moving.css")
    alt = "How many units of the first layer read each pixel at the end, one picture a treatment."


def moving(
    runs: Mapping[str, Run],
    title: str = "",
    shape: tuple[int, int] = (28, 28),
    layer: str | None = None,
) -> Figure:
    """Follow masks through a training: which pixels are read, and what is left of the first mask.

    Args:
        runs: trainings by the name of their treatment, all with the same steps kept on the way;
            the first member of each is shown.
        title: what was trained on what; a stand-in or a narrow network is named here.
        shape: rows and columns of an image.
        layer: one that reads the image; the first by default.

    Raises:
        InputError: there is no run, a run has kept no steps or others, or the layer does not read
            an image of this shape.
    """
    steps = {name: tuple(run.masks) for name, run in runs.items()}
    if len(set(steps.values())) != 1 or len(next(iter(steps.values()))) < 2:
        raise InputError(
            "Masks are followed over the steps that runs have kept, two at least and the same for "
            "all; train each with keep=[...]."
        )
    layer = layer or next(iter(next(iter(runs.values())).mask))
    kept = {
        name: [_first(mask, layer) for mask in run.masks.values()] for name, run in runs.items()
    }
    for masks in kept.values():
        if masks[0].ndim != 2 or masks[0].shape[1] != math.prod(shape):
            raise InputError(
                f"{layer} reads {masks[0][0].size} inputs, and an image of {shape[0]} × {shape[1]} "
                "has another number; give the shape."
            )
    read = np.array([[mask.sum(0) for mask in masks] for masks in kept.values()])
    spec = {
        "title": title,
        "steps": list(next(iter(steps.values()))),
        "pixels": list(shape),
        "most": max(1, int(read.max())),
        "arms": [
            {
                "name": name,
                "colour": to_hex(plots.look(name).colour or plots.COLOURS["ticket"]),
                "kept": int(masks[0].sum()),
                "since": [int((mask & masks[0]).sum()) for mask in masks],
                "unread": (pixels == 0).sum(1).tolist(),
            }
            for (name, masks), pixels in zip(kept.items(), read, strict=True)
        ],
    }
    data = zlib.compress(read.astype("<u2").tobytes(), 9)
    return _Moving(spec, data, _picture(spec, read[:, -1]))


def _first(mask: Mask, layer: str) -> np.ndarray:
    """The first member's mask of a layer, bool (units, inputs)."""
    return mask[layer][0].cpu().numpy()


def _picture(spec: dict, read: np.ndarray) -> matplotlib.figure.Figure:
    """The end of training, one treatment beside the other."""
    count = len(spec["arms"])
    figure = matplotlib.figure.Figure(figsize=(2.6 * count, 3.2), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    for ax, arm, pixels in zip(axes, spec["arms"], read, strict=True):
        shown = ax.imshow(pixels.reshape(spec["pixels"]), cmap="viridis", vmin=0, vmax=spec["most"])
        ax.set_title(arm["name"], fontsize="medium")
        ax.set(xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes, label="units that read the pixel", shrink=0.8)
    figure.suptitle(f"{spec['title']}\niteration {spec['steps'][-1]:,}", fontsize="medium")
    return figure
