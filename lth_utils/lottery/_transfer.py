"""Tickets found on one task and trained on another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm.auto import tqdm

from lth_utils import controls, costs, models, transplants
from lth_utils.controls import Arm, Situation
from lth_utils.errors import InputError
from lth_utils.lottery._imp import CURVES, Lottery, Ticket, _Design, bar, imp, predict, stopped
from lth_utils.lottery._units import Bench
from lth_utils.store import Store

if TYPE_CHECKING:
    from lth_utils.tasks import Task

NATIVE = "native"
"""The ticket that was found on the task itself."""

TREATMENTS = ("ticket", "reinit", "random mask")


def transfer(
    task: Task,
    source: Task | Mapping[str, Any],
    levels: int | None = None,
    seeds: Sequence[int] | None = None,
    treatments: Sequence[str] = TREATMENTS,
    rewind: str = "0it",
    head: str = "new",
    grown: str = "copies",
    native: bool = True,
    store: Store | None = None,
    executor: Executor | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Lottery:
    """Find tickets on a source, and train them on a task beside controls and the task's own.

    Both tasks find tickets by :func:`imp`, so what either has found before is read. What was found
    on the source is moved to the task's network and trained by the task's **whole** recipe; the
    treatments are what it is compared with, made of the ticket that has arrived. Followed by
    ``", moved"``, a control is made on the source's network and then moved as the ticket is:
    ``"random mask, moved"``.

    Args:
        task: what the tickets are trained on, at the scale to run.
        source: what they are found on: a task, or how it differs from ``task``, as in
            ``{"dataset": "mnist"}`` or ``{"classes": (0, 1, 2, 3, 4)}``.
        levels: how many times the source is pruned; the task's by default. What is moved is trained
            at the task's ``control_levels``.
        seeds: one for each replicate; the task's by default. A replicate has the same seed on both
            sides, so that networks of one shape begin as the same network.
        treatments: ``"ticket"`` is the source's; besides, names in
            :data:`lth_utils.controls.TREATMENTS` and modifiers that ask for nothing but a mask and
            a start.
        rewind: the step to which tickets are rewound, on either side.
        head: ``"new"``: the output layer is drawn anew and keeps all its connections, as where
            classes differ; or ``"kept"``. Prune the output layer of neither task, and their own
            tickets keep all of theirs as well.
        grown: how a ticket becomes larger where the task's network is; see
            :func:`lth_utils.transplants.fit`.
        native: whether the task finds tickets of its own, which the table calls ``"native"``.
        store: as in :func:`imp`.
        executor: as in :func:`imp`.
        progress: as in :func:`imp`.
        **options: of :func:`imp`, for both sides: criterion, scope, fractions, one_shot, prune_at.

    Returns:
        As :func:`imp` gives it, of the task: ``"dense"``, ``"native"`` and the treatments. Its
        tickets are those that have arrived.

    Raises:
        InputError: the tasks' images differ in shape, a treatment needs what a ticket on its own
            does not have, or as :func:`imp` and :func:`lth_utils.transplants.fit`.
    """
    store = store or Store()
    move = _Move.of(task, source, levels, seeds, treatments, rewind, head, grown, options)
    common = {"seeds": move.seeds, "rewind": rewind, "store": store, "executor": executor,
              "progress": progress, **options}  # fmt: skip
    found = imp(move.source, levels=levels, treatments=("ticket",), **common)
    own = imp(task, levels=levels if native else 0, treatments=("ticket",), **common)
    count = len(move.seeds) * len(move.names) * len(move.levels)
    with tqdm(total=count * task.iterations, **bar(progress)) as shown:
        bench = Bench(task, move.seeds, move.settings, store, executor, shown)
        arrived = []
        try:
            for level in move.levels:
                bench.parents = move.parents[level]
                ticket = move.ticket(found.tickets[level - 1])
                bench.train(move.arms(found.tickets[level - 1], ticket), level)
                arrived.append(ticket)
        except KeyboardInterrupt as stop:
            stop.add_note(stopped(bench.done, count, store))
            raise
    everything = bench.table()
    during = everything.moment.isin(CURVES)
    tables = own.table.replace({"treatment": {"ticket": NATIVE}}), everything[~during]
    curves = own.curves.replace({"treatment": {"ticket": NATIVE}}), everything[during]
    return Lottery(
        task,
        pd.concat(tables, ignore_index=True),
        pd.concat(curves, ignore_index=True),
        arrived,
        dict(Counter(found.paths) + Counter(own.paths) + bench.paths),
        found.seconds + own.seconds + bench.seconds,
    )


def predict_transfer(
    task: Task,
    source: Task | Mapping[str, Any],
    levels: int | None = None,
    seeds: Sequence[int] | None = None,
    treatments: Sequence[str] = TREATMENTS,
    rewind: str = "0it",
    head: str = "new",
    grown: str = "copies",
    native: bool = True,
    store: Store | None = None,
    **options: Any,
) -> float:
    """Seconds that :func:`transfer` will take here for the same arguments, from a few iterations
    run now. What is stored already takes none."""
    store = store or Store()
    move = _Move.of(task, source, levels, seeds, treatments, rewind, head, grown, options)
    common = {"seeds": move.seeds, "rewind": rewind, "treatments": ("ticket",), "store": store}
    total = predict(move.source, levels=levels, **common, **options)
    total += predict(task, levels=levels if native else 0, **common, **options)
    looks = -(-task.iterations // task.recipe.cadence(len(task.data.train))) + 4
    for level in move.levels:
        bench = Bench(task, move.seeds, move.settings, store, None, None)
        bench.parents = move.parents[level]
        wanted = [key for name in move.names for key in bench.keys({level: [name]}).values()]
        if missing := sum(key not in store for key in wanted):
            iteration, look = costs.pace(task, move.design.density(level), len(move.seeds))
            total += missing * (task.iterations * iteration + looks * look)
    return total


@dataclass(frozen=True)
class _Move:
    """What is to be moved, checked before anything is trained."""

    task: Task
    source: Task
    design: _Design
    """Of the search on the source."""
    names: tuple[str, ...]
    head: str
    grown: str
    parents: Mapping[int, Mapping[int, str]]
    """The key of each source's ticket, by level and seed."""

    @classmethod
    def of(
        cls,
        task: Task,
        source: Task | Mapping[str, Any],
        levels: int | None,
        seeds: Sequence[int] | None,
        treatments: Sequence[str],
        rewind: str,
        head: str,
        grown: str,
        options: Mapping[str, Any],
    ) -> _Move:
        source = task.changed(**source) if isinstance(source, Mapping) else source
        if source.data.input_shape != task.data.input_shape:
            raise InputError(
                f"A ticket for images of shape {source.data.input_shape} cannot be moved to images "
                f"of shape {task.data.input_shape}."
            )
        if not treatments:
            raise InputError("Name at least one treatment, for instance 'ticket'.")
        for name in treatments:
            _check(name)
        design = _Design.of(
            source, levels, task.seeds if seeds is None else seeds, rewind, ("ticket",),
            **{"criterion": "magnitude", "fractions": None, "scope": None} | dict(options),
        )  # fmt: skip
        one = design.seeds[:1]  # what cannot be moved is found out before hours of training
        transplants.fit(
            source.dense_mask(one), source.init(one), task.model, one, head=head, grown=grown
        )
        bench = Bench(source, design.seeds, design.settings, None, None, None)
        keys = bench.keys(design.plan, design.kept, design.one_shot)
        parents = {
            level: {seed: keys[level, "ticket", seed] for seed in design.seeds}
            for level in range(1, design.levels + 1)
        }
        return cls(task, source, design, tuple(treatments), head, grown, parents)

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.design.seeds

    @property
    def levels(self) -> list[int]:
        """Where something is moved."""
        due, last = self.task.control_levels, self.design.levels
        return [n for n in range(1, last + 1) if due is None or n in due or n == last]

    @property
    def settings(self) -> dict:
        """What a unit's key has to say besides its parent, which says all of the source."""
        return {"moved": [self.head, self.grown]}

    def ticket(self, found: Ticket) -> Ticket:
        """The source's ticket as it arrives."""
        mask, start = self._fit(Arm(found.start, found.mask))
        return Ticket(found.level, start, mask, "0it")

    def arms(self, found: Ticket, arrived: Ticket) -> dict[str, Arm]:
        there, here = self._situation(self.source, found), self._situation(self.task, arrived)
        arms = {}
        for name in self.names:
            before = name.removesuffix(", moved")
            if before == name:
                arms[name] = controls.by_name(name)(here)
            else:
                arm = controls.by_name(before)(there)
                mask, start = self._fit(arm)
                arms[name] = replace(arm, mask=mask, start=start)
        return arms

    def _fit(self, arm: Arm):
        model = self.task.model
        return transplants.fit(
            arm.mask, arm.start, model, self.seeds, head=self.head, grown=self.grown
        )

    def _situation(self, task: Task, ticket: Ticket) -> Situation:
        """Where a ticket is all that is known."""
        return Situation(
            mask=ticket.mask,
            start=ticket.start,
            rewound=ticket.start,
            rewind="0it",
            trained=ticket.start,
            recipe=task.recipe,
            seeds=self.seeds,
            level=ticket.level,
            draw=task.init,
            deviation=getattr(task.model, "deviation", models.glorot_normal),
        )


UNKNOWN = ("fine-tune", "rate rewinding", "frozen if grown", "frozen if shrunk",
           "frozen at random", controls.DENSE, controls.COPY)  # fmt: skip
"""Parts of a treatment that ask for weights trained on the task itself, or for a dense network."""


def _check(name: str) -> None:
    controls.by_name(name)
    if controls.step_of(name) is not None:
        raise InputError(f"What is moved has no step of its own; give rewind= and not {name!r}.")
    if asked := [part for part in name.split(", ") if part in UNKNOWN]:
        raise InputError(
            f"{name!r} needs more than a ticket ({asked[0]}); train it with lth.imp on the task."
        )
    *before, last = name.split(", ")
    if "moved" in before:
        raise InputError(f"'moved' comes last: {name!r} names what to do after the move.")
    if last == "moved" and (more := [part for part in before[1:] if "signs" not in part]):
        raise InputError(
            f"Only a mask and a start can be moved; leave {more[0]!r} out of {name!r}."
        )
