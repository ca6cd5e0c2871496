"""Figures: one style, and one colour for a treatment in the whole book.

Every function takes tables that :mod:`lth_utils.studies` understands and draws means with their
95% intervals; nothing is computed here. Weights remaining run on a log axis from dense at the left
to sparse at the right, as in the papers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from lth_utils import studies
from lth_utils.errors import unknown

# Seaborn's colour-blind palette, by what each colour means everywhere in this book.
_PALETTE = sns.color_palette("colorblind")
COLOURS = {
    "ticket": _PALETTE[0],
    "reinit": _PALETTE[1],
    "random mask": _PALETTE[2],
    "fine-tune": _PALETTE[4],
    "rate rewinding": _PALETTE[5],
    "reshuffle": _PALETTE[9],
    "constant": (0.53, 0.13, 0.33),  # wine
    "dense": _PALETTE[7],
    "native": _PALETTE[3],
    "uniform mask": tuple(0.5 * channel for channel in _PALETTE[2]),
    "random ticket": (0.40, 0.26, 0.13),  # brown
    "static": (0.0, 0.40, 0.40),  # teal
    "SET": (0.20, 0.13, 0.53),  # indigo
    "RigL": (0.80, 0.05, 0.25),  # crimson
    "magnitude": _PALETTE[0],
    "random": _PALETTE[2],
    "smallest": _PALETTE[3],
    "movement": _PALETTE[6],
    "magnitude increase": _PALETTE[8],
    "gradient": _PALETTE[1],
    "activation": _PALETTE[9],
    "sensitivity": (0.20, 0.13, 0.53),  # indigo: the palette's pinks are too close to one another
    "momentum": _PALETTE[5],
    "large init": (0.50, 0.40, 0.75),  # lavender
    "small init": (0.53, 0.13, 0.33),
    "large init large final": (0.10, 0.10, 0.10),
    "small init small final": (0.40, 0.26, 0.13),  # brown
    "rescaled magnitude": (0.45, 0.48, 0.05),  # olive
    "snip": (0.80, 0.28, 0.00),  # rust
    "grasp": (0.25, 0.25, 0.55),  # slate
    "synflow": (0.85, 0.65, 0.00),  # gold
    "masked": _PALETTE[0],
    "shrunk": _PALETTE[9],
    "structured": (0.45, 0.25, 0.05),  # bark
    "CSR": _PALETTE[2],
    "COO": tuple(0.4 * channel for channel in _PALETTE[2]),
    "CSR, SciPy": (0.45, 0.48, 0.05),  # olive
    "our kernel": _PALETTE[3],
    "2:4": _PALETTE[4],
    "dense, half": tuple(0.5 * channel for channel in _PALETTE[7]),
    "weights": _PALETTE[0],
    "units": (0.45, 0.25, 0.05),
    "units at random": (0.80, 0.60, 0.35),  # light bark
    "single weights": _PALETTE[0],
    "heads by magnitude": (0.45, 0.25, 0.05),
    "heads by loss": _PALETTE[1],
    "heads at random": _PALETTE[2],
}
MARKERS = {
    "reinit": "s", "random mask": "^", "fine-tune": "D", "random": "^", "smallest": "v",
    "movement": "P", "magnitude increase": "*", "gradient": "s", "activation": "D",
    "sensitivity": "X", "momentum": "<", "reshuffle": "P", "constant": "*",
    "large init": "s", "small init": "<", "large init large final": "D",
    "small init small final": "X",
    "frozen": "D", "frozen if grown": "^", "frozen if shrunk": "v", "frozen at random": "X",
    "untrained": "<", "copy": "P",
    "static": "v", "SET": "s", "RigL": "D",
    "structured": "s", "units": "s", "units at random": "^", "shrunk": "v", "CSR": "D", "COO": "X",
    "CSR, SciPy": "P", "our kernel": "*", "2:4": "<",
    "snip": "D", "grasp": "P", "synflow": "X",
    "heads by magnitude": "s", "heads by loss": "D", "heads at random": "^",
    "native": "D", "uniform mask": "v", "random ticket": "X", "moved": "P",
}  # fmt: skip
LINES = {
    "erdos-renyi": "-.", "uniform": "-.", "3x as long": ":",
    "reinit": "--", "reshuffle": "--", "constant": "--", "random signs": "--", "same signs": "-",
}  # fmt: skip
"""Line styles; a solid line where there is none. Dashed is what has lost the ticket's signs."""

# A criterion that also asks for the sign is darker than the one that does not.
for _name in ("magnitude", "magnitude increase", "movement", "random"):
    for _sign, _light, _line in ((" same sign", 0.6, "-."), (" changed sign", 0.3, ":")):
        COLOURS[_name + _sign] = tuple(_light * channel for channel in COLOURS[_name])
        MARKERS[_name + _sign], LINES[_name + _sign] = MARKERS.get(_name, "o"), _line

# A way to prune has the colour of what is done after the cut, darker where it does not prune layer
# by layer in many levels, and a line and a marker of its own.
for _way, _treatment in (("rewound", "ticket"), ("trained on", "fine-tune")):
    for _how, _light, _line, _marker in (
        ("", 1.0, "-", MARKERS.get(_treatment, "o")),
        (", one-shot", 0.35, "--", "s"),
        (", global", 0.65, ":", "^"),
    ):
        COLOURS[_way + _how] = tuple(_light * channel for channel in COLOURS[_treatment])
        MARKERS[_way + _how], LINES[_way + _how] = _marker, _line


class Look(NamedTuple):
    """How something is drawn: a colour, or None if it has none, a marker and a line style."""

    colour: tuple[float, float, float] | None
    marker: str
    line: str


def look(name: object) -> Look:
    """How a treatment, a criterion or a way to prune is drawn.

    With modifiers after commas, a treatment has its own colour, the line of its signs, solid where
    they are the ticket's, and the marker of what is done with the pruned weights. The step that it
    is rewound to changes nothing.
    """
    base, *modifiers = [name] if name in COLOURS else str(name).split(", ")
    base = base if base in COLOURS else base.split(" @ ")[0]
    marker, line = "o", "-"
    for part in (base, *modifiers):
        marker, line = MARKERS.get(part, marker), LINES.get(part, line)
    return Look(COLOURS.get(base), marker, line)


LABELS = {"accuracy": "accuracy (%)", "loss": "cross-entropy", "step": "iteration"}


def shades(n: int) -> list:
    """``n`` colours from dark (dense) to light (sparse), for densities of one treatment."""
    return sns.color_palette("viridis", n + 1)[:n]


def style() -> None:
    """The look of every figure in the book; call it once, in the setup cell."""
    sns.set_theme(
        context="notebook",
        style="whitegrid",
        palette="colorblind",
        rc={
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "axes.titlesize": "medium",
            "axes.titlelocation": "left",
            "legend.frameon": False,
            "axes.spines.right": False,
            "axes.spines.top": False,
        },
    )


def levels(
    table: pd.DataFrame,
    metric: str = "accuracy",
    treatments: Sequence[str] | None = None,
    title: str = "",
    ax: Axes | None = None,
    moment: str = "early stop",
    split: str = "test",
    by: str = "treatment",
    colours: Mapping | None = None,
) -> Axes:
    """A metric against weights remaining, one band a treatment, the dense network as a line.

    With ``by="criterion"``, or another axis of a study with variants, one band a variant. Each
    begins at its own dense network; the line is drawn where that is the same for all.

    Args:
        table: as :func:`lth_utils.imp` gives it, or a recorded one.
        metric: ``"accuracy"``, ``"loss"`` or ``"step"``.
        treatments: which treatments, or values of column ``by``, to draw, in this order; all by
            default.
        title: what was trained on what; a stand-in or a narrow network is named here.
        ax: where to draw; a new figure by default.
        moment: ``"early stop"`` or ``"end"``.
        split: ``"test"`` or ``"val"``.
        by: the column that tells the bands apart; the table then holds one treatment.
        colours: by treatment or value of ``by``; those of the book by default.

    Raises:
        InputError: the table has no such rows or column, a treatment is not in it, or its rows
            differ in something else than ``by``.
    """
    ax = ax or plt.subplots(figsize=(7, 4.2))[1]
    means = studies.summary(table, metric, by, moment=moment, split=split)
    dense, sparse = means[means.level == 0], means[means.level > 0]
    if dense["mean"].nunique() == 1:
        line = dense.iloc[0]
        ax.axhline(line["mean"], color=COLOURS["dense"], ls="--", lw=1.5, label="dense")
        ax.axhspan(line["low"], line["high"], color=COLOURS["dense"], alpha=0.2, lw=0)
    known = list(sparse[by].unique())
    for name in known if treatments is None else treatments:
        if name not in known:
            raise unknown(by, str(name), list(map(str, known)))
        # Every treatment begins as the same dense network.
        start = dense if by == "treatment" else dense[dense[by] == name]
        rows = pd.concat([start, sparse[sparse[by] == name].sort_values("level")])
        colour = (colours or {}).get(name)
        band(ax, 100 * rows.density, rows, name, colour=colour, ls=look(name).line)
    weights_axis(ax, 100 * means.density.min())
    what = "early-stop iteration" if metric == "step" else f"{split} {LABELS[metric]}"
    ax.set(ylabel=what, title=title)
    ax.legend(loc="best")
    return ax


def beside(
    live: pd.DataFrame,
    recorded: pd.DataFrame,
    titles: tuple[str, str],
    metric: str = "accuracy",
    **options,
) -> Figure:
    """This run at the left and the recorded one at the right, each on its own scale."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for ax, table, title in zip(axes, (live, recorded), titles, strict=True):
        levels(table, metric, title=title, ax=ax, **options)
        ax.title.set_fontsize("small")
    axes[1].get_legend().remove()
    return figure


def differences(
    table: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    metric: str = "accuracy",
    margin: float | None = None,
    title: str = "",
    ax: Axes | None = None,
    by: str = "treatment",
    **which: str,
) -> Axes:
    """Seed-paired differences against weights remaining; zero means no difference.

    Args:
        table: tidy.
        pairs: each (one, other), drawn as one - other.
        metric: ``"accuracy"``, ``"loss"`` or ``"step"``.
        margin: draws the line below which one does not *match* the other.
        by: the column in which the pairs are found; the table then holds one treatment.
        which: as in :func:`lth_utils.studies.measure`.
    """
    ax = ax or plt.subplots(figsize=(7, 4.2))[1]
    for one, other in pairs:
        rows = studies.paired(table, one, other, metric, by, **which)
        # The colour says which treatment, the line what it is compared with.
        ls = dict(zip(dict.fromkeys(o for _, o in pairs), ("-", "--", ":", "-."), strict=False))
        band(ax, 100 * rows.density, rows, one, label=f"{one} − {other}", ls=ls.get(other, "-"))
    ax.axhline(0, color="0.3", lw=1)
    if margin is not None:
        ax.axhline(-margin, color="0.3", lw=1, ls=":", label=f"margin, −{margin:g}")
    weights_axis(ax, 100 * studies.measure(table, metric, **which).density.min())
    unit = {"accuracy": "points of accuracy", "step": "iterations"}.get(metric, LABELS[metric])
    ax.set(ylabel=f"difference ({unit})", title=title)
    ax.legend(loc="best")
    return ax


def curves(
    history: pd.DataFrame,
    metric: str = "accuracy",
    by: str = "treatment",
    colours: Mapping | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Learning curves on the validation set, one band for each value of column ``by``."""
    ax = ax or plt.subplots(figsize=(7, 4.2))[1]
    rows = history[(history.metric == metric) & (history.split == "val")]
    for name, group in rows.groupby(by, sort=False):
        points = [(step, *studies.interval(g.value)) for step, g in group.groupby("step")]
        points = pd.DataFrame(points, columns=["step", "mean", "low", "high", "n"])
        band(ax, points.step, points, name, colour=(colours or {}).get(name), marker="")
    ax.set(xlabel="iteration", ylabel=f"validation {LABELS[metric]}", title=title)
    ax.legend(loc="best")
    return ax


def band(
    ax: Axes,
    x: Sequence[float],
    rows: pd.DataFrame,
    name: str,
    label: str | None = None,
    colour=None,
    marker: str | None = None,
    ls: str = "-",
) -> None:
    """Means with their interval as a band: ``rows`` has columns mean, low, high."""
    colour = colour or look(name).colour
    marker = look(name).marker if marker is None else marker
    [line] = ax.plot(
        x, rows["mean"].astype(float), marker=marker, ms=5, lw=1.8, ls=ls, color=colour,
        label=label or name,
    )  # fmt: skip
    low, high = rows["low"].astype(float), rows["high"].astype(float)
    ax.fill_between(x, low, high, color=line.get_color(), alpha=0.2, lw=0)


def weights_axis(ax: Axes, sparsest: float) -> None:
    """The x axis of the papers: weights remaining in percent, logarithmic, dense at the left."""
    ax.set_xscale("log")
    ax.set_xlim(115, sparsest / 1.15)
    ticks = [t for t in (100, 50, 20, 10, 5, 2, 1, 0.5) if t >= sparsest / 1.1]
    ax.set_xticks(ticks)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("weights remaining (%)")


def histogram(values: Mapping[str, Sequence[float]], xlabel: str, ax: Axes | None = None) -> Axes:
    """Distributions over one another, each as a share of its own count."""
    ax = ax or plt.subplots(figsize=(7, 3.6))[1]
    pooled = np.concatenate([np.asarray(v).ravel() for v in values.values()])
    bins = np.linspace(pooled.min(), pooled.max(), 81)
    for name, v in values.items():
        sns.histplot(
            x=np.asarray(v).ravel(), bins=bins, stat="proportion", element="step", fill=True,
            alpha=0.3, color=look(name).colour, label=name, ax=ax,
        )  # fmt: skip
    ax.set(xlabel=xlabel, ylabel="share of the weights")
    ax.legend()
    return ax
