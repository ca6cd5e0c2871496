"""The share that pruning keeps of each layer, level by level."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.figure
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import LogNorm, to_hex
from matplotlib.ticker import FuncFormatter, NullFormatter

from lth_utils import plots
from lth_utils.errors import InputError, unknown
from lth_utils.widgets._figure import Figure, source

COLUMNS = ("level", "density", "layer", "kept", "size")
COLOURS = 64
MAP = "viridis_r"
"""As :func:`lth_utils.plots.shades`: what is dense is dark."""


class _Densities(Figure):
    _esm = source("shared.js", "densities.js")
    _css = source("shared.css", "densities.css")
    alt = "A map of the share kept of each layer, in rows, at each level, in columns."


def densities(
    counts: pd.DataFrame, title: str = "", marked: Mapping[str, str] | None = None
) -> Figure:
    """A map of the densities of layers over levels, and those of a level to choose as bars.

    Args:
        counts: a row for each level and layer, layers in the network's order. Columns level;
            density, of the whole network; layer; kept; size, the weights that the layer has when
            dense. Also, where there are several: replicate (means are shown, with their range) and
            scope (for instance ``"global"`` and ``"layer"``, between which a reader switches). A
            layer's density is kept ÷ size.
        title: what was pruned; a stand-in or a narrow network is named here.
        marked: ``{layer: note}``; these layers have a mark, and their numbers always stand below.

    Raises:
        InputError: a column is missing, a marked layer is not in the table, a layer comes twice at
            a level or in two sizes, or keeps less than nothing or more than it has.
    """
    counts = _checked(counts)
    layers = counts.groupby("layer", sort=False)["size"].first()
    names = {str(name).removesuffix(".weight"): name for name in layers.index}
    if len(names) < len(layers):
        names = {str(name): name for name in layers.index}
    notes = {}
    for name, note in (marked or {}).items():
        short = name if name in names else name.removesuffix(".weight")
        if short not in names:
            raise unknown("layer", name, names)
        notes[short] = note
    shares = counts.kept / counts["size"]
    spec = {
        "title": title,
        "layers": [
            {"name": short, "size": int(layers[name]), "note": notes.get(short)}
            for short, name in names.items()
        ],
        "scopes": [
            {"name": str(scope), "levels": _levels(rows, list(layers.index))}
            for scope, rows in counts.groupby("scope", sort=False)
        ],
        # Where a colour and an axis end that know no zero.
        "least": min(float(shares[shares > 0].min()) if (shares > 0).any() else 1.0, 0.5),
        "colours": [to_hex(c) for c in colormaps[MAP](np.linspace(0, 1, COLOURS))],
        "bar": to_hex(plots.COLOURS["ticket"]),
    }
    return _Densities(spec, b"", _picture(spec))


def _checked(counts: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in COLUMNS if name not in counts]
    if missing or counts.empty:
        raise InputError(
            f"The table has no {', '.join(missing) or 'rows'}; it needs {', '.join(COLUMNS)}, "
            "a row for each level and layer."
        )
    for name, default in (("scope", ""), ("replicate", 0)):
        counts = counts if name in counts else counts.assign(**{name: default})
    keys = ["scope", "level", "layer", "replicate"]
    if counts.duplicated(keys).any():
        twice = counts[counts.duplicated(keys)].iloc[0]
        raise InputError(
            f"Layer {twice.layer!r} comes twice at level {twice.level}; give one study and one "
            "variant, and name replicates in a column 'replicate'."
        )
    sizes = counts.groupby("layer", sort=False)["size"].nunique()
    if (sizes > 1).any():
        raise InputError(
            f"Layer {sizes.idxmax()!r} has several sizes; give the masks of one network."
        )
    wrong = counts[(counts["size"] <= 0) | ~counts.kept.between(0, counts["size"])]
    if len(wrong):
        row = wrong.iloc[0]
        raise InputError(
            f"Layer {row.layer!r} keeps {row.kept:g} of {row['size']:g} weights at level "
            f"{row.level}; kept counts weights, from 0 to size."
        )
    return counts


def _levels(rows: pd.DataFrame, layers: list) -> list[dict]:
    """For each level what is left of the network and of each layer, dense first."""
    return [
        {
            "level": int(level),
            "remaining": 100 * float(group.density.mean()),
            "replicates": int(group.replicate.nunique()),
            "kept": [_kept(group.kept[group.layer == layer]) for layer in layers],
        }
        for level, group in rows.groupby("level")
    ]


def _kept(counts: pd.Series) -> list[float] | None:
    """Mean over replicates, and the least and the most, where they differ."""
    if counts.empty:
        return None
    ends = sorted({float(counts.min()), float(counts.max())})
    return [float(counts.mean()), *(ends if len(ends) > 1 else [])]


def _picture(spec: dict) -> matplotlib.figure.Figure:
    """The map of the first scope, and its sparsest level as bars."""
    layers, levels = spec["layers"], spec["scopes"][0]["levels"]
    sizes = np.array([layer["size"] for layer in layers])
    kept = np.array([[np.nan if k is None else k[0] for k in at["kept"]] for at in levels]).T
    shares = 100 * kept / sizes[:, None]
    figure = matplotlib.figure.Figure(
        figsize=(7.5, 1.4 + 0.19 * max(len(layers), 8)), layout="constrained"
    )
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.5, 1))
    norm = LogNorm(100 * spec["least"], 100)
    seen = np.where(shares > 0, shares, np.nan)
    drawn = left.imshow(seen, cmap=MAP, norm=norm, aspect="auto")
    every = max(1, len(levels) // 6)
    left.set_xticks(
        range(0, len(levels), every), [f"{at['remaining']:.3g}" for at in levels[::every]]
    )
    left.set_yticks(range(len(layers)), [layer["name"] for layer in layers], fontsize="x-small")
    left.set(xlabel="weights remaining (%)")
    left.grid(False)
    percent = FuncFormatter(lambda v, _: f"{v:g}")
    bar = figure.colorbar(drawn, ax=left, location="top", format=percent, aspect=40)
    bar.ax.xaxis.set_minor_formatter(NullFormatter())
    bar.set_label("kept of a layer (%)", fontsize="small")
    right.barh(range(len(layers)), np.nan_to_num(shares[:, -1]), color=spec["bar"])
    right.axvline(levels[-1]["remaining"], color="0.3", ls="--", lw=1)
    right.set_xscale("log")
    right.set_xlim(100 * spec["least"] / 2, 100)
    right.xaxis.set_major_formatter(percent)
    right.set(xlabel=f"kept (%), level {levels[-1]['level']}")
    title = ", ".join(filter(None, (spec["title"], spec["scopes"][0]["name"])))
    figure.suptitle(title, fontsize="medium")
    return figure
