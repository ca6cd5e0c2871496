"""The training loop, and how several networks share a machine."""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lth_utils import models
from lth_utils.datasets import Dataset
from lth_utils.errors import InputError, unknown
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.recipes import Recipe, Step
from lth_utils.training import _dense, _sparse
from lth_utils.training._moving import Moving
from lth_utils.training._plain import Plain
from lth_utils.training._runs import Run
from lth_utils.training._watch import Engine, Watch

# Adam's averages of a gradient that has become exactly zero, as behind a dead unit, shrink until
# they are denormal numbers, on which a CPU is many times slower. Zero serves as well. Set on
# import because the threads of a pool inherit it from whoever starts them.
torch.set_flush_denormal(True)

STRETCH = 50
"""Iterations at most between two moments at which a training can be left and taken up again."""

CHECKPOINT_SECONDS = 60.0


class Checkpoint(Protocol):
    """A place for what an unfinished training needs to go on; see the store's."""

    def save(self, tensors: Mapping[str, Tensor], note: Mapping) -> None: ...

    def load(self) -> tuple[dict[str, Tensor], dict] | None: ...


def train(
    model: nn.Module,
    start: Weights,
    mask: Mask,
    data: Dataset,
    recipe: Recipe,
    seeds: Sequence[int],
    begin: Step | str | int = "0it",
    end: Step | str | int | None = None,
    keep: Iterable[Step | str | int] = (),
    copies: Sequence[int] | None = None,
    report: Sequence[str] = ("test",),
    progress: Callable[[int], None] | None = None,
    threads: int | None = None,
    checkpoints: Sequence[Checkpoint] | None = None,
    frozen: Mask | None = None,
) -> Run:
    """Train R members of a network, each with its own weights, mask and order of the data.

    Training continues the recipe at ``begin``: its rate schedule and its order of the data.
    Momentum starts at zero. A pruned weight is zero at the start and after every step, unless it
    is frozen: then it keeps the value that it has in ``start``, acts in the network and never
    moves.

    Args:
        model: the network, used as a function; its own weights play no part.
        start: weights to start from, tensors (R, \\*shape).
        mask: which weights each member keeps.
        data: the images; the validation split chooses the early stop, the splits in ``report``
            are looked at only there and at the end.
        recipe: how to train.
        seeds: one for each member; a seed names the order of the data.
        begin: where in the recipe to begin.
        end: where to stop; the recipe's end by default.
        keep: steps at which to keep a snapshot of the weights, for ``run.at[step]``.
        copies: a number for each member; members of one seed with different numbers see the data
            in different orders, with different augmentation. By default all are copy 0.
        report: splits to report on at the early stop and at the end.
        progress: called with the number of iterations just done, summed over members.
        threads: how many threads one network may use on a CPU. By default the members share
            all that PyTorch has.
        checkpoints: one for each member. What they hold is taken up where it was left, to the
            bit; once a minute, and when training is interrupted, they are written.
        frozen: which of the pruned weights each member freezes; none by default.

    Raises:
        InputError: weights, masks, seeds and steps do not fit each other, or a weight is both kept
            and frozen.
    """
    members, images = len(seeds), len(data.train)
    models.check_weights(model, start)
    for given in (mask, frozen) if frozen is not None else (mask,):
        given.check({n: tuple(start[n].shape[1:]) for n in models.prunable(model)}, members)
    if len(next(iter(start.values()))) != members:
        raise InputError(
            f"There are {members} seeds for {len(next(iter(start.values())))} sets of weights."
        )
    for name, given in (("copy numbers", copies), ("checkpoints", checkpoints)):
        if given is not None and len(given) != members:
            raise InputError(f"There are {len(given)} {name} for {members} seeds.")

    if data.is_text and (recipe.augment or models.is_stackable(model)):
        raise InputError(
            f"{data.title} is a text: train a network that reads text, such as transformer-2, by a "
            "recipe without augmentation."
        )

    locate = partial(recipe.iteration, images=images)
    first, last = locate(begin), locate("100%" if end is None else end)
    if first > last:
        raise InputError(f"Training would begin at iteration {first}, after its end at {last}.")
    kept_at = sorted({locate(step) for step in keep})
    if outside := [step for step in kept_at if not first <= step <= last]:
        raise InputError(f"Iteration {outside[0]} cannot be kept: training is {first} to {last}.")
    if strange := [split for split in report if split not in ("train", "val", "test")]:
        raise unknown("split", strange[0], ("train", "val", "test"))

    device = data.train.images.device
    mask, frozen = mask.to(device), None if frozen is None else frozen.to(device)
    if recipe.moves and frozen is not None and frozen.kept.any():
        raise InputError(
            "Where masks move, a pruned weight is zero and cannot be frozen; leave out one of them."
        )
    if frozen is not None and (mask & frozen).kept.any():
        raise InputError(
            "Only a pruned weight can be frozen, and some are kept by the mask; leave those out, "
            "as in frozen & ~mask."
        )
    job = Job(
        model=model,
        start={n: w.detach().to(device) for n, w in start.items()},
        mask=mask,
        data=data,
        recipe=recipe,
        seeds=tuple(seeds),
        copies=tuple(copies) if copies is not None else (0,) * members,
        first=first,
        last=last,
        kept_at=tuple(kept_at),
        report=tuple(report),
        locate=locate,
        frozen=frozen,
    )
    # On a CPU every network is one thread's work. No product is then cut in pieces, the members
    # need not wait for each other, and none depends on how many others there are. A GPU is filled
    # by all members together.
    alone = [job.member(i) for i in range(members)] if device.type == "cpu" else [job]
    places = checkpoints or ()
    courses = [
        _course(part, places if part is job else places[i : i + 1]) for i, part in enumerate(alone)
    ]
    return Run.cat(_side_by_side(courses, threads, progress))


@dataclass(frozen=True)
class Job:
    """A training of R members, checked and with every step an iteration."""

    model: nn.Module
    start: Weights
    mask: Mask
    data: Dataset
    recipe: Recipe
    seeds: tuple[int, ...]
    copies: tuple[int, ...]
    first: int
    last: int
    kept_at: tuple[int, ...]
    report: tuple[str, ...]
    locate: Callable[[Step | str | int], int]
    frozen: Mask | None = None

    @property
    def device(self) -> torch.device:
        return self.data.train.images.device

    @property
    def freezes(self) -> bool:
        """Whether any weight is frozen."""
        return self.frozen is not None and bool(self.frozen.kept.any())

    @property
    def moves(self) -> bool:
        """Whether the mask moves: the recipe says so, and something is pruned."""
        return self.recipe.moves is not None and bool((~self.mask).kept.any())

    def beginning(self) -> Weights:
        """The weights that training starts from: zero where pruned and not frozen."""
        acting = self.mask | self.frozen if self.freezes else self.mask
        return acting.apply(self.start)

    def member(self, i: int) -> Job:
        """The training of one member alone."""
        return replace(
            self,
            model=copy.deepcopy(self.model),  # its mode changes as it trains and is looked at
            start={name: w[i : i + 1] for name, w in self.start.items()},
            mask=self.mask.member(i),
            frozen=None if self.frozen is None else self.frozen.member(i),
            seeds=self.seeds[i : i + 1],
            copies=self.copies[i : i + 1],
        )

    def looks_at(self, iteration: int) -> bool:
        """Whether the validation set is looked at before this iteration."""
        every = self.recipe.cadence(len(self.data.train))
        return iteration % every == 0 or iteration == self.last

    def stops(self, after: int) -> list[int]:
        """The iterations after ``after`` before which there is something to do."""
        every = self.recipe.cadence(len(self.data.train))
        stretch = STRETCH if models.is_stackable(self.model) else STRETCH // 10
        regular = {*range(0, self.last, every), *range(0, self.last, stretch)}
        wanted = {self.first, *regular, *self.kept_at, self.last}
        return sorted(at for at in wanted if at > after and at >= self.first)


class Steps:
    """The bare steps of one training, for a stopwatch: nothing is looked at or kept.

    Called with a number, it takes as many steps, just as :func:`train` takes them; at the end of
    the recipe it begins with the first again.

    Args:
        model: the network, used as a function.
        start: weights to start from, tensors (1, \\*shape).
        mask: which of them are kept, one member.
        data: the images.
        recipe: how to train.
        seed: names the order of the data.

    Attributes:
        path: the way that is taken, as in the ``paths`` of a :class:`.Run`.
    """

    def __init__(
        self,
        model: nn.Module,
        start: Weights,
        mask: Mask,
        data: Dataset,
        recipe: Recipe,
        seed: int,
    ):
        images, device = len(data.train), data.train.images.device
        self._at, self._last = 0, recipe.iterations(images)
        job = Job(
            model=copy.deepcopy(model),
            start={n: w.detach().to(device) for n, w in start.items()},
            mask=mask.to(device),
            data=data,
            recipe=recipe,
            seeds=(seed,),
            copies=(0,),
            first=0,
            last=self._last,
            kept_at=(),
            report=(),
            locate=partial(recipe.iteration, images=images),
        )
        self._engine = _engine(job)
        self.path = self._engine.path

    def __call__(self, count: int) -> None:
        while count:
            until = min(self._at + count, self._last)
            self._engine.advance(self._at, until)
            count, self._at = count - (until - self._at), until % self._last

    @property
    def weights(self) -> Weights:
        """As they are now, tensors (1, \\*shape)."""
        return self._engine.weights


# One training -------------------------------------------------------------------------------------

Course = Generator[int, None, Run]
"""A training that pauses: it yields the iterations just done, and returns the run."""


def _course(job: Job, checkpoints: Sequence[Checkpoint]) -> Course:
    engine = _engine(job)
    progress = _Progress(job, engine)
    if checkpoints and progress.resume(checkpoints):
        yield (progress.at - job.first) * len(job.seeds)
    taken_up, written = progress.at, time.monotonic()
    try:
        for stop in job.stops(progress.handled):
            done = stop - progress.at
            if done:
                engine.advance(progress.at, stop)
            progress.reach(stop)
            if checkpoints and time.monotonic() - written > CHECKPOINT_SECONDS:
                progress.save(checkpoints)
                written = time.monotonic()
            yield done * len(job.seeds)
    except GeneratorExit:  # interrupted, between two steps
        if checkpoints and progress.at > taken_up:
            progress.save(checkpoints)
        raise
    return progress.run()


def _engine(job: Job) -> Engine:
    if _sparse.takes(job):
        engine = _sparse.Sparse(job)
    elif _dense.takes(job):
        engine = _dense.Dense(job)
    else:
        engine = Plain(job)
    return Moving(job, engine) if job.moves else engine


class _Progress:
    """How far one training has come, and what has been seen and kept on the way."""

    def __init__(self, job: Job, engine: Engine):
        self.job, self.engine = job, engine
        self.watch = Watch(engine, job.data, job.seeds, job.first)
        self.snapshots: dict[int, Weights] = {}
        self.masks: dict[int, Mask] = {}
        self.at = job.first
        self.handled = job.first - 1

    def reach(self, iteration: int) -> None:
        """Keep and look at what is wanted before ``iteration``."""
        self.at = self.handled = iteration
        if iteration in self.job.kept_at:
            self.snapshots[iteration] = self._copied()
            self.masks[iteration] = self.mask
        if self.job.looks_at(iteration):
            self.watch.validate(iteration)

    def run(self) -> Run:
        history = self.watch.report(self.job.last, self.job.report)
        paths = (self.engine.path,) * len(self.job.seeds)
        masks = self.masks | {self.job.last: self.mask}
        return Run(self._copied(), history, self.snapshots, self.job.locate, paths, masks)

    @property
    def mask(self) -> Mask:
        """What is kept at present."""
        return self.engine.mask if self.job.moves else self.job.mask

    def _copied(self) -> Weights:
        return {name: w.contiguous().clone() for name, w in self.engine.weights.items()}

    # Everything as tensors and a note, one set a member ------------------------------------------

    def save(self, checkpoints: Sequence[Checkpoint]) -> None:
        tensors = {f"engine.{n}": t for n, t in self.engine.state().items()}
        tensors |= {f"best.{n}": t for n, t in self.watch.best.items()}
        for at, weights in self.snapshots.items():
            tensors |= {f"snapshot.{at}.{n}": t for n, t in weights.items()}
        for at, mask in self.masks.items():
            tensors |= {f"mask.{at}.{n}": t for n, t in mask.items() if self.job.moves}
        parts = [tensors] if len(checkpoints) == 1 else _shared_out(tensors, len(checkpoints))
        for i, (checkpoint, part) in enumerate(zip(checkpoints, parts, strict=True)):
            note = {
                "path": self.engine.path,
                "at": self.at,
                "least": repr(self.watch.least[i].item()),  # which may be infinite
                "stop": self.watch.stop[i],
                "rows": [row[1:] for row in self.watch.rows if row[0] == i],
            }
            checkpoint.save(part, note)

    def resume(self, checkpoints: Sequence[Checkpoint]) -> bool:
        """Go on where all the members' checkpoints were written together, if they were."""
        found = [checkpoint.load() for checkpoint in checkpoints]
        if not all(found):
            return False
        parts, notes = zip(*found, strict=True)
        if {(note["path"], note["at"]) for note in notes} != {(self.engine.path, notes[0]["at"])}:
            return False
        tensors = parts[0] if len(parts) == 1 else _joined(parts)
        groups = {"engine": {}, "best": {}, "snapshot": {}, "mask": {}}
        for name, tensor in tensors.items():
            group, rest = name.split(".", 1)
            groups[group][rest] = tensor.to(self.job.device)
        self.engine.restore(groups["engine"])
        self.watch.best = groups["best"]
        for name, tensor in groups["snapshot"].items():
            at, rest = name.split(".", 1)
            self.snapshots.setdefault(int(at), {})[rest] = tensor
        for at in self.snapshots:
            if self.job.moves:
                self.masks[at] = Mask({n: groups["mask"][f"{at}.{n}"] for n in self.job.mask})
            else:
                self.masks[at] = self.job.mask
        self.watch.least = torch.tensor([float(n["least"]) for n in notes], dtype=torch.float64)
        self.watch.stop = [note["stop"] for note in notes]
        self.watch.rows = [(i, *row) for i, note in enumerate(notes) for row in note["rows"]]
        self.at = self.handled = notes[0]["at"]
        return True


# What has no axis of members, an optimiser's count of steps, is everyone's.


def _shared_out(tensors: Mapping[str, Tensor], members: int) -> list[dict[str, Tensor]]:
    return [
        {name: t[i : i + 1] if t.dim() else t for name, t in tensors.items()}
        for i in range(members)
    ]


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {
        name: torch.cat([part[name] for part in parts]) if t.dim() else t
        for name, t in parts[0].items()
    }


# Several trainings --------------------------------------------------------------------------------


def alongside(works: Sequence[Callable[[], Any]], threads: int) -> Iterator[tuple[int, Any]]:
    """Do pieces of work side by side on a CPU.

    Args:
        works: what to do.
        threads: how many of PyTorch's threads each may use.

    Yields:
        The number of a piece and what it gave, as they finish. What has not begun when the caller
        stops listening is left out.
    """
    cores = torch.get_num_threads()
    workers = max(1, min(len(works), cores // threads))
    pool = ThreadPoolExecutor(
        workers, "lth-aside", initializer=torch.set_num_threads, initargs=(threads,)
    )
    try:
        numbers = {pool.submit(work): number for number, work in enumerate(works)}
        for future in as_completed(numbers):
            yield numbers[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)


def _side_by_side(
    courses: Sequence[Course], threads: int | None, progress: Callable[[int], None] | None
) -> list[Run]:
    """Take trainings to their ends on as many threads as there are.

    They take turns, a stretch each, so that all end together and no core is idle before.
    """
    cores = torch.get_num_threads()
    each = threads or max(1, cores // len(courses))
    waiting = deque(enumerate(courses))
    runs: list[Run | None] = [None] * len(courses)
    halt, counting = threading.Event(), threading.Lock()

    def work() -> None:
        torch.set_num_threads(each)  # of this thread
        while not halt.is_set():
            try:
                number, course = waiting.popleft()
            except IndexError:  # the others have one each, and nobody waits
                return
            try:
                done = next(course)
            except StopIteration as end:
                runs[number] = end.value
                continue
            waiting.append((number, course))
            if progress and done:
                with counting:
                    progress(done)

    # The work is never done by the thread that calls: Ctrl-C reaches that one, wherever it is, and
    # would otherwise fall in the middle of a step.
    workers = max(1, min(len(courses), cores // each))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="lth-train")
    try:
        for future in as_completed([pool.submit(work) for _ in range(workers)]):
            future.result()
    finally:
        halt.set()
        pool.shutdown()
        torch.set_num_threads(cores)
        for course in courses:
            course.close()
    return runs
