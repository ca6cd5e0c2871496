"""The procedure, and what it gives back."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from safetensors.torch import save_file
from tqdm.auto import tqdm

from lth_utils import controls, costs, dynamic, models, pruning
from lth_utils.controls import Arm, Situation
from lth_utils.errors import InputError
from lth_utils.lottery._units import Bench, Comparison
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.pruning import Criterion
from lth_utils.recipes import Step
from lth_utils.store import Store, identity, is_own
from lth_utils.training import Run

if TYPE_CHECKING:
    from lth_utils.tasks import Task


CURVES = ("during", "line")
"""Moments whose rows are curves: along a training, and along a line between two networks."""


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
        curves: the same columns, for moment ``during``: validation at the recipe's cadence; and
            for moment ``line``, where copies were compared: the points between the two.
        tickets: one for each level from 1, each with R members.
        paths: how many trainings went which way: ``"dense"``, ``"sparse"`` and so on; see
            :mod:`lth_utils.training`.
        seconds: wall time of all these trainings, whether they were run now or before.
    """

    task: Task
    table: pd.DataFrame
    curves: pd.DataFrame
    tickets: list[Ticket]
    paths: Mapping[str, int] = field(compare=False)
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
    fractions: float | Mapping[str, float] | list[Mapping[str, float]] | None = None,
    scope: str | None = None,
    one_shot: bool = False,
    prune_at: str = "100%",
    between: Comparison | None = None,
    store: Store | None = None,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> Lottery:
    """Find tickets by pruning, and train each beside its controls.

    Pruning with fine-tuning is ``treatments=("fine-tune",)``.

    Args:
        task: at the scale to run, for instance ``lth.tasks.LENET_MNIST.at("live")``.
        levels: how many times to prune; the task's by default.
        seeds: one for each replicate; the task's by default.
        rewind: the step to which a ticket's weights are rewound.
        treatments: names in :data:`lth_utils.controls.TREATMENTS`, each alone, with a step of its
            own to be rewound to, as in ``"ticket @ 6%"``, or with names in
            :data:`lth_utils.controls.MODIFIERS` after commas, as in ``"reinit, same signs"``. The
            trained weights of the first are what is pruned next; the others are controls and
            decide nothing. Dense networks, as ``"dense @ 6%, copy"``, are trained once. With
            ``one_shot`` there may be none: then masks are found, and nothing else is trained.
        criterion: what decides which weights go, or its name.
        fractions: share of the remaining weights that a level removes, one number or one for each
            prunable tensor; or a list of these, one for each level. The task's by default.
        scope: how what is removed is divided among the layers, a name in
            ``pruning.SCOPES``; the task's by default.
        one_shot: prune every level's mask from the dense network, in one step. Each layer then
            keeps exactly as many weights as after so many levels of iterative pruning; with
            scope ``"global"`` their total is what layers would keep, and nearly the iterative one.
        prune_at: the step of each training at which the criterion looks at the weights, by default
            its end. At ``"0%"`` with ``one_shot`` networks are pruned at initialisation.
        between: what is measured between each treatment and its copy, as
            :class:`lth_utils.stability.Between` does, or between each and the dense network, as
            :class:`lth_utils.stability.ToDense` does.
        store: where finished units are kept; the default store if None.
        executor: where to train, one unit a call, as :mod:`lth_utils.executors` or any library
            makes it; by default here, on all cores or the GPU. Results do not depend on it.
        progress: whether to show a bar; by default unless ``LTH_PROGRESS`` is 0.

    Raises:
        InputError: an unknown treatment or criterion, negative levels, an impossible fraction.
    """
    store = store or Store()
    design = _Design.of(
        task, levels, seeds, rewind, treatments, criterion, fractions, scope, one_shot, prune_at
    )
    trainings = len(design.seeds) * sum(map(len, design.plan.values()))
    iterations = sum(design.iterations(name) for names in design.plan.values() for name in names)
    with tqdm(total=len(design.seeds) * iterations, **bar(progress)) as shown:
        bench = Bench(task, design.seeds, design.settings, store, executor, shown, between)
        try:
            tickets = _search(design, bench)
        except KeyboardInterrupt as stop:
            stop.add_note(stopped(bench.done, trainings, store))
            raise
    everything = bench.table()
    during = everything.moment.isin(CURVES)
    return Lottery(
        task,
        everything[~during].reset_index(drop=True),
        everything[during].reset_index(drop=True),
        tickets,
        dict(bench.paths),
        bench.seconds,
    )


def _search(design: _Design, bench: Bench) -> list[Ticket]:
    """Train, prune, rewind, repeat."""
    task, seeds = design.task, design.seeds
    start, mask = task.init(seeds), task.dense_mask(seeds)
    dense = found = bench.train({controls.DENSE: Arm(start, mask)}, 0, keep=design.kept_at(0))
    copies = {
        name: controls.by_name(name)(design.situation(start, dense, mask, dense, 0, None))
        for name in design.plan[0][1:]
    }
    if copies:
        bench.train(copies, 0)
    tickets, last = [], design.looked_at(dense)
    for level in range(1, design.levels + 1):
        if design.one_shot:
            found, mask = dense, task.dense_mask(seeds)
        # What an earlier level pruned was last trained then.
        last = {
            n: torch.where(mask[n], w, last[n]) if n in mask else w
            for n, w in design.looked_at(found).items()
        }
        mask = design.criterion(
            design.looked_at(found), mask, design.fractions_at(level), design.scope,
            start=start, seeds=seeds, level=level, task=task,
        )  # fmt: skip
        now = design.situation(start, dense, mask, found, level, last)
        arms = {name: controls.by_name(name)(now) for name in design.plan[level]}
        ticket = Ticket(level, now.rewound, mask, design.rewind)
        if not arms:
            tickets.append(ticket)
            continue
        chain = next(iter(arms))
        if arms[chain].mask != mask:
            raise InputError(
                f"{chain!r} trains under another mask than the one that was found, so "
                "it cannot be what is pruned next; name another treatment first."
            )
        before = bench.parents
        found = bench.train(arms, level, keep=design.kept_at(level))
        if design.one_shot:
            bench.parents = before  # the next level's mask, too, comes from the dense network
        tickets.append(ticket)
    return tickets


def predict(
    task: Task,
    levels: int | None = None,
    seeds: Sequence[int] | None = None,
    rewind: str = "0it",
    treatments: Sequence[str] = ("ticket", "reinit", "random mask"),
    criterion: Criterion | str = pruning.magnitude,
    fractions: float | Mapping[str, float] | list[Mapping[str, float]] | None = None,
    scope: str | None = None,
    one_shot: bool = False,
    prune_at: str = "100%",
    between: Comparison | None = None,
    store: Store | None = None,
) -> float:
    """Seconds that :func:`imp` will take here for the same arguments, from a few iterations run
    now. What is stored already takes none."""
    design = _Design.of(
        task, levels, seeds, rewind, treatments, criterion, fractions, scope, one_shot, prune_at
    )
    store = store or Store()
    bench = Bench(task, design.seeds, design.settings, store, None, None, between)
    keys = bench.keys(design.plan, design.kept, design.one_shot)
    missing = Counter(
        (level, design.iterations(name))
        for (level, name, _), key in keys.items()
        if key not in store
    )
    every = task.recipe.cadence(len(task.data.train))
    members = min(len(design.seeds), 5)
    total, measured = 0.0, 2.0
    for (level, iterations), count in sorted(missing.items()):
        if design.density(level) < 0.7 * measured:  # a sparser network may train faster
            measured = design.density(level)
            iteration, look = costs.pace(task, measured, members)
        total += count * (iterations * iteration + (-(-iterations // every) + 4) * look)
    if unmeasured := sum(key not in store for key in bench.pairs(keys)):
        _, look = costs.pace(task, 1.0, members)
        total += unmeasured * look * between.images(task) / len(task.data.val)
    return total


@dataclass(frozen=True)
class _Design:
    """What is to be trained, checked before anything is."""

    task: Task
    levels: int
    seeds: tuple[int, ...]
    rewind: str
    steps: tuple[str, ...]
    """All steps that a treatment is rewound to, the usual one first."""
    criterion: Criterion
    fractions: float | Mapping[str, float] | list[Mapping[str, float]]
    """For each level its own, where it is a list."""
    scope: str
    one_shot: bool
    prune_at: str | None
    """The step at which weights are looked at; None for the end."""
    settings: Mapping
    """What of this a unit's key has to say."""
    plan: Mapping[int, Sequence[str]]
    """The treatments of each level, the one that is pruned next first; level 0 is dense."""

    @classmethod
    def of(
        cls,
        task: Task,
        levels: int | None,
        seeds: Sequence[int] | None,
        rewind: str,
        treatments: Sequence[str],
        criterion: Criterion | str,
        fractions: float | Mapping[str, float] | None,
        scope: str | None,
        one_shot: bool = False,
        prune_at: str = "100%",
    ) -> _Design:
        if task.supermask:
            raise InputError(
                f"Task {task.name} trains masks, which is what lth.supermasks.learn(task) does."
            )
        levels = task.levels if levels is None else levels
        if levels < 0:
            raise InputError(f"The number of levels is 0 or more; got {levels}.")
        seeds = task.seeds if seeds is None else tuple(map(int, seeds))
        if not seeds or len(set(seeds)) != len(seeds):
            raise InputError(f"Replicates need different seeds, at least one; got {list(seeds)}.")
        if not treatments and not one_shot:
            raise InputError("Name at least one treatment; the first is the one pruned further.")
        for name in treatments:
            controls.by_name(name)
            original = controls.original_of(name)
            if original and not controls.is_dense(name) and original not in treatments:
                raise InputError(f"{name!r} is compared with {original!r}; name that as well.")
        first = treatments[0] if treatments else ""
        if first and (controls.original_of(first) or controls.is_dense(first)):
            raise InputError(
                f"{first!r} cannot be what is pruned next; name another treatment first."
            )
        if isinstance(criterion, str):
            criterion = pruning.by_name(criterion)
        if fractions is None:
            fractions = task.fractions
            if not isinstance(task.stride, int):
                fractions = [task.fractions_at(level) for level in range(1, levels + 1)]
        scope = scope or task.scope
        if isinstance(fractions, list) and len(fractions) < levels:
            raise InputError(
                f"There are fractions for {len(fractions)} levels, not for {levels}; give one "
                "number for all, or more of them."
            )
        for each in fractions if isinstance(fractions, list) else [fractions]:
            pruning.check(task.dense_mask(seeds[:1]), each, scope)
        images = len(task.data.train)
        looked = task.recipe.iteration(prune_at, images)
        at = None if looked == task.iterations else str(Step.of(prune_at))
        begin = controls.step_of(first) or rewind if first else "0it"
        if not one_shot and looked < task.recipe.iteration(begin, images):
            raise InputError(
                f"At step {prune_at} a network rewound to {begin} has not begun to train; prune "
                "later, rewind further, or prune one-shot."
            )
        rounds = getattr(criterion, "rounds", 1)
        settings = {
            "chain": first,
            "criterion": identity(criterion.scores),
            "fractions": fractions,
            "scope": scope,
            "rewind": str(rewind),
            **({"one shot": "exact"} if one_shot else {}),
            **({"prune at": at} if at else {}),
            # A reader's own criterion may get other rounds under the same name.
            **({"rounds": rounds} if is_own(criterion.scores) and rounds > 1 else {}),
        }
        sparse = [name for name in treatments if not controls.is_dense(name)]
        plan = {level: task.arms_at(level, levels, sparse) for level in range(1, levels + 1)}
        # The dense network itself is there anyway.
        dense = [n for n in treatments if controls.is_dense(n) and n != controls.DENSE]
        named = [step for name in treatments if (step := controls.step_of(name))]
        steps = tuple(dict.fromkeys([str(rewind), *named]))
        return cls(
            task, levels, seeds, str(rewind), steps, criterion, fractions, scope, one_shot,
            at, settings, {0: [controls.DENSE, *dense], **plan},
        )  # fmt: skip

    def situation(
        self, start: Weights, dense: Run, mask: Mask, found: Run, level: int, last: Weights | None
    ) -> Situation:
        """What is at hand when a level has just been pruned."""
        return Situation(
            mask=mask,
            start=start,
            rewound=dense.at[self.rewind],
            rewind=self.rewind,
            trained=self.looked_at(found),
            recipe=self.task.recipe,
            seeds=self.seeds,
            level=level,
            draw=self.task.init,
            deviation=getattr(self.task.model, "deviation", models.glorot_normal),
            last=last,
            at=dense.at.__getitem__,
        )

    @property
    def kept(self) -> dict[int, tuple[str, ...]]:
        """The steps that the network that is pruned next keeps, by level."""
        return {level: self.kept_at(level) for level in self.plan}

    def kept_at(self, level: int) -> tuple[str, ...]:
        """The steps that the network of a level keeps, if it is pruned next."""
        looked = (self.prune_at,) if self.prune_at else ()
        if level == 0:
            return tuple(dict.fromkeys([*self.steps, *looked]))
        return () if self.one_shot else looked

    def looked_at(self, found: Run) -> Weights:
        """The weights that the criterion looks at."""
        return found.at[self.prune_at] if self.prune_at else found.weights

    def shares_at(self, level: int) -> dict[str, float]:
        """Share of the remaining weights that one level removes of each layer."""
        each = self.fractions[level - 1] if isinstance(self.fractions, list) else self.fractions
        return pruning.check(self.task.dense_mask(self.seeds[:1]), each, self.scope)

    def fractions_at(self, level: int) -> float | Mapping[str, float]:
        """What pruning removes at a level: one-shot, as much as all levels so far."""
        if not self.one_shot:
            return self.shares_at(level)
        fractions = {}
        for name, kept in self._kept_after(level).items():
            size = math.prod(self.task.dense_mask(self.seeds[:1]).shapes[name])
            fractions[name] = 1 - kept / size
        return fractions

    def iterations(self, treatment: str) -> int:
        """Length of a treatment's training, from where it begins."""
        if not controls.is_trained(treatment):
            return 0
        begin = controls.step_of(treatment) or "0it"
        whole = dynamic.times_as_long(treatment) * self.task.iterations
        return whole - self.task.recipe.iteration(begin, len(self.task.data.train))

    def density(self, level: int) -> float:
        """Share of the prunable weights that is kept at a level."""
        return sum(self._kept_after(level).values()) / self.task.dense_mask(self.seeds[:1]).size

    def _kept_after(self, level: int) -> dict[str, int]:
        """Weights that each layer would keep by its own fraction, rounded at every level."""
        kept = {name: each.numel() for name, each in self.task.dense_mask(self.seeds[:1]).items()}
        for each in range(1, level + 1):
            shares = self.shares_at(each)
            kept = {name: n - round(shares[name] * n) for name, n in kept.items()}
        return kept


def bar(progress: bool | None) -> dict:
    """How a procedure's progress bar looks, and whether there is one."""
    if progress is None:
        progress = os.environ.get("LTH_PROGRESS", "1") != "0"
    return {"disable": not progress, "unit": "it", "unit_scale": True, "leave": False}


def stopped(done: int, trainings: int, store: Store) -> str:
    """What to say to someone who has stopped a procedure."""
    return (
        f"Stopped: {done} of {trainings} trainings are finished and stored in {store.root}. The "
        "same again goes on from there."
    )
