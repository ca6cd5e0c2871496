"""A metric against weights remaining, of which one asks for the numbers."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.figure
import pandas as pd
from matplotlib.colors import to_hex

from lth_utils import plots, studies
from lth_utils.errors import unknown
from lth_utils.widgets._figure import Figure, source

DASHES = {"-": "", "--": "7 4", "-.": "8 3 2 3", ":": "2 3"}
"""The line styles of :mod:`lth_utils.plots`, for what is drawn in a page."""


class _Levels(Figure):
    _esm = source("shared.js", "levels.js")
    _css = source("shared.css", "levels.css")
    alt = "Lines with bands, one for each treatment, against weights remaining."


def levels(
    table: pd.DataFrame,
    metric: str = "accuracy",
    treatments: Sequence[str] | None = None,
    title: str = "",
    moment: str = "early stop",
    split: str = "test",
    by: str = "treatment",
) -> Figure:
    """What :func:`lth_utils.plots.levels` draws, with treatments to switch and points to ask.

    Bands are 95% intervals over replicates, from :func:`lth_utils.studies.summary`.

    Args:
        table: as :func:`lth_utils.imp` gives it, or a recorded one.
        metric: ``"accuracy"``, ``"loss"`` or ``"step"``.
        treatments: which treatments, or values of column ``by``, to offer, in this order; all by
            default.
        title: what was trained on what; a stand-in or a narrow network is named here.
        moment: ``"early stop"`` or ``"end"``.
        split: ``"test"`` or ``"val"``.
        by: the column that tells the lines apart, for instance the axis of a study with variants;
            the table then holds one treatment.

    Raises:
        InputError: the table has no such rows, or a treatment is not in it.
    """
    means = studies.summary(table, metric, by, moment=moment, split=split)
    single = studies.measure(table, metric, moment=moment, split=split)
    dense, sparse = means[means.level == 0], means[means.level > 0]
    known = list(sparse[by].unique())
    names = known if treatments is None else list(treatments)
    for name in names:
        if name not in known:
            raise unknown(by, name, known)
    replicates = single.groupby([by, "level"]).value.agg(list)
    # Every treatment begins as the same dense network; a variant may have one of its own.
    shared = dense["mean"].nunique() == 1

    def points(rows: pd.DataFrame) -> list[dict]:
        return [
            {
                "level": int(row.level),
                "remaining": 100 * row.density,
                "mean": row["mean"],
                "low": None if pd.isna(row.low) else row.low,
                "high": None if pd.isna(row.high) else row.high,
                "replicates": replicates[row[by], row.level],
            }
            for _, row in rows.sort_values("level").iterrows()
        ]

    spare = iter(plots._PALETTE * 3)
    what = "early-stop iteration" if metric == "step" else f"{split} {plots.LABELS[metric]}"
    spec = {
        "title": title,
        "metric": metric,
        "label": what if moment == "early stop" or metric == "step" else f"{what}, at the end",
        "dense": {
            "colour": to_hex(plots.COLOURS["dense"]),
            "points": points(dense[:1]) if shared else [],
        },
        "treatments": [
            {
                "name": str(name),
                "colour": to_hex(plots.look(name).colour or next(spare)),
                "marker": plots.look(name).marker,
                "dash": DASHES[plots.look(name).line],
                "points": points((sparse if shared else means)[lambda t, n=name: t[by] == n]),
            }
            for name in names
        ],
    }
    picture = matplotlib.figure.Figure(figsize=(7, 4.2), layout="constrained")
    plots.levels(table, metric, names, title, picture.subplots(), moment, split, by)
    return _Levels(spec, b"", picture)
