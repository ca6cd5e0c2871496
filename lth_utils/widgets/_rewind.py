"""Late rewinding beside stability: one rewind step, chosen for three panels at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import matplotlib.figure
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from lth_utils import plots, studies
from lth_utils.errors import InputError, unknown
from lth_utils.recipes import Step
from lth_utils.widgets._figure import Figure, source

SHAPES = {"o": "circle", "s": "square", "^": "triangle"}
"""Markers of :mod:`lth_utils.plots`, for what is drawn in a page."""
DASHES = ("2 3", "9 3 2 3", "1 5", "12 4")
"""Tells the treatments apart that have no rewind step; the dense network has a dash of its own."""


class _Rewind(Figure):
    _esm = source("shared.js", "chart.js", "rewind.js")
    _css = source("shared.css", "chart.css", "rewind.css")
    alt = (
        "Accuracy and the distance between two copies against the rewind step, "
        "and the error on the line between the copies."
    )


def rewind(
    table: pd.DataFrame,
    curves: pd.DataFrame | None,
    level: int,
    title: str = "",
    moment: str = "end",
    split: str = "test",
    steps: Sequence[str] | None = None,
) -> Figure:
    """Choose a rewind step: how well the ticket does, and how far apart two copies of it end.

    Three panels: accuracy against the rewind step, with the seed-paired gap to dense
    (:func:`lth_utils.studies.paired`) in numbers; the distance between two copies that differ in
    SGD noise; and the error on the straight line between them, with its barrier in numbers. The
    copies are those of the ticket or of the dense network, where the table has both. Intervals
    are 95% over replicates. A panel or a line for which there are no rows is left out.

    Args:
        table: tidy. Accuracies of treatments that name their rewind step (``"ticket @ 1%"``) make
            a line, of others (``"dense"``, ``"reinit"``) a band across. Rows of moment
            ``"between"`` and metrics ``"distance"`` and ``"error barrier"`` (points) are of the
            pair that is named by its first copy (``"ticket @ 1%"``, ``"dense @ 1%"``). Arms with
            modifiers (``"ticket @ 1%, copy"``) are passed over.
        curves: rows of moment ``"line"`` and metric ``"accuracy"`` (percent), whose ``step`` is
            the number of the point on the line; None leaves out the third panel.
        level: the level of the tickets; that of the dense network is 0.
        title: what was trained on what; a stand-in or a narrow network is named here.
        moment: of the accuracies; the default is the end, because that is where copies are
            compared.
        split: ``"test"`` or ``"val"``.
        steps: the rewind steps in their order, as the treatments name them. By default all, by
            size; where units are mixed, as they come in the table.

    Raises:
        InputError: the level or a step is not in the table, the table has no pairs of copies at
            this level, or its rows differ in something else than treatment and replicate.
    """
    if level not in set(table.level):
        raise unknown("level", level, sorted(table.level.unique()))
    here = _here(table, level)
    between = here[(here.moment == "between") & here.since.notna()]
    if between.empty:
        raise InputError(
            f"The table has no pairs of copies at level {level}: rows of moment 'between' whose "
            "treatment names its rewind step, such as 'ticket @ 1%'."
        )
    accuracy = _accuracy(here, moment, split)
    lines = here[:0] if curves is None else _accuracy(_here(curves, level), "line", split)
    known = _by_size(pd.concat([accuracy.since, between.since]).dropna().unique())
    for step in [] if steps is None else steps:
        if step not in known:
            raise unknown("rewind step", step, known)
    steps = known if steps is None else list(steps)
    sparse = here[here.level == level]
    names = sorted(between.base.unique(), key=lambda base: base != "ticket")
    spec = {
        "title": title,
        "label": f"{split} accuracy (%)" + ("" if moment == "end" else f", {moment}"),
        "split": split,
        "level": int(level),
        "remaining": 100 * float(sparse.density.mean()),
        "steps": steps,
        **_accuracies(accuracy, steps, moment, split),
        "pairs": [_pair(name, between, lines, steps, split) for name in names],
    }
    return _Rewind(spec, b"", _picture(spec))


def _here(table: pd.DataFrame, level: int) -> pd.DataFrame:
    """Rows of this level, and of the dense network, with two columns more: base and rewind step."""
    parts = table.treatment.str.partition(" @ ")
    table = table.assign(base=parts[0], since=parts[2].where(parts[2] != ""))
    modified = table.treatment.str.contains(",")
    return table[~modified & (table.level == level * (table.base != "dense"))]


def _accuracy(rows: pd.DataFrame, moment: str, split: str) -> pd.DataFrame:
    return rows[(rows.metric == "accuracy") & (rows.moment == moment) & (rows.split == split)]


def _by_size(steps: Sequence[str]) -> list[str]:
    """Smallest first, if that can be told without knowing how long an epoch and a training are."""
    size = {step: Step.of(step) for step in steps}
    units = {step.unit for step in size.values() if step.amount}
    return sorted(steps, key=lambda step: size[step].amount) if len(units) < 2 else list(steps)


def _accuracies(rows: pd.DataFrame, steps: list[str], moment: str, split: str) -> dict:
    """Treatments with a rewind step as ``lines``, the others as ``bands``, the dense one first."""
    if rows.empty:
        return {"lines": [], "bands": []}
    which = {"moment": moment, "split": split}
    told = rows.drop(columns=["base", "since"])
    means = studies.summary(told, **which).set_index("treatment")
    has = rows.groupby("treatment").replicate.agg(set)
    moving = sorted(rows.base[rows.since.notna()].unique(), key=lambda base: base != "ticket")
    still = [n for n in means.index if " @ " not in n and n not in moving]
    still.sort(key=lambda name: name != "dense")
    colours = _colours([*moving, *still])

    def point(base: str, step: str) -> dict | None:
        name = f"{base} @ {step}"
        if name not in means.index:
            return None
        gap = None
        if "dense" in has and has["dense"] & has[name]:
            gap = _numbers(studies.paired(told, name, "dense", **which).iloc[0])
        return {**_numbers(means.loc[name]), "gap": gap}

    return {
        "lines": [
            {
                "name": base,
                "colour": colours[base],
                "shape": SHAPES.get(plots.look(base).marker, "circle"),
                "points": [point(base, step) for step in steps],
            }
            for base in moving
        ],
        "bands": [
            {
                "name": name,
                "colour": colours[name],
                "dash": "7 5" if name == "dense" else DASHES[(i - 1) % len(DASHES)],
                **_numbers(means.loc[name]),
            }
            for i, name in enumerate(still)
        ],
    }


def _pair(base: str, between: pd.DataFrame, lines: pd.DataFrame, steps: list, split: str) -> dict:
    """What is known of two copies of a treatment, a value or None for each rewind step."""
    between = between[between.base == base]
    lines = lines[lines.base == base]

    def metric(name: str) -> list[dict | None]:
        rows = between[between.metric == name]
        # A distance is of weights, and need not name a split.
        rows = rows[rows.split == split] if (rows.split == split).any() else rows
        if rows.empty:
            return [None] * len(steps)
        rows = rows.assign(split=split).drop(columns=["base", "since"])
        means = studies.summary(rows, name, moment="between", split=split).set_index("treatment")
        found = {step: f"{base} @ {step}" for step in steps}
        return [_numbers(means.loc[n]) if n in means.index else None for n in found.values()]

    def error(step: str) -> list[dict] | None:
        rows = lines[lines.since == step]
        if rows.empty:
            return None
        points = [studies.interval(100 - group.value) for _, group in rows.groupby("step")]
        # Thousandths of a point are enough to draw, and make a page smaller.
        return [
            {end: None if pd.isna(p[i]) else round(p[i], 3) for i, end in enumerate(ENDS)}
            for p in points
        ]

    return {
        "name": base,
        "colour": _colours([base])[base],
        "distance": metric("distance"),
        "barrier": metric("error barrier"),
        "line": [error(step) for step in steps],
    }


ENDS = ("mean", "low", "high")


def _numbers(row: pd.Series) -> dict:
    """Mean, interval and replicates as a page can read them: it knows no NaN."""
    ends = {end: None if pd.isna(row[end]) else float(row[end]) for end in ENDS}
    return {**ends, "n": int(row["n"])}


def _colours(names: Sequence[str]) -> dict[str, str]:
    """The book's colour of each treatment; what has none gets a spare one."""
    own = {name: plots.look(name).colour for name in names}
    taken = {to_hex(colour) for colour in own.values() if colour}
    spare = iter([c for c in map(to_hex, plots._PALETTE) if c not in taken] * len(names))
    return {name: to_hex(colour) if colour else next(spare) for name, colour in own.items()}


def _picture(spec: dict) -> matplotlib.figure.Figure:
    """The panels at the first step, of the first pair."""
    pair = spec["pairs"][0]
    panels = [
        draw
        for draw, known in (
            (_draw_accuracy, spec["lines"] or spec["bands"]),
            (_draw_distance, any(pair["distance"])),
            (_draw_line, any(pair["line"])),
        )
        if known
    ]
    n = max(1, len(panels))
    figure = matplotlib.figure.Figure(figsize=(3.6 * n + 0.4, 3.4), layout="constrained")
    for ax, draw in zip(figure.subplots(1, n, squeeze=False)[0], panels, strict=False):
        draw(ax, spec, pair)
    share = f"level {spec['level']}, {spec['remaining']:.3g}% of weights remaining"
    figure.suptitle(f"{spec['title']}\n{share}".strip(), fontsize="medium")
    return figure


def _draw_accuracy(ax: Axes, spec: dict, pair: dict) -> None:
    for line in spec["lines"]:
        _against_steps(ax, line["points"], spec["steps"], line["name"], line["colour"])
    for band, ls in zip(spec["bands"], itertools.cycle(("--", ":", "-."))):
        ax.axhline(band["mean"], color=band["colour"], ls=ls, label=band["name"])
        if band["low"] is not None:
            ax.axhspan(band["low"], band["high"], color=band["colour"], alpha=0.2, lw=0)
    ax.set_ylabel(spec["label"])
    ax.legend(fontsize="x-small")


def _draw_distance(ax: Axes, spec: dict, pair: dict) -> None:
    _against_steps(ax, pair["distance"], spec["steps"], pair["name"], pair["colour"])
    ax.set(ylabel="L2 distance between two copies", ylim=(0, None))


def _draw_line(ax: Axes, spec: dict, pair: dict) -> None:
    at, line = next((at, line) for at, line in enumerate(pair["line"]) if line)
    x = [i / max(1, len(line) - 1) for i in range(len(line))]
    plots.band(ax, x, pd.DataFrame(line), pair["name"], colour=pair["colour"], marker="")
    ax.set(xlabel="position on the line", ylabel=f"{spec['split']} error (%)")
    ax.set_title(f"two copies of {pair['name']} @ {spec['steps'][at]}", fontsize="small")


def _against_steps(ax: Axes, points: list, steps: list[str], name: str, colour: str) -> None:
    known = pd.DataFrame([{"at": i} | point for i, point in enumerate(points) if point])
    if len(known):
        plots.band(ax, known["at"], known, name, colour=colour)
    ax.axvline(0, color="0.3", lw=1, ls=":")
    ax.set_xticks(range(len(steps)), steps, rotation=45 if len(steps) > 6 else 0)
    ax.set_xlabel("rewind step")
