"""Studies: experiments that are recorded, and what they say.

A :class:`Study` is a task with treatments, levels and replicates. :func:`record` runs it and
writes one tidy table, its learning curves and its provenance; :func:`recorded` reads them back;
:func:`scorecard` holds every claim of the podcast against the tables. Intervals are computed here
and nowhere else.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timezone
from functools import cached_property
from lzma import LZMAError
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from lth_utils import datasets, store, tasks
from lth_utils.errors import DataError, InputError, unknown
from lth_utils.lottery import TABLE, Lottery, imp
from lth_utils.randomness import GENERATOR
from lth_utils.recipes import Step
from lth_utils.studies._claims import CLAIMS, MATCHES, MATCHES_ELSEWHERE, VERDICTS, Claim, Finding
from lth_utils.studies._intervals import Interval, interval, measure, paired, summary
from lth_utils.tasks import Task

__all__ = [
    "CLAIMS", "SCORECARD", "STUDIES", "VERDICTS", "Claim", "Finding", "Interval", "Recorded",
    "Study", "by_name", "expected", "interval", "measure", "paired", "record", "recorded",
    "scorecard", "summary",
]  # fmt: skip

CURVE_POINTS = 50
MOST_ROWS = 5000

SCORECARD = [
    "claim", "text", "where", "study", "dataset", "network", "replicates",
    "ours", "low", "high", "quantity", "published", "verdict",
]  # fmt: skip
"""Columns of the scorecard, one row a claim."""


@dataclass(frozen=True)
class Study:
    """A task with treatments, levels and replicates, run once and recorded.

    Attributes:
        name: names the files in ``data/results``.
        title: one line for readers.
        task: the task at the paper's scale.
        changes: what was changed from the paper's settings, by attribute; recorded with the
            result, so that every figure can say it.
        options: passed on to :func:`lth_utils.imp`.
        minutes: what to expect on two CPU cores.
        scale: the scale that is recorded. ``"live"`` records what readers' own runs should give,
            on the embedded data.
    """

    name: str
    title: str
    task: Task
    changes: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    minutes: int = 10
    scale: str = "paper"

    def prepared(self, scale: str | None = None, as_published: bool = False) -> Task:
        """The task at the study's scale with its changes; at another scale, that scale's alone.

        With ``as_published`` nothing is changed from the paper's settings, which wants a GPU.
        """
        if scale not in (None, self.scale):
            return self.task.at(scale)
        if self.scale == "live":
            return replace(self.task.at("live"), dataset=self.task.embedded)
        changes = {} if as_published else dict(self.changes)
        recipe = replace(self.task.recipe, **changes.pop("recipe", {}))
        return replace(self.task, recipe=recipe, **changes)


STUDIES = {
    study.name: study
    for study in (
        Study(
            name="lenet-mnist",
            title="Winning tickets, fresh weights and random masks",
            task=tasks.LENET_MNIST,
            changes={"recipe": {"duration": "12000it"}, "levels": 15},
            options={"treatments": ("ticket", "reinit", "random mask")},
            minutes=75,
        ),
        Study(
            name="lenet-mnist-finetune",
            title="Pruning a trained network, and training on",
            task=tasks.LENET_MNIST,
            changes={"recipe": {"duration": "6000it"}, "levels": 12},
            options={"treatments": ("fine-tune",)},
            minutes=10,
        ),
        Study(
            name="lenet-mnist-longer",
            title="The control for it: the dense network, trained on without pruning",
            task=tasks.LENET_MNIST,
            changes={"recipe": {"duration": "6000it"}, "levels": 4},
            options={"treatments": ("fine-tune",), "fractions": 0.0},
            minutes=4,
        ),
        Study(
            name="lenet-mnist-live",
            title="What a reader's own run of Winning tickets should give",
            task=tasks.LENET_MNIST,
            # Other seeds than the readers': a band must not have seen what it is to contain.
            options={"treatments": ("ticket", "reinit", "random mask"), "seeds": range(100, 110)},
            minutes=2,
            scale="live",
        ),
    )
}


def by_name(name: str) -> Study:
    """The study called ``name``.

    Raises:
        InputError: there is none of that name.
    """
    if name not in STUDIES:
        raise unknown("study", name, STUDIES)
    return STUDIES[name]


# Recording ----------------------------------------------------------------------------------------


def record(
    study: Study,
    folder: str | Path,
    scale: str | None = None,
    as_published: bool = False,
    levels: int | None = None,
    runs: store.Store | None = None,
    progress: bool | None = None,
) -> Lottery:
    """Run a study, or what is left of it, and write its table, curves and provenance.

    Args:
        study: what to run.
        folder: where the three files go.
        scale: another scale than the study's own, to try it out.
        as_published: the paper's settings without the study's changes.
        levels: stop after so many levels.
        runs: the store of finished units; the default one if None.
        progress: as in :func:`lth_utils.imp`.

    Only real data is recorded: where the task's dataset is not found this stops before it starts.

    Raises:
        DataError: the dataset is not at hand.
        InputError: the folder cannot be written.
    """
    commit = _commit()  # before hours in which the checkout may move on
    task = study.prepared(scale, as_published)
    if levels is not None:
        task = replace(task, levels=levels)
    if task.scale != "smoke":
        datasets.load(task.dataset)  # a stand-in must never be recorded as the real thing
    result = imp(task, store=runs, progress=progress, **study.options)
    table = result.table.assign(study=study.name)
    curves = _thinned(result.curves.assign(study=study.name))
    if len(table) > MOST_ROWS:
        raise InputError(f"Study {study.name} has {len(table)} rows; at most {MOST_ROWS} fit.")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(table, folder / f"{study.name}.csv")
        _write(curves, folder / f"{study.name}.curves.csv.xz")
        provenance = json.dumps(_provenance(study, result, commit), indent=1, ensure_ascii=False)
        (folder / f"{study.name}.json").write_text(provenance + "\n")
    except OSError as error:
        raise InputError(
            f"Results cannot be written to {folder} ({error.strerror}); choose another folder."
        ) from error
    return result


def _write(table: pd.DataFrame, path: Path) -> None:
    rounded = table.assign(density=table.density.round(6), value=table.value.round(6))
    rounded.to_csv(path, index=False)


def _thinned(curves: pd.DataFrame) -> pd.DataFrame:
    """At most :data:`CURVE_POINTS` points of each curve, evenly spaced, the first and last kept."""
    steps = sorted(curves.step.unique())
    count = min(CURVE_POINTS, len(steps))
    kept = {steps[round(i * (len(steps) - 1) / max(1, count - 1))] for i in range(count)}
    return curves[curves.step.isin(kept)]


def _provenance(study: Study, result: Lottery, commit: str) -> dict:
    task = result.task
    data = task.data
    return {
        "study": study.name,
        "title": study.title,
        "settings": {
            "task": task.name,
            "scale": task.scale,
            "network": task.title,
            "width": task.width,
            "recipe": asdict(task.recipe),
            "prune": dict(task.prune),
            "scope": task.scope,
            "levels": task.levels,
            "stride": task.stride,
            **{k: _setting(v) for k, v in study.options.items() if k != "seeds"},
        },
        "changes": _changes(study, task),
        "seeds": sorted(int(seed) for seed in result.table.replicate.unique()),
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
        "rows": len(result.table),
        "seconds": round(result.seconds, 1),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _setting(value):
    if isinstance(value, tuple | range):
        return list(value)
    return getattr(value, "__name__", value)  # a criterion may be given as a function


def _changes(study: Study, task: Task) -> dict:
    """What differs from the paper's settings, by attribute."""
    if task.scale != "paper":
        return {"scale": task.scale}
    changes = {}
    if task.recipe != study.task.recipe:
        ours, theirs = asdict(task.recipe), asdict(study.task.recipe)
        changes["recipe"] = {name: ours[name] for name in ours if ours[name] != theirs[name]}
    for name in ("levels", "replicates", "width", "images", "control_levels"):
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
        step = Step.of(p["settings"]["recipe"]["duration"])
        unit = {"it": "iterations", "ep": "epochs"}[step.unit]
        return (
            f"{p['settings']['network']} on {p['dataset']['title']},\n"
            f"{step.amount:,.15g} {unit}, {len(p['seeds'])} replicates"
        )

    def value(self, treatment: str, level: int, metric: str = "accuracy", **which) -> Interval:
        """Mean and interval over replicates of one treatment at one level."""
        rows = measure(self.table, metric, **which)
        rows = rows[(rows.treatment == treatment) & (rows.level == level)]
        return interval(rows.value)


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
            f"Study {name!r} has no recorded result in {folder}; "
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


def scorecard(folder: str | Path | None = None) -> pd.DataFrame:
    """Every claim of the podcast with our number, its interval and a verdict.

    Built from the recorded tables alone. A claim without a study is *open*.

    Returns:
        One row a claim, columns :data:`SCORECARD`.
    """
    rows = []
    for claim in CLAIMS:
        row = dict.fromkeys(SCORECARD, "") | {
            "claim": claim.id,
            "text": claim.text,
            "where": claim.where,
            "published": claim.published,
            "verdict": "open",
        }
        if claim.rule is None:
            row["quantity"] = "no study yet"
        else:
            row |= _judge(claim, folder)
        rows.append(row)
    return pd.DataFrame(rows, columns=SCORECARD)


def _doubt(claim: Claim, provenance: Mapping) -> str:
    """Why a recorded result may not settle a claim; empty where it may."""
    study, settings = by_name(claim.study), provenance["settings"]
    needed = 5 if settings["network"].startswith("LeNet") else 3
    if settings["scale"] != "paper":
        return f"recorded at {settings['scale']} scale, which settles nothing"
    if provenance["dataset"]["name"] != study.task.dataset:
        return f"recorded on {provenance['dataset']['title']}, a stand-in"
    if len(provenance["seeds"]) < needed:
        return f"{len(provenance['seeds'])} replicates where {needed} are needed"
    return ""


def _judge(claim: Claim, folder: str | Path | None) -> dict:
    try:
        result = recorded(claim.study, folder)
    except DataError:
        return {"study": claim.study, "quantity": "study not recorded yet"}
    p = result.provenance
    if doubt := _doubt(claim, p):
        return {"study": claim.study, "quantity": doubt}
    finding = claim.rule(result.table, MATCHES.get(p["dataset"]["name"], MATCHES_ELSEWHERE))
    facts = {
        "study": claim.study,
        "dataset": p["dataset"]["title"],
        "network": p["settings"]["network"],
        "replicates": len(p["seeds"]),
    }
    if finding is None:
        return facts | {"quantity": "the study is not sparse enough to settle it"}
    return facts | {
        k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(finding).items()
    }
