"""The treatment matrix: what each treatment reaches, and how any two of them differ."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import matplotlib.figure
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from lth_utils import plots, studies
from lth_utils.errors import InputError, unknown
from lth_utils.widgets._figure import Figure, source


class _Matrix(Figure):
    _esm = source("shared.js", "chart.js", "matrix.js")
    _css = source("shared.css", "chart.css", "matrix.css")
    alt = "A table of means with their intervals, a cell for each treatment."


def matrix(
    table: pd.DataFrame,
    cells: Mapping[str, Mapping[str, str]],
    metric: str = "accuracy",
    title: str = "",
    margin: float | None = None,
    moment: str = "early stop",
    split: str = "test",
    by: str = "treatment",
    baseline: str | None = None,
) -> Figure:
    """Treatments in rows and columns, at a density to choose; two cells picked are compared.

    A cell holds mean and 95% interval (:func:`lth_utils.studies.summary`). Two cells give their
    seed-paired difference (:func:`lth_utils.studies.paired`), which is *beyond noise* where its
    interval leaves out zero, and their curves against weights remaining.

    Args:
        table: as :func:`lth_utils.imp` gives it, or a recorded one.
        cells: ``{row: {column: treatment}}``; a column that a row leaves out has no cell there.
        metric: ``"accuracy"``, ``"loss"`` or ``"step"``.
        title: what was trained on what; a stand-in or a narrow network is named here.
        margin: points of accuracy: one treatment *matches* another where the interval of its
            difference lies above minus the margin. Not said by default.
        moment: ``"early stop"`` or ``"end"``.
        split: ``"test"`` or ``"val"``.
        by: the column in which the cells' names stand, for instance the axis of a study with
            variants; the table then holds one treatment.
        baseline: the name that others are compared with at first; by default that of the first
            cell.

    Raises:
        InputError: there are fewer than two cells, a name is not in the table, cells differ in
            density at one level, or a margin is given for something else than accuracy.
    """
    places = [(row, column, name) for row, line in cells.items() for column, name in line.items()]
    names = list(dict.fromkeys(name for *_, name in places))
    if len(names) < 2:
        raise InputError("A matrix needs two cells or more: cells={row: {column: treatment}}.")
    if margin is not None and metric != "accuracy":
        raise InputError(f"A margin is in points of accuracy; leave it out for {metric!r}.")
    means = studies.summary(table, metric, by, moment=moment, split=split)
    dense, sparse = means[means.level == 0], means[means.level > 0]
    for name in [*names, *([] if baseline is None else [baseline])]:
        if name not in set(sparse[by]):
            raise unknown(by, str(name), list(map(str, sparse[by].unique())))
    baseline = names[0] if baseline is None else baseline
    if baseline not in names:
        raise InputError(f"The baseline {baseline!r} is in no cell; put it into cells={{...}}.")
    sparse = sparse[sparse[by].isin(names)]
    levels = _levels(sparse)
    # Every treatment begins as the same dense network; a variant may have one of its own.
    shared = by == "treatment" or dense["mean"].nunique() == 1
    curves = sparse if shared else means[means[by].isin(names)]
    single = studies.measure(table, metric, moment=moment, split=split)[lambda t: t.level > 0]
    rows = table[table[by].isin(names) & (table.level > 0)]
    which = {"metric": metric, "by": by, "moment": moment, "split": split}
    pairs = [
        {"one": names.index(one), "other": names.index(other), "levels": found}
        for one, other in itertools.combinations(names, 2)
        if (found := _pair(rows, single, one, other, margin, which))
    ]
    what = "early-stop iteration" if metric == "step" else f"{split} {plots.LABELS[metric]}"
    colours = _colours(names)
    first = max(levels, key=lambda level: ((sparse.level == level).sum(), level))
    spec = {
        "title": title,
        "metric": metric,
        "label": what if moment == "early stop" or metric == "step" else f"{what}, at the end",
        "margin": margin,
        "rows": list(map(str, cells)),
        "columns": list(map(str, dict.fromkeys(c for line in cells.values() for c in line))),
        "cells": [
            {"row": str(row), "column": str(column), "name": names.index(name)}
            for row, column, name in places
        ],
        "names": [
            {"name": str(n), "colour": colours[n], "points": _points(curves[curves[by] == n])}
            for n in names
        ],
        "levels": [{"level": n, "remaining": 100 * density} for n, density in levels.items()],
        "first": list(levels).index(first),
        "baseline": names.index(baseline),
        "dense": {
            "colour": to_hex(plots.COLOURS["dense"]),
            "points": _points(dense[:1]) if shared else [],
        },
        "pairs": pairs,
    }
    return _Matrix(spec, b"", _picture(spec, first))


def _levels(rows: pd.DataFrame) -> dict[int, float]:
    """Density by level."""
    found = {}
    for level, group in rows.groupby("level"):
        low, high = group.density.min(), group.density.max()
        if high > 1.01 * low:
            raise InputError(
                f"At level {level} the cells' densities run from {low:.2%} to {high:.2%}; "
                "put treatments of the same densities into one matrix."
            )
        found[int(level)] = float(group.density.mean())
    return found


def _points(rows: pd.DataFrame) -> list[dict]:
    return [
        {
            "level": int(row.level),
            "remaining": 100 * row.density,
            **{end: _number(row[end]) for end in ("mean", "low", "high")},
            "n": int(row.n),
        }
        for _, row in rows.sort_values("level").iterrows()
    ]


def _number(value: float) -> float | None:
    """What a page can read: it knows no NaN."""
    return None if pd.isna(value) else float(value)


def _pair(
    table: pd.DataFrame, single: pd.DataFrame, one, other, margin: float | None, which: dict
) -> list[dict]:
    """``one`` - ``other`` level by level; nothing where no replicate of a level has both."""
    has = [
        set(zip(r.level, r.replicate, strict=True))
        for r in (single[single[which["by"]] == name] for name in (one, other))
    ]
    if not has[0] & has[1]:
        return []
    return [
        row
        | {
            "beyond": row["low"] is not None and not row["low"] <= 0 <= row["high"],
            # Whether one matches the other, and the other the one.
            "matches": []
            if margin is None or row["low"] is None
            else [row["low"] > -margin, -row["high"] > -margin],
        }
        for row in _points(studies.paired(table, one, other, **which))
    ]


def _colours(names: list) -> dict:
    """The book's colour of each name, or, where it has none or another name has it, a spare one."""
    found = {}
    for name in names:
        own = [to_hex(plots.COLOURS[name])] if name in plots.COLOURS else []
        taken = set(found.values())
        spare = [to_hex(colour) for colour in plots._PALETTE if to_hex(colour) not in taken]
        free = [colour for colour in own if colour not in taken] or spare or [to_hex("0.5")]
        found[name] = free[0]
    return found


def _picture(spec: dict, level: int) -> matplotlib.figure.Figure:
    """The matrix at one level."""
    rows, columns = spec["rows"], spec["columns"]
    size = 2.2 + 1.5 * len(columns), 1.1 + 0.62 * len(rows)
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    ax = figure.subplots()
    values = np.full((len(rows), len(columns)), np.nan)
    words = np.full(values.shape, "–", dtype=object)
    digits = {"accuracy": 2, "loss": 4, "step": 0}[spec["metric"]]
    for cell in spec["cells"]:
        at = rows.index(cell["row"]), columns.index(cell["column"])
        for point in spec["names"][cell["name"]]["points"]:
            if point["level"] == level:
                values[at] = point["mean"]
                words[at] = f"{point['mean']:.{digits}f}"
                if point["low"] is not None:
                    words[at] += f"\n({point['low']:.{digits}f} to {point['high']:.{digits}f})"
    low, high = np.nanmin(values), np.nanmax(values)
    # The lighter half of the colours: black words stay readable.
    ax.imshow(values, cmap="Blues", aspect="auto", vmin=low, vmax=2 * high - low)
    for (row, column), text in np.ndenumerate(words):
        ax.text(column, row, text, ha="center", va="center", fontsize="small")
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    ax.grid(False)
    share = next(at["remaining"] for at in spec["levels"] if at["level"] == level)
    figure.suptitle(
        f"{spec['title']}\n{spec['label']}, {share:.3g}% of weights remaining".strip(),
        fontsize="medium",
    )
    return figure
