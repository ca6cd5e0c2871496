"""The procedure: masks for every replicate, beside their controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd
from tqdm.auto import tqdm

from lth_utils import controls, costs
from lth_utils.controls import Arm
from lth_utils.errors import InputError
from lth_utils.lottery import TABLE, Bench, Lottery, Ticket, bar, stopped
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.store import Store
from lth_utils.supermasks import _rules
from lth_utils.training import evaluate

if TYPE_CHECKING:
    from lth_utils.tasks import Task

SAMPLES = 10
"""Masks drawn to find out how good a drawn mask is, as many as Zhou et al. draw."""


@dataclass(frozen=True)
class Supermasks(Lottery):
    """What :func:`learn` gives back: a :class:`.Lottery` whose tickets were never trained.

    Attributes:
        tickets: one for each level: the fixed weights, as they act under the mask, and the mask.
        trained: weights of the masked networks by level, scores among them.
    """

    trained: dict[int, Weights] = field(default_factory=dict)


def learn(
    task: Task,
    densities: Sequence[float] | None = None,
    seeds: Sequence[int] | None = None,
    store: Store | None = None,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> Supermasks:
    """Train masks over weights that stay as they start, beside what they are to be held against.

    The table's treatments are ``supermask``; ``random mask``, as many weights of each layer, drawn
    at random and untrained as well; and ``dense``, the network trained as usual by ``task.dense``.
    Rows of a supermask have the density of the mask at the end. Under the rule
    :class:`.Bernoulli`, accuracy is that of the most probable mask, and metric ``sampled accuracy``
    is the mean over ten masks drawn at the end.

    Args:
        task: with a supermask, at the scale to run; its recipe trains the scores.
        densities: for the rule :class:`.EdgePopup`, the shares to keep, a level each; the rule's
            own by default.
        seeds: one for each replicate; the task's by default.
        store: as in :func:`lth_utils.imp`.
        executor: as in :func:`lth_utils.imp`.
        progress: as in :func:`lth_utils.imp`.

    Raises:
        InputError: the task has no supermask, or its rule learns the density.
    """
    store = store or Store()
    seeds = task.seeds if seeds is None else tuple(map(int, seeds))
    hidden = _hidden(task, densities)
    usual = _usual(task)
    iterations = sum(each.iterations for each in [*hidden, *([usual] if usual else [])])
    tables, tickets, trained = [], [], {}
    benches: list[Bench] = []
    with tqdm(total=len(seeds) * iterations, **bar(progress)) as shown:

        def train(one: Task, name: str) -> tuple[Weights, pd.DataFrame]:
            bench = Bench(one, seeds, {}, store, executor, shown)
            benches.append(bench)
            try:
                run = bench.train({name: Arm(one.init(seeds), one.dense_mask(seeds))}, 0)
            except KeyboardInterrupt as stop:
                trainings = len(seeds) * (len(hidden) + bool(usual))
                done = sum(bench.done for bench in benches)
                stop.add_note(stopped(done, trainings, store))
                raise
            return run.weights, bench.table().assign(study=task.name)

        if usual:
            tables.append(train(usual, "dense")[1])
        for level, one in enumerate(hidden, start=1):
            weights, table = train(one, "supermask")
            mask = _rules.mask(one.model, weights)
            kept = dict(zip(seeds, mask.density.tolist(), strict=True))
            table = table.assign(level=level, density=table.replicate.map(kept))
            more = [*_sampled(one, weights, seeds), *_random(one, weights, mask, seeds, level)]
            more = pd.DataFrame(more).assign(
                study=task.name, level=level, split="test", step=one.iterations
            )
            more["density"] = more.replicate.map(kept)
            tables += [table, more[TABLE]]
            acting = _rules.network(one.model, weights, mask)
            tickets.append(Ticket(level, acting, mask, "0it"))
            trained[level] = weights
    everything = pd.concat(tables, ignore_index=True)
    during = everything.moment == "during"
    return Supermasks(
        task,
        everything[~during].reset_index(drop=True),
        everything[during].reset_index(drop=True),
        tickets,
        dict(sum((bench.paths for bench in benches[1:]), benches[0].paths)),
        sum(bench.seconds for bench in benches),
        trained,
    )


def predict(
    task: Task,
    densities: Sequence[float] | None = None,
    seeds: Sequence[int] | None = None,
    store: Store | None = None,
) -> float:
    """Seconds that :func:`learn` will take here for the same arguments, from a few iterations run
    now. What is stored already takes none."""
    store = store or Store()
    seeds = task.seeds if seeds is None else tuple(map(int, seeds))
    usual, total = _usual(task), 0.0
    for one in [*_hidden(task, densities), *([usual] if usual else [])]:
        bench = Bench(one, seeds, {}, store, None, None)
        name = "supermask" if one.supermask else "dense"
        missing = sum(key not in store for key in bench.keys({0: [name]}, None).values())
        if missing:
            looks = -(-one.iterations // one.recipe.cadence(len(one.data.train))) + 4
            iteration, look = costs.pace(one, 1.0, min(len(seeds), 5))
            total += missing * (one.iterations * iteration + looks * look)
    return total


def _hidden(task: Task, densities: Sequence[float] | None) -> list[Task]:
    """The task under each density, or under its own."""
    if task.supermask is None:
        raise InputError(
            f"Task {task.name} trains weights; give it a rule for masks, as in replace(task, "
            "supermask=supermasks.Bernoulli(), recipe=...)."
        )
    if densities is None:
        return [task]
    if not hasattr(task.supermask, "density"):
        raise InputError("Under this rule the density is learnt, so none can be asked for.")
    rules = [replace(task.supermask, density=density) for density in densities]
    return [_alike(task, supermask=rule) for rule in rules]


def _usual(task: Task) -> Task | None:
    """The same network with weights that are trained, if the task says by which recipe."""
    return _alike(task, supermask=None, recipe=task.dense, dense=None) if task.dense else None


def _alike(task: Task, **changes) -> Task:
    """Another task on the same data, which are loaded once."""
    other = replace(task, **changes)
    other.__dict__["data"] = task.data  # where its cached property looks first
    return other


def _sampled(task: Task, weights: Weights, seeds: Sequence[int]) -> Iterator[dict]:
    if not task.supermask.purpose:
        return
    accuracy = 0
    for number in range(SAMPLES):
        drawn = _rules.sample(task.model, weights, seeds, number)
        accuracy += _tested(task, _rules.network(task.model, weights, drawn))["accuracy"] / SAMPLES
    for seed, value in zip(seeds, accuracy.tolist(), strict=True):
        yield {"treatment": "supermask", "replicate": seed, "moment": "end",
               "metric": "sampled accuracy", "value": value}  # fmt: skip


def _random(
    task: Task, weights: Weights, mask: Mask, seeds: Sequence[int], level: int
) -> Iterator[dict]:
    """What as many weights of each layer are worth where nobody chose them."""
    drawn = controls.random_mask(mask, seeds, level)
    result = _tested(task, _rules.network(task.model, weights, drawn))
    for moment in ("early stop", "end"):
        for metric, values in result.items():
            for seed, value in zip(seeds, values.tolist(), strict=True):
                yield {"treatment": "random mask", "replicate": seed, "moment": moment,
                       "metric": metric, "value": value}  # fmt: skip


def _tested(task: Task, weights: Weights) -> dict:
    plain = _alike(task, supermask=None).model
    loss, accuracy = evaluate(plain, weights, task.data, task.data.test)
    return {"loss": loss, "accuracy": accuracy}
