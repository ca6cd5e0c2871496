"""Iterative magnitude pruning: how winning tickets are found (Frankle and Carbin, 2019).

:func:`imp` is the whole procedure: train, prune, rewind, repeat. At every level it also trains the
controls, on the same seeds.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save_file
from tqdm.auto import tqdm

from lth_utils import controls, pruning
from lth_utils.controls import Arm, Situation
from lth_utils.errors import InputError
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.pruning import Criterion
from lth_utils.randomness import GENERATOR
from lth_utils.store import Store, Unit, identity, is_own, key
from lth_utils.tasks import Task
from lth_utils.training import Run

TABLE = [
    "study", "treatment", "level", "density", "replicate",
    "moment", "step", "split", "metric", "value",
]  # fmt: skip


@dataclass(frozen=True)
class Ticket:
    """A sparse network before it is trained: R starts and R masks."""

    level: int
    start: Weights
    mask: Mask
    rewind: str


@dataclass(frozen=True)
class Lottery:
    """What :func:`imp` gives back.

    Attributes:
        task: at the scale that was run.
        table: tidy; columns study, treatment, level, density, replicate, moment (``early stop``
            or ``end``), step, split, metric and value.
        curves: the same columns, for moment ``during``: validation at the recipe's cadence.
        tickets: one for each level from 1, each with R members.
        seconds: wall time of all these trainings, whether they were run now or before.
    """

    task: Task
    table: pd.DataFrame
    curves: pd.DataFrame
    tickets: list[Ticket]
    seconds: float = field(compare=False)

    def save(self, folder: str | Path) -> list[Path]:
        """Write the tables as CSV and the masks, eight weights a byte, as safetensors.

        Raises:
            InputError: the folder cannot be made or written.
        """
        folder = Path(folder)
        masks = {
            f"level{ticket.level:02}/{name}": bits
            for ticket in self.tickets
            for name, bits in ticket.mask.pack().items()
        }
        paths = [folder / name for name in ("table.csv", "curves.csv", "masks.safetensors")]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.table.to_csv(paths[0], index=False)
            self.curves.to_csv(paths[1], index=False)
            paths[2].unlink(missing_ok=True)  # of an earlier run
            if masks:
                save_file(masks, paths[2])
        except OSError as error:
            raise InputError(
                f"Results cannot be written to {folder} ({error.strerror}); choose another folder."
            ) from error
        return [path for path in paths if path.exists()]


def imp(
    task: Task,
    levels: int | None = None,
    seeds: Sequence[int] | None = None,
    rewind: str = "0it",
    treatments: Sequence[str] = ("ticket", "reinit", "random mask"),
    criterion: Criterion | str = pruning.magnitude,
    fractions: float | Mapping[str, float] | None = None,
    scope: str | None = None,
    store: Store | None = None,
    progress: bool | None = None,
) -> Lottery:
    """Find tickets by iterative pruning, and train each beside its controls.

    One-shot pruning is ``levels=1`` with the whole of ``fractions`` at once; pruning with
    fine-tuning is ``treatments=("fine-tune",)``.

    Args:
        task: at the scale to run, for instance ``lth.tasks.LENET_MNIST.at("live")``.
        levels: how many times to prune; the task's by default.
        seeds: one for each replicate; the task's by default.
        rewind: the step to which a ticket's weights are rewound.
        treatments: names in :data:`lth_utils.controls.TREATMENTS`. The trained weights of the
            first are what is pruned next; the others are controls and decide nothing.
        criterion: what decides which weights go, or its name.
        fractions: share of the remaining weights that a level removes; the task's by default.
        scope: ``"layer"`` or ``"global"``; the task's by default.
        store: where finished units are kept; the default store if None.
        progress: whether to show a bar; by default unless ``LTH_PROGRESS`` is 0.

    Raises:
        InputError: an unknown treatment or criterion, negative levels, an impossible fraction.
    """
    levels = task.levels if levels is None else levels
    if levels < 0:
        raise InputError(f"The number of levels is 0 or more; got {levels}.")
    seeds = task.seeds if seeds is None else tuple(map(int, seeds))
    if not seeds or len(set(seeds)) != len(seeds):
        raise InputError(f"Replicates need different seeds, at least one; got {list(seeds)}.")
    if not treatments:
        raise InputError("Name at least one treatment; the first is the one pruned further.")
    arms_of = {name: controls.by_name(name) for name in treatments}
    if isinstance(criterion, str):
        criterion = pruning.by_name(criterion)
    fractions = task.fractions if fractions is None else fractions
    scope = scope or task.scope
    pruning.check(task.dense_mask(seeds[:1]), fractions, scope)  # now, not after the first hour
    plan = {level: task.arms_at(level, levels, treatments) for level in range(1, levels + 1)}
    settings = {
        "chain": treatments[0],
        "criterion": identity(criterion.scores),
        "fractions": fractions,
        "scope": scope,
        "rewind": str(rewind),
    }
    bench = _Bench(task, seeds, settings, store or Store())
    trainings = len(seeds) * (1 + sum(map(len, plan.values())))

    with tqdm(total=trainings * task.iterations, **_bar(progress)) as bar:
        start, mask = task.init(seeds), task.dense_mask(seeds)
        dense = found = bench.train({"dense": Arm(start, mask)}, 0, bar, keep=(rewind,))
        tickets = []
        for level, names in plan.items():
            mask = criterion(
                found.weights, mask, fractions, scope, start=start, seeds=seeds, level=level
            )
            now = Situation(
                mask=mask,
                start=start,
                rewound=dense.at[rewind],
                rewind=rewind,
                trained=found.weights,
                recipe=task.recipe,
                seeds=seeds,
                level=level,
                draw=task.init,
            )
            arms = {name: arms_of[name](now) for name in names}
            if arms[treatments[0]].mask != mask:
                raise InputError(
                    f"{treatments[0]!r} trains under another mask than the one that was found, so "
                    "it cannot be what is pruned next; name another treatment first."
                )
            found = bench.train(arms, level, bar)
            tickets.append(Ticket(level, now.rewound, mask, rewind))
    return bench.result(tickets)


def _bar(progress: bool | None) -> dict:
    if progress is None:
        progress = os.environ.get("LTH_PROGRESS", "1") != "0"
    return {"disable": not progress, "unit": "it", "unit_scale": True, "leave": False}


def _all_weights(run: Run) -> dict[str, Weights]:
    return {"end": run.weights} | {str(at): w for at, w in run.snapshots.items()}


_AT_ONCE = {"cpu": 5}
"""Members trained together. Each piece is stored when it is done, so on a CPU, where a large
population was not seen to be faster, a small one loses less when it is interrupted."""


def _split(populations: Mapping[tuple, list], device: torch.device):
    """The populations in pieces that the device likes, each with what its members share."""
    for shared, units in populations.items():
        size = _AT_ONCE.get(device.type, len(units))
        for at in range(0, len(units), size):
            yield shared, units[at : at + size]


class _Bench:
    """Where the arms of a level are trained, as populations, and what has been trained is kept."""

    def __init__(self, task: Task, seeds: Sequence[int], settings: Mapping, store: Store):
        self.task, self.seeds, self.settings, self.store = task, seeds, settings, store
        self.parents = dict.fromkeys(seeds)
        self.histories: list[pd.DataFrame] = []
        self.seconds = 0.0

    def train(
        self, arms: Mapping[str, Arm], level: int, bar: tqdm, keep: Iterable[str] = ()
    ) -> Run:
        """Train every arm for every seed; give back the first arm, the parent of what follows."""
        bar.set_description(f"level {level}")
        chain = next(iter(arms))
        keys = {
            (name, seed): self._key(name, level, seed, keep) for name in arms for seed in self.seeds
        }
        runs = {unit: self._load(key, arms[unit[0]]) for unit, key in keys.items()}

        populations = defaultdict(list)
        for unit, run in runs.items():
            if run is None:
                arm = arms[unit[0]]
                populations[arm.begin, arm.recipe].append(unit)
            else:
                bar.update(self.task.iterations)
        for (begin, recipe), units in _split(populations, self.task.data.train.labels.device):
            began = time.perf_counter()
            run = self.task.train(
                *self._population(arms, units), begin,
                keep=keep, recipe=recipe, progress=bar.update,
            )  # fmt: skip
            seconds = time.perf_counter() - began
            self.seconds += seconds
            for i, unit in enumerate(units):
                runs[unit] = run.member(i)
                # A control decides nothing, so nobody will ask for its weights.
                weights = _all_weights(runs[unit]) if unit[0] == chain else {}
                done = Unit(runs[unit].history, weights, seconds / len(units))
                self.store.save(keys[unit], done)

        for (name, seed), run in runs.items():
            density = float(arms[name].mask.density[self.seeds.index(seed)])
            self.histories.append(
                run.history.assign(
                    study=self.task.name, treatment=name, level=level, density=density,
                    replicate=seed,
                )
            )  # fmt: skip
        self.parents = {seed: keys[chain, seed] for seed in self.seeds}
        return Run.cat([runs[chain, seed] for seed in self.seeds])

    def _population(self, arms: Mapping[str, Arm], units: Sequence[tuple[str, int]]):
        """Weights, mask and seeds of some units, joined along the axis of members."""
        members = [(arms[name], self.seeds.index(seed)) for name, seed in units]
        names = members[0][0].start
        start = {n: torch.stack([arm.start[n][i] for arm, i in members]) for n in names}
        mask = Mask.cat([arm.mask.member(i) for arm, i in members])
        return start, mask, [seed for _, seed in units]

    def _key(self, treatment: str, level: int, seed: int, keep: Iterable[str]) -> str:
        # A dense network does not depend on how it will be pruned, so every way shares it.
        pruning_settings = self.settings if level else {}
        data = self.task.data
        return key(
            {
                "network": [self.task.network, self.task.width],
                "data": [data.name, data.fingerprint, data.split_seed],
                "images": [len(data.train), len(data.val), len(data.test)],
                "recipe": self.task.recipe,
                "generator": GENERATOR,
                "treatment": treatment,
                "level": level,
                "seed": seed,
                "keep": [str(step) for step in keep],
                "parent": self.parents[seed],
                **pruning_settings,
                **self._own(treatment),
            }
        )

    def _own(self, treatment: str) -> dict:
        """What a name does not say of a reader's own network or treatment."""
        own = {}
        if is_own(type(self.task.model)):
            own["model"] = repr(self.task.model)
        if treatment in controls.TREATMENTS and is_own(controls.by_name(treatment)):
            own["code"] = identity(controls.by_name(treatment))
        return own

    def _load(self, key: str, arm: Arm) -> Run | None:
        unit = self.store.load(key)
        if unit is None:
            return None
        self.seconds += unit.seconds
        device = self.task.data.train.labels.device
        weights = {at: {n: w.to(device) for n, w in s.items()} for at, s in unit.weights.items()}
        snapshots = {int(at): w for at, w in weights.items() if at != "end"}
        recipe, images = arm.recipe or self.task.recipe, len(self.task.data.train)

        def locate(step):
            return recipe.iteration(step, images)

        return Run(weights.get("end", {}), unit.history, snapshots, locate)

    def result(self, tickets: list[Ticket]) -> Lottery:
        """Everything that was trained, as tables."""
        everything = pd.concat(self.histories, ignore_index=True)[TABLE]
        during = everything.moment == "during"
        return Lottery(
            self.task,
            everything[~during].reset_index(drop=True),
            everything[during].reset_index(drop=True),
            tickets,
            self.seconds,
        )
