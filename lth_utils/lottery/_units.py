"""The units of a study: what each is called, where it is trained, and that it is kept."""

from __future__ import annotations

import copy
import functools
import os
import pickle
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol

import cloudpickle
import pandas as pd
import torch
from tqdm import tqdm

from lth_utils import controls, costs, models
from lth_utils.controls import Arm
from lth_utils.errors import DataError, InputError
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.randomness import GENERATOR
from lth_utils.store import NUMERICS, Store, Unit, identity, is_own, key, portrait
from lth_utils.training import Run, alongside, train

if TYPE_CHECKING:
    from lth_utils.tasks import Task

TABLE = [
    "study", "treatment", "level", "density", "replicate",
    "moment", "step", "split", "metric", "value",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Wanted:
    """One unit that a study needs: a replicate of a treatment of a level."""

    treatment: str
    seed: int
    settings: Mapping
    key: str
    arm: Arm
    """Its own weights and mask, R = 1."""
    is_chain: bool
    """Whether the next level is pruned from its weights."""
    is_kept: bool
    """Whether anybody will ask for its trained weights."""
    iterations: int
    """Length of its training."""
    keep: tuple[str, ...] = ()
    """Steps whose weights are kept."""


class Comparison(Protocol):
    """What is measured between two networks; see :class:`lth_utils.stability.Between`.

    Part of the key of what it finds, so a frozen dataclass.
    """

    against: str
    """What each treatment is compared with, its ``"copy"`` or the ``"dense"`` network."""

    def __call__(self, task: Task, one: Weights, other: Weights, seed: int) -> pd.DataFrame:
        """Rows as a training's history has them, for one pair (R = 1)."""

    def images(self, task: Task) -> int:
        """How many images that looks at, from which its duration is predicted."""


class Bench:
    """Where the arms of a level are trained, and what has been trained is kept."""

    def __init__(
        self,
        task: Task,
        seeds: Sequence[int],
        settings: Mapping,
        store: Store,
        executor: Executor | None,
        bar: tqdm | None,
        between: Comparison | None = None,
    ):
        self.task, self.seeds, self.settings, self.store = task, seeds, settings, store
        self.executor, self.bar, self.between = executor, bar, between
        self.parents = dict.fromkeys(seeds)
        self.dense: dict[int, tuple[str, Weights]] = {}
        self.histories: list[pd.DataFrame] = []
        self.paths: Counter[str] = Counter()
        self.seconds = 0.0
        # Of the study's own making: a unit that is trained alone because the others are there
        # already must not come out differently.
        self.threads = max(1, torch.get_num_threads() // len(seeds))

    @property
    def done(self) -> int:
        """How many units are finished, now or before."""
        return sum(self.paths.values())

    def train(self, arms: Mapping[str, Arm], level: int, keep: Iterable[str] = ()) -> Run | None:
        """Train every arm for every seed; give back the first arm, the parent of what follows, if
        it is one, with its weights at the steps in ``keep``. With ``between``, networks are then
        compared."""
        self.bar.set_description(f"level {level}")
        keep = tuple(map(str, keep))
        wanted = list(self._wanted(arms, level, keep))
        runs: dict[Wanted, Run] = {}

        def arrived(unit: Wanted, run: Run) -> None:
            runs[unit] = run
            self.paths.update(run.paths)

        compute = self._here if self.executor is None else self._elsewhere
        while missing := [unit for unit in wanted if unit not in runs]:
            for unit in missing:
                if (run := self._load(unit)) is not None:
                    self.bar.update(unit.iterations)
                    arrived(unit, run)
            missing = [unit for unit in missing if unit not in runs]
            # Closed whatever happens: it holds the locks of what it computes.
            with closing(compute(missing)) as trained:
                for unit, run in trained:
                    arrived(unit, run)
            # The rest is being computed by another process: it is waited for, holding nothing.
            if others := [unit for unit in missing if unit not in runs]:
                self.store.wait(others[0].key)

        for unit in wanted:
            labelled = self._labelled(
                runs[unit].history, unit.treatment, level, unit.arm, unit.seed
            )
            self.histories.append(labelled)
        self._compare({(u.treatment, u.seed): (u, runs[u].weights) for u in wanted}, level)
        chain = [unit for unit in wanted if unit.is_chain]
        if not chain:
            return None
        self.parents = {unit.seed: unit.key for unit in chain}
        if level == 0:
            self.dense = {unit.seed: (unit.key, runs[unit].weights) for unit in chain}
        return Run.cat([runs[unit] for unit in chain])

    def table(self) -> pd.DataFrame:
        """Everything that was trained."""
        return pd.concat(self.histories, ignore_index=True)[TABLE]

    def keys(
        self,
        plan: Mapping[int, Sequence[str]],
        keep: Mapping[int, Sequence[str]] | None = None,
        one_shot: bool = False,
    ) -> dict[tuple[int, str, int], str]:
        """The key of every unit of a plan, by level, treatment and seed: known before any is
        trained, for a key says what was done and not what came of it. At each level the network
        that is pruned next keeps the steps in ``keep``."""
        keys, before = {}, self.parents
        for level, names in plan.items():
            # What follows at level 0 are copies of the dense network, whose parent that is.
            for part in (names[:1], names[1:]) if level == 0 else (names,):
                chain, compared = next(iter(names), None), self._compared(part)
                for name in part:
                    for seed in self.seeds:
                        kept = (keep or {}).get(level, ()) if name == chain else ()
                        is_side = name in compared and name != chain
                        settings = self._settings(name, level, seed, kept, is_side)
                        keys[level, name, seed] = key(settings)
                if chain in part and (level == 0 or not one_shot):
                    self.parents = {seed: keys[level, chain, seed] for seed in self.seeds}
        self.parents = before
        return keys

    def pairs(self, keys: Mapping[tuple[int, str, int], str]) -> Iterator[str]:
        """The keys of what is measured between copies, of a plan with these keys."""
        for (level, name, seed), own in keys.items():
            if self.between is not None and (other := self._other(name)):
                at = 0 if other == controls.DENSE else level
                yield key(self._pair(keys[at, other, seed], own))

    # What is wanted -----------------------------------------------------------------------------

    def _wanted(self, arms: Mapping[str, Arm], level: int, keep: Sequence[str]) -> Iterator[Wanted]:
        first, images = next(iter(arms)), len(self.task.data.train)
        compared = self._compared(arms)
        for treatment, arm in arms.items():
            recipe = arm.recipe or self.task.recipe
            iterations = recipe.iterations(images) - recipe.iteration(arm.begin, images)
            # Other dense networks part from the dense one, and are not what is pruned.
            is_chain = treatment == first and (
                first == controls.DENSE or not controls.is_dense(first)
            )
            is_side = treatment in compared and not is_chain
            for i, seed in enumerate(self.seeds):
                kept = tuple(keep) if is_chain else ()
                settings = self._settings(treatment, level, seed, kept, is_side)
                yield Wanted(
                    treatment, seed, settings, key(settings), arm.member(i), is_chain,
                    is_chain or is_side, iterations, kept,
                )  # fmt: skip

    def _compared(self, names: Iterable[str]) -> set[str]:
        """The treatments whose weights are compared, with a copy, as which it has its name, or
        with the dense network."""
        if self.between is None:
            return set()
        if self.between.against == controls.DENSE:
            return set(names)
        pairs = {name: original for name in names if (original := controls.original_of(name))}
        return {*pairs, *pairs.values()}

    def _settings(
        self, treatment: str, level: int, seed: int, keep: Sequence[str], is_side: bool = False
    ) -> dict:
        # A dense network does not depend on how it will be pruned, so every way shares it.
        pruning_settings = self.settings if level else {}
        parted = controls.is_dense(treatment) and treatment != controls.DENSE
        data, network = self.task.data, models.called(self.task.network)
        return {
            "network": [network, self.task.width, *self._extras("dropout", "supermask")],
            "data": [data.name, data.fingerprint, data.split_seed],
            "images": [len(data.train), len(data.val), len(data.test)],
            "recipe": self.task.recipe,
            "generator": GENERATOR,
            "treatment": treatment,
            "level": level,
            "seed": seed,
            "keep": list(keep),
            "parent": self.parents[seed],
            **pruning_settings,
            **self._own(controls.parts(treatment) if level or parted else ()),
            **({"weights": "kept"} if is_side else {}),
            **({"report": self.task.report} if self.task.report != ("test",) else {}),
        }

    def _extras(self, *names: str) -> list:
        """What most tasks do not have, where this one has it; so their keys stay as they were."""
        return [[name, getattr(self.task, name)] for name in names if getattr(self.task, name)]

    def _own(self, parts: Sequence[Callable]) -> dict:
        """What a name does not say of a reader's own network or parts of a treatment."""
        own = {}
        if is_own(type(self.task.model)) or not isinstance(self.task.network, str):
            own["model"] = [repr(self.task.model), portrait(self.task.model)]
        if code := [identity(part) for part in parts if is_own(part)]:
            own["code"] = " ".join(code)
        return own

    # A network and its copy ----------------------------------------------------------------------

    def _compare(
        self, trained: Mapping[tuple[str, int], tuple[Wanted, Weights]], level: int
    ) -> None:
        """Measure between the networks of each pair; what was measured before is read."""
        pairs = list(self._paired(trained))
        found = [self.store.load(key(settings)) for _, _, settings, _ in pairs]
        missing = [i for i, unit in enumerate(found) if unit is None]
        works = [partial(self._measure, *pairs[i]) for i in missing]
        on_cpu = self.task.data.train.labels.device.type == "cpu"
        for number, unit in alongside(works, self.threads if on_cpu else torch.get_num_threads()):
            self.store.save(key(unit.settings), unit)
            found[missing[number]] = unit
        for (wanted, _, _, _), unit in zip(pairs, found, strict=True):
            self.seconds += unit.seconds
            name = controls.original_of(wanted.treatment) or wanted.treatment
            rows = self._labelled(unit.history, name, level, wanted.arm, wanted.seed)
            self.histories.append(rows)

    def _paired(
        self, trained: Mapping[tuple[str, int], tuple[Wanted, Weights]]
    ) -> Iterator[tuple[Wanted, Weights, dict, Weights]]:
        """Each network that is compared, with its weights, what says all of the comparison, and
        the other weights."""
        if self.between is None:
            return
        for (name, seed), (unit, weights) in trained.items():
            other = self._other(name)
            if other == controls.DENSE:
                other_key, other_weights = self.dense[seed]
            elif other:
                other_key, other_weights = trained[other, seed][0].key, trained[other, seed][1]
            else:
                continue
            yield unit, weights, self._pair(other_key, unit.key), other_weights

    def _other(self, name: str) -> str | None:
        """The treatment that one is compared with, if any."""
        if self.between.against == controls.DENSE:
            return controls.DENSE if name != controls.DENSE else None
        original = controls.original_of(name)
        # The dense network goes on, and its copy leaves it.
        return controls.DENSE if original and controls.is_dense(original) else original

    def _measure(self, wanted: Wanted, weights: Weights, settings: dict, other: Weights) -> Unit:
        own = copy.copy(self.task)
        # Others are measured side by side, and the mode of a model changes.
        vars(own).update(data=self.task.data, model=copy.deepcopy(self.task.model))
        began = time.perf_counter()
        history = self.between(own, other, weights, wanted.seed)
        provenance = {
            "path": "between",
            "threads": self.threads,
            **_where(self.task.data.train.labels.device),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return Unit(history, {}, time.perf_counter() - began, settings, provenance)

    def _pair(self, one: str, other: str) -> dict:
        """What says all of a comparison of two units, by their keys."""
        return {"between": [one, other], "measured": self.between}

    def _labelled(
        self, history: pd.DataFrame, treatment: str, level: int, arm: Arm, seed: int
    ) -> pd.DataFrame:
        return history.assign(
            study=self.task.name,
            treatment=treatment,
            level=level,
            density=arm.mask.density.item(),
            replicate=seed,
        )

    # What is there ------------------------------------------------------------------------------

    def _load(self, wanted: Wanted) -> Run | None:
        unit = self.store.load(wanted.key)
        if unit is None:
            return None
        self.seconds += unit.seconds
        device = self.task.data.train.labels.device
        weights = {at: _on(device, w) for at, w in unit.weights.items()}
        snapshots = {int(at): w for at, w in weights.items() if at != "end"}
        recipe, images = wanted.arm.recipe or self.task.recipe, len(self.task.data.train)
        locate = partial(recipe.iteration, images=images)
        paths = (unit.provenance["path"],)
        return Run(weights.get("end", {}), unit.history, snapshots, locate, paths)

    def _keep(self, wanted: Wanted, run: Run, seconds: float, where: Mapping | None = None) -> None:
        # A control decides nothing, so nobody will ask for its weights.
        weights = {}
        if wanted.is_kept:
            weights = {"end": run.weights} | {str(at): w for at, w in run.snapshots.items()}
        provenance = {
            "path": run.paths[0],
            "threads": self.threads,
            **(where or _where(self.task.data.train.labels.device)),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        unit = Unit(run.history, weights, seconds, wanted.settings, provenance)
        self.store.save(wanted.key, unit)
        self.store.checkpoint(wanted.key).clear()
        self.seconds += seconds

    # Trained here, as populations ---------------------------------------------------------------

    def _here(self, missing: Sequence[Wanted]) -> Iterator[tuple[Wanted, Run]]:
        for piece in self._pieces(missing):
            with self.store.claim([unit.key for unit in piece]) as claim:
                mine = []
                for unit in piece:
                    if unit.key not in claim.keys:
                        continue
                    if (run := self._load(unit)) is not None:  # finished since we looked
                        self.bar.update(unit.iterations)
                        yield unit, run
                    else:
                        mine.append(unit)
                if mine:
                    yield from self._together(mine)

    def _pieces(self, missing: Sequence[Wanted]) -> Iterator[list[Wanted]]:
        """Populations of what is trained alike, of a size that the machine likes and can hold."""
        alike = defaultdict(list)
        for unit in missing:
            alike[unit.arm.begin, unit.arm.recipe, unit.arm.frozen is None, unit.keep].append(unit)
        for units in alike.values():
            size = costs.members_at_once(self.task, len(units[0].keep))
            for at in range(0, len(units), size):
                yield units[at : at + size]

    def _together(self, units: Sequence[Wanted]) -> Iterator[tuple[Wanted, Run]]:
        arms, began = [unit.arm for unit in units], time.perf_counter()
        freezes = arms[0].frozen is not None
        run = self.task.train(
            {n: torch.cat([arm.start[n] for arm in arms]) for n in arms[0].start},
            Mask.cat([arm.mask for arm in arms]),
            [unit.seed for unit in units],
            arms[0].begin,
            keep=units[0].keep,
            recipe=arms[0].recipe,
            progress=self.bar.update,
            threads=self.threads,
            copies=[arm.copy for arm in arms],
            checkpoints=[self.store.checkpoint(unit.key) for unit in units],
            frozen=Mask.cat([arm.frozen for arm in arms]) if freezes else None,
        )
        seconds = (time.perf_counter() - began) / len(units)
        for i, unit in enumerate(units):
            self._keep(unit, run.member(i), seconds)
            yield unit, run.member(i)

    # Trained elsewhere, one by one ----------------------------------------------------------------

    def _elsewhere(self, missing: Sequence[Wanted]) -> Iterator[tuple[Wanted, Run]]:
        with self.store.claim([unit.key for unit in missing]) as claim:
            mine = []
            for unit in missing:
                if unit.key not in claim.keys:
                    continue
                if (run := self._load(unit)) is not None:
                    self.bar.update(unit.iterations)
                    yield unit, run
                else:
                    mine.append(unit)
            parcel = cloudpickle.dumps((NUMERICS, self.task, self.task.data.fingerprint))
            model = copy.deepcopy(self.task.model).cpu()  # a worker may have no GPU
            waiting: dict[Future, Wanted] = {}
            try:
                for unit in mine:
                    arm = unit.arm.to("cpu")
                    work = cloudpickle.dumps((model, arm, unit.seed, unit.keep, self.threads))
                    waiting[self.executor.submit(train_one, parcel, work)] = unit
                for future in as_completed(list(waiting)):
                    run = self._receive(waiting[future], future)
                    unit = waiting.pop(future)
                    self.bar.update(unit.iterations)
                    yield unit, run
            except BrokenExecutor as error:
                raise InputError(
                    "A worker process has died, for want of memory perhaps; what was finished is "
                    "stored. Start again with fewer workers, and it goes on from there."
                ) from error
            finally:
                # One unit's failure, or Ctrl-C, is no reason to lose another that is finished.
                for future, unit in waiting.items():
                    is_good = not future.cancel() and future.done() and not future.exception()
                    if is_good and unit.key not in self.store:
                        self.paths.update(self._receive(unit, future).paths)

    def _receive(self, unit: Wanted, future: Future) -> Run:
        run, seconds, where = pickle.loads(future.result())
        self._keep(unit, run, seconds, where)
        return _run_on(self.task.data.train.labels.device, run)


def train_one(parcel: bytes, work: bytes) -> bytes:
    """Train one unit, in whatever process this is.

    What comes and goes is bytes: a network from a notebook travels whole and not by name, and no
    tensor goes through shared memory, of which a container has little.

    Args:
        parcel: the task, and what a worker must agree on; alike for all units of a study.
        work: the network and what to train; see the caller.

    Returns:
        The run, on the CPU; the seconds that it took; and where it was trained.

    Raises:
        DataError: the data here are not the caller's.
        InputError: this package is of another version here, or the network's code is not here.
    """
    # Set for the thread that imports PyTorch and those that it starts; this may be neither.
    torch.set_flush_denormal(True)
    task = _task(parcel)
    model, arm, seed, keep, threads = _loads(work)
    device = task.data.train.labels.device
    began = time.perf_counter()
    run = train(
        model.to(device), arm.start, arm.mask, task.data, arm.recipe or task.recipe, [seed],
        arm.begin, keep=keep, copies=[arm.copy], threads=threads, report=task.report,
        frozen=arm.frozen,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    return pickle.dumps((_run_on("cpu", run), seconds, _where(device)))


@functools.lru_cache(maxsize=1)
def _task(parcel: bytes) -> Task:
    """The task, with its data as this machine has it; kept, so that it is loaded once."""
    numerics, task, fingerprint = _loads(parcel)
    if numerics != NUMERICS:
        raise InputError(
            "A worker has another version of lth_utils than the process that it works for; "
            "install the same for both."
        )
    if task.data.fingerprint != fingerprint:
        raise DataError(
            f"A worker found other data ({task.data.source}) than the process that it works for; "
            "set LTH_DATA alike for both."
        )
    return task


def _loads(data: bytes):
    try:
        return pickle.loads(data)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"A worker lacks code that this study needs ({error}); install it where workers run."
        ) from error


def _where(device: torch.device) -> dict:
    """What provenance says of a process that trains."""
    return {"device": device.type, "torch": torch.__version__, "process": os.getpid()}


def _on(device: torch.device | str, weights: Weights) -> Weights:
    return {name: w.to(device) for name, w in weights.items()}


def _run_on(device: torch.device | str, run: Run) -> Run:
    snapshots = {at: _on(device, w) for at, w in run.snapshots.items()}
    masks = {at: mask.to(device) for at, mask in run.masks.items()}
    return replace(run, weights=_on(device, run.weights), snapshots=snapshots, masks=masks)
