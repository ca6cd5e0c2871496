"""Recording a study: its table, its thinned curves, its provenance; and reading them back."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from lzma import LZMAError
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from lth_utils import datasets, store, tasks
from lth_utils.errors import DataError, InputError
from lth_utils.lottery import TABLE, Lottery
from lth_utils.randomness import GENERATOR
from lth_utils.recipes import Step
from lth_utils.studies._intervals import Interval, comparable, interval, measure, summary
from lth_utils.studies._studies import PROCEDURES, Study
from lth_utils.tasks import Task

CURVE_POINTS = 50
MOST_ROWS = 5000


def record(
    study: Study,
    folder: str | Path,
    scale: str | None = None,
    as_published: bool = False,
    levels: int | None = None,
    runs: store.Store | None = None,
    progress: bool | None = None,
    executor: Executor | None = None,
) -> dict[str, Lottery]:
    """Run a study, or what is left of it, and write its table, curves and provenance.

    Args:
        study: what to run.
        folder: where the three files go.
        scale: another scale than the study's own, to try it out.
        as_published: the paper's settings without the study's changes.
        levels: stop after so many levels.
        runs: the store of finished units; the default one if None.
        progress: as in :func:`lth_utils.imp`.
        executor: as in :func:`lth_utils.imp`.

    Only real data is recorded: where the task's dataset is not found this stops before it starts.

    Returns:
        What was found, by variant; a study without variants has one, called ``""``.

    Raises:
        DataError: the dataset is not at hand.
        InputError: the folder cannot be written.
    """
    commit = _commit()  # before hours in which the checkout may move on
    results, tables, curves = {}, [], []
    shorter = {} if levels is None else {"levels": levels}
    for name, (task, options) in study.runs(scale, as_published).items():
        task = replace(task, **shorter)
        if task.scale != "smoke" and isinstance(task.dataset, str):
            datasets.load(task.dataset)  # a stand-in must never be recorded as the real thing
        run = PROCEDURES[study.procedure].run
        result = run(task, store=runs, progress=progress, executor=executor, **options)
        label = {"study": study.name} | ({study.axis: name} if study.axis else {})
        between = result.table.moment == "between"
        table = result.table[result.table.split.isin(study.splits) | between]
        tables += [rows.assign(**label) for rows in (table, study.also and study.also(result))
                   if rows is not None]  # fmt: skip
        curves.append(_thinned(result.curves.assign(**label)))
        results[name] = result
    table, curves = pd.concat(tables, ignore_index=True), pd.concat(curves, ignore_index=True)
    if len(table) > MOST_ROWS:
        raise InputError(f"Study {study.name} has {len(table)} rows; at most {MOST_ROWS} fit.")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(table, folder / f"{study.name}.csv")
        _write(curves, folder / f"{study.name}.curves.csv.xz")
        common = replace(study.prepared(scale, as_published), **shorter)
        note = _provenance(study, common, results, commit, table)
        provenance = json.dumps(note, indent=1, ensure_ascii=False, default=asdict)
        (folder / f"{study.name}.json").write_text(provenance + "\n")
    except OSError as error:
        raise InputError(
            f"Results cannot be written to {folder} ({error.strerror}); choose another folder."
        ) from error
    return results


def _write(table: pd.DataFrame, path: Path) -> None:
    rounded = table.assign(density=table.density.round(6), value=table.value.round(6))
    rounded.to_csv(path, index=False)


def _thinned(curves: pd.DataFrame) -> pd.DataFrame:
    """At most :data:`CURVE_POINTS` points of each curve, evenly spaced, the first and last kept."""

    def thin(curve: pd.Series) -> pd.Series:
        steps = sorted(curve.unique())
        count = min(CURVE_POINTS, len(steps))
        return curve.isin({steps[round(i * (len(steps) - 1) / max(1, count - 1))]
                           for i in range(count)})  # fmt: skip

    # Treatments may be looked at at steps of their own.
    return curves[curves.groupby("treatment").step.transform(thin).astype(bool)]


def _provenance(
    study: Study, task: Task, results: Mapping[str, Lottery], commit: str, table: pd.DataFrame
) -> dict:
    """What was run: the task that the variants share, and what each changes in it."""
    first, data = next(iter(results.values())), task.data
    paths = sum((Counter(result.paths) for result in results.values()), Counter())
    return {
        "study": study.name,
        "title": study.title,
        "settings": {
            "task": task.name,
            "scale": task.scale,
            "network": task.title,
            "width": task.width,
            "recipe": asdict(task.recipe),
            **{
                name: asdict(part)
                for name in ("supermask", "dense")
                if (part := getattr(task, name))
            },
            "prune": dict(task.prune),
            "scope": task.scope,
            "levels": int(table.level.max()),
            "stride": task.stride,
            **{k: _setting(v) for k, v in study.options.items() if k != "seeds"},
        },
        "changes": _changes(study, task),
        **({"axis": study.axis, "variants": _variants(study)} if study.axis else {}),
        "seeds": sorted(int(seed) for seed in first.table.replicate.unique()),
        "dataset": {
            "name": data.name,
            "title": data.title,
            "fingerprint": data.fingerprint,
            "split_seed": data.split_seed,
            "train": len(data.train),
            "val": len(data.val),
            "test": len(data.test),
        },
        "code": {
            "lth_utils": _version(),
            "commit": commit,
            "generator": GENERATOR,
            "numerics": store.NUMERICS,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "hardware": {
            "device": _device(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "paths": dict(paths),
        "rows": len(table),
        "seconds": round(sum(result.seconds for result in results.values()), 1),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _setting(value):
    if isinstance(value, tuple | range):
        return list(value)
    return getattr(value, "__name__", value)  # a criterion may be given as a function


def _variants(study: Study) -> dict:
    return {
        name: {
            "changes": dict(variant.changes),
            "options": {k: _setting(v) for k, v in variant.options.items()},
        }
        for name, variant in study.variants.items()
    }


def _changes(study: Study, task: Task) -> dict:
    """What differs from the paper's settings, by attribute."""
    if task.scale != "paper":
        return {"scale": task.scale}
    changes = {}
    if task.recipe != study.task.recipe:
        ours, theirs = asdict(task.recipe), asdict(study.task.recipe)
        changes["recipe"] = {name: ours[name] for name in ours if ours[name] != theirs[name]}
    for name in ("dataset", "levels", "stride", "replicates", "width", "dropout", "label_noise",
                 "permuted", "pool", "classes", "supermask", "dense", "report", "images",
                 "control_levels", "prune", "scope"):  # fmt: skip
        if getattr(task, name) != getattr(study.task, name):
            changes[name] = getattr(task, name)
    return changes


def _version() -> str:
    import lth_utils

    return lth_utils.__version__


def _commit() -> str:
    """The commit that this code is at, with a plus where files have changed since."""
    here = Path(__file__).parent
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty=+"],
            cwd=here, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "not a checkout"


def _device() -> str:
    device = tasks.device()
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


# Reading back -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recorded:
    """A recorded study: tables and provenance."""

    table: pd.DataFrame
    provenance: Mapping[str, Any]
    _curves: Path

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Validation loss and accuracy during training, thinned."""
        try:
            return pd.read_csv(self._curves)
        except (OSError, ValueError, EOFError, LZMAError) as error:
            name = self.provenance["study"]
            raise DataError(
                f"The learning curves of {name!r} are missing or damaged; "
                f"record it again with `lth results run {name}`."
            ) from error

    @property
    def title(self) -> str:
        """Two lines for figures, with network and data, iterations and replicates."""
        p = self.provenance
        width = p["settings"].get("width", 1)
        narrow = width != 1 and p.get("axis") != "width"
        step = Step.of(p["settings"]["recipe"]["duration"])
        unit = {"it": "iterations", "ep": "epochs"}[step.unit]
        return (
            f"{p['settings']['network']}{f' ({width:g} × the width)' if narrow else ''} "
            f"on {p['dataset']['title']},\n"
            f"{step.amount:,.15g} {unit}, {len(p['seeds'])} replicates"
        )

    def value(self, treatment: str, level: int, metric: str = "accuracy", **which) -> Interval:
        """Mean and interval over replicates of one treatment at one level.

        Of a study with variants one is chosen by the study's axis, as in ``width=0.1``.

        Raises:
            InputError: there is no such training, or there are several variants of it.
        """
        table, axis = self.table, self.provenance.get("axis")
        if axis in which:
            table = table[table[axis] == which.pop(axis)]
        rows = measure(table, metric, **which)
        rows = rows[(rows.treatment == treatment) & (rows.level == level)]
        return interval(comparable(rows, "treatment").value)


def recorded(name: str, folder: str | Path | None = None) -> Recorded:
    """The recorded result of the study ``name``, as it comes with the book.

    Raises:
        DataError: it has not been recorded, or its files are damaged.
    """
    try:
        folder = Path(folder) if folder else datasets.embedded("results")
        table = pd.read_csv(folder / f"{name}.csv")
        provenance = json.loads((folder / f"{name}.json").read_text())
    except (OSError, ValueError) as error:
        raise DataError(
            f"Study {name!r} has no recorded result in {folder or 'the package'}; "
            f"record it with `lth results run {name}`."
        ) from error
    lacks = [column for column in TABLE if column not in table]
    parts = ("settings", "seeds", "dataset", "code")
    lacks += [p for p in parts if not isinstance(provenance, dict) or p not in provenance]
    if not lacks and len(table) != provenance.get("rows", len(table)):
        lacks = [f"{provenance['rows'] - len(table)} rows"]
    if lacks:
        raise DataError(
            f"The recorded result of {name!r} lacks {', '.join(lacks)}; "
            f"record it again with `lth results run {name}`."
        )
    return Recorded(table, provenance, folder / f"{name}.curves.csv.xz")


def expected(recorded: Recorded, replicates: int, metric: str = "accuracy") -> pd.DataFrame:
    """The band in which the mean of a new run should fall, 19 times of 20.

    A prediction interval for the mean of ``replicates`` fresh seeds, from the spread of the
    recorded ones; wider than their own confidence interval.

    Returns:
        Columns treatment, level, density, low, high.
    """
    rows = summary(recorded.table, metric)
    half = (rows.high - rows["mean"]) * (1 + rows.n / replicates) ** 0.5
    return rows[["treatment", "level", "density"]].assign(
        low=rows["mean"] - half, high=rows["mean"] + half
    )
