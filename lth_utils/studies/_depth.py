"""The deep systems side by side: one row for each recorded network and density."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from lth_utils import datasets
from lth_utils.controls import step_of
from lth_utils.errors import InputError
from lth_utils.recipes import Step
from lth_utils.studies._intervals import Interval, interval, measure, paired
from lth_utils.studies._recording import Recorded, recorded
from lth_utils.studies._rules.deep import SPARSE, best_of, rewound
from lth_utils.studies._studies import by_name

DEEP = [
    "study", "network", "data", "recipe", "replicates", "density",
    "dense", "reinit", "reset", "rewound", "step",
    "reset − reinit", "reset − dense", "rewound − reinit", "rewound − dense", "rewound − reset",
    "barrier of reset", "barrier of rewound", "distance of reset", "distance of rewound",
    "published",
]  # fmt: skip
"""Columns of :func:`deep_table`."""

PUBLISHED = {
    "LeNet-300-100": {0.036: "from step 0 as good as dense (Frankle and Carbin, 2019)"},
    "ResNet-20": {
        0.210: "91.7 from 6.6% of training, 89.2 from step 0 (Renda et al., 2020)",
        0.107: "91.0 from 6.6% of training, 86.7 from step 0 (Renda et al., 2020)",
    },
}
"""What the papers give for a network, by the density of the layers that they prune."""

NEAR = 0.2
"""A published density is ours if they differ by less than this share: layers that are never pruned
count in ours."""


def deep_table(
    names: Sequence[str], folder: str | Path | None = None, moment: str = "end"
) -> pd.DataFrame:
    """What recorded studies of instability say of tickets, one row for each density up to 25%.

    Args:
        names: studies with tickets rewound to step 0 and later, each with a copy, and with
            ``reinit``. A study that is not recorded yet has no rows.
        folder: where results are looked for; those that come with the book by default.
        moment: of accuracies: ``"end"``, as in the papers on deep networks, or ``"early stop"``.
            Copies are compared at the end in any case.

    Returns:
        Columns ``DEEP``, in the order of ``names`` and then sparser. *Reset* is the ticket from
        step 0, *rewound* the one from the later step with the best mean validation accuracy;
        ``step`` says which. Accuracies are of the test set, in percent, and differences
        seed-paired, in points; barriers are between a ticket and its copy under other SGD noise, in
        points of test error, and so are distances, L2. Each of these is an :class:`Interval`.

    Raises:
        InputError: a study is unknown, or has no such tickets.
        DataError: a recorded study is damaged.
    """
    place = Path(folder) if folder else datasets.embedded("results")
    # Asked of the disk: what is there and cannot be read is an error, and not "not yet".
    there = [name for name in names if (place / f"{by_name(name).name}.csv").exists()]
    rows = [row for name in there for row in _rows(name, recorded(name, folder), moment)]
    return pd.DataFrame(rows, columns=DEEP)


def _rows(name: str, result: Recorded, moment: str) -> Iterator[list]:
    table, settings = result.table, result.provenance["settings"]
    steps = rewound(table)
    if not steps or Step.of(step_of(steps[0])).amount != 0 or len(steps) < 2:
        raise InputError(f"Study {name!r} has no tickets from step 0 and from a later step.")
    sparse = table[(table.level > 0) & (table.density <= SPARSE)]
    dense = table[(table.level == 0) & (table.treatment == "dense")]
    for _, part in sparse.groupby("level"):
        later = best_of(steps[1:], part, moment)
        both = {"reset": steps[0], "rewound": later}
        density = float(part.density.mean())
        whole = pd.concat([dense, part])
        row = {
            "study": name,
            "network": settings["network"] + _width(settings["width"]),
            "data": result.provenance["dataset"]["title"],
            "recipe": _in_words(settings),
            "replicates": len(result.provenance["seeds"]),
            "density": density,
            "dense": _mean(dense, "dense", moment),
            "reinit": _mean(part, "reinit", moment),
            **{kind: _mean(part, ticket, moment) for kind, ticket in both.items()},
            "step": step_of(later),
            **{
                f"{kind} − {other}": _difference(whole, ticket, other, moment)
                for kind, ticket in both.items()
                for other in ("reinit", "dense")
            },
            "rewound − reset": _difference(part, later, steps[0], moment),
            "published": _published(settings["network"], density),
        }
        for metric, short in (("error barrier", "barrier"), ("distance", "distance")):
            for kind, ticket in both.items():
                row[f"{short} of {kind}"] = _mean(part, ticket, "between", metric)
        yield [row[column] for column in DEEP]


def _mean(part: pd.DataFrame, treatment: str, moment: str, metric: str = "accuracy") -> Interval:
    rows = measure(part, metric, moment=moment)
    return interval(rows[rows.treatment == treatment].value)


def _difference(part: pd.DataFrame, one: str, other: str, moment: str) -> Interval:
    row = paired(part, one, other, moment=moment).iloc[0]
    return Interval(row["mean"], row.low, row.high, int(row.n))


def _published(network: str, density: float) -> str:
    for theirs, what in PUBLISHED.get(network, {}).items():
        if abs(density / theirs - 1) < NEAR:
            return what
    return ""


# In words -----------------------------------------------------------------------------------------


def _width(width: float) -> str:
    return f", {width:g} × the width" if width != 1 else ""


def _in_words(settings: Mapping) -> str:
    """The recipe and how it is pruned, for one cell of a table."""
    recipe = settings["recipe"]
    length, schedule = Step.of(recipe["duration"]), recipe["schedule"]
    scope = {"layer": "layerwise"}.get(settings["scope"], settings["scope"])
    return ", ".join([
        f"{'Adam' if 'betas' in recipe['optimiser'] else 'SGD'} at {recipe['optimiser']['rate']:g}",
        "cosine" if schedule["cosine"] else "drops" if schedule["milestones"] else "constant",
        f"{length.amount:,.15g} {'epochs' if length.unit == 'ep' else 'iterations'}",
        f"batch {recipe['batch']}",
        f"{'one-shot' if settings.get('one_shot') else 'iterative'} {scope} pruning",
    ])  # fmt: skip
