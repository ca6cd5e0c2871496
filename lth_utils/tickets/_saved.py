"""What a ticket is away from the study that found it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import lth_utils
from lth_utils import models
from lth_utils.errors import DataError, InputError
from lth_utils.lottery import Lottery, Ticket
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.randomness import GENERATOR
from lth_utils.recipes import Step
from lth_utils.store import NUMERICS, canonical
from lth_utils.tasks import Task
from lth_utils.tickets._words import typed


@dataclass(frozen=True)
class Network:
    """The network that a ticket belongs to: what :func:`lth_utils.models.build` makes it from."""

    name: str
    title: str
    inputs: tuple[int, int, int]
    classes: int
    width: float = 1.0
    dropout: float = 0.0

    def __post_init__(self):
        # So far beyond every network of the book, and so far from what overflows.
        sizes = (*self.inputs, self.classes)
        if min(sizes) < 1 or max(sizes) > 65_536 or not 0 < self.width <= 64:
            raise InputError("The size of the network is none that a network has.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"A rate of dropout is from 0 to below 1; got {self.dropout}.")

    def module(self) -> nn.Module:
        """The network as a function."""
        # PyTorch fills it with numbers that nobody uses; a reader's own draws stay as they were.
        with torch.random.fork_rng(devices=[]):
            return self._built()

    def shapes(self) -> tuple[dict[str, tuple[int, ...]], list[str]]:
        """Shape of each tensor, and which can be pruned, without making any of them."""
        with torch.device("meta"), _Unfilled():
            module = self._built()
        return models.shapes(module), list(models.prunable(module))

    def _built(self) -> nn.Module:
        return models.build(self.name, self.inputs, self.classes, self.width, self.dropout)


class _Unfilled(TorchFunctionMode):
    """Leaves out what fills a tensor. There is nothing to fill on the device ``meta``, and to find
    that out PyTorch imports its compiler, which takes seconds."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if re.fullmatch(r"[a-z]\w*_", getattr(func, "__name__", "")):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@dataclass(frozen=True)
class Images:
    """The data on which a ticket was found; the last three are how many images."""

    name: str
    title: str
    fingerprint: str
    split_seed: int
    train: int
    val: int
    test: int


@dataclass(frozen=True)
class Code:
    """The code by which a ticket was found; :mod:`lth_utils.randomness` and
    :mod:`lth_utils.store` say what the last two count."""

    lth_utils: str
    torch: str
    generator: int
    numerics: int


@dataclass(frozen=True)
class Provenance:
    """Where a ticket comes from.

    Attributes:
        network: the network that it belongs to.
        images: the data on which it was found.
        task: how it was found and is trained; None where the network or the data have no name.
        accuracy: of each member when it was found, on the test set at the early stop, in percent.
        code: what it was found with.
        date: when it was saved.
        notes: whatever else is known, for instance the study, the criterion and the licence.
    """

    network: Network
    images: Images
    task: Task | None
    accuracy: tuple[float | None, ...]
    code: Code
    date: str
    notes: Mapping[str, str | int | float]


@dataclass(frozen=True, eq=False, repr=False)
class Saved(Ticket):
    """A ticket as it lies on disk: what it keeps, which seeds those are, and where it is from.

    ``start`` are tensors (R, \\*shape) on the CPU in which every pruned weight is zero; ``mask``
    has R members, and ``rewind`` is the step of ``start``, at which its training begins.

    Attributes:
        seeds: one for each member.
        drawn: whether the start is what the seeds draw. Then it is not in the file.
        digests: SHA-256 of each member's ``start``.
        provenance: where it comes from.
    """

    seeds: tuple[int, ...]
    drawn: bool
    digests: tuple[str, ...]
    provenance: Provenance

    def __repr__(self) -> str:
        p = self.provenance
        share = f"{100 * self.mask.density.mean():.3g}%"
        return (
            f"Saved({p.network.title} on {p.images.title}, {share} of the weights, rewound to "
            f"{self.rewind}, seeds {', '.join(map(str, self.seeds))})"
        )

    def __eq__(self, other: object) -> bool:
        """Whether all is equal that the file says; digests stand for the start."""
        return isinstance(other, Saved) and all(
            getattr(self, f.name) == getattr(other, f.name) for f in fields(self)
            if f.name != "start"
        )  # fmt: skip

    __hash__ = None

    def task(self) -> Task:
        """The task that it was found on, with its own data, so that this trains it as it was::

            ticket.task().train(ticket.start, ticket.mask, ticket.seeds, ticket.rewind)

        Raises:
            InputError: its network or data have no name; train it with the task that has them.
            DataError: its data are not here, or others are. Nothing stands in for them.
        """
        task, images = self.provenance.task, self.provenance.images
        if task is None:
            raise InputError(
                "This ticket was found with a network or data that have no name, so the task is "
                "not in its file; train it with the task that it was found on."
            )
        task = replace(task)  # what the data are is looked up anew
        if task.data.fingerprint != images.fingerprint:
            raise DataError(
                f"This ticket was found on {images.title}, and what is here as {images.name} are "
                "other data; set LTH_DATA to a folder that holds the same."
            )
        return task

    def member(self, *index: int) -> Saved:
        """The ticket of the members named, in that order."""
        if not index or not all(-len(self.seeds) <= i < len(self.seeds) for i in index):
            raise InputError(f"The ticket has members 0 to {len(self.seeds) - 1}; got {index}.")

        def pick(values: tuple) -> tuple:
            return tuple(values[i] for i in index)

        return replace(
            self,
            start={name: w[list(index)] for name, w in self.start.items()},
            mask=self.mask.member(*index),
            seeds=pick(self.seeds),
            digests=pick(self.digests),
            provenance=replace(self.provenance, accuracy=pick(self.provenance.accuracy)),
        )


def of(
    found: Lottery,
    level: int | None = None,
    seeds: Iterable[int] | None = None,
    **notes: str | float,
) -> Saved:
    """A ticket that :func:`lth_utils.imp` has found, with all that is known of it.

    Args:
        found: what ``imp`` gave back.
        level: the level of pruning; the last by default.
        seeds: of the members to take; all by default.
        notes: what ``found`` does not say, for instance ``study="lenet-mnist"``,
            ``criterion="magnitude"``, ``licence="MIT"``; of a transferred ticket, its source.

    Raises:
        InputError: there is no such level or seed, or a note is neither a word nor a number.
    """
    by_level = {ticket.level: ticket for ticket in found.tickets}
    if level is None and by_level:
        level = max(by_level)
    if level not in by_level:
        levels = ", ".join(map(str, by_level)) or "none"
        raise InputError(f"There is no ticket of level {level}; levels found: {levels}.")
    ticket, table = by_level[level], found.table
    every = tuple(int(seed) for seed in table.replicate.unique())
    name = ("ticket", f"ticket @ {ticket.rewind}")
    rows = table[
        table.treatment.isin(name)
        & (table.level == level)
        & (table.moment == "early stop")
        & (table.split == "test")
        & (table.metric == "accuracy")
    ]
    accuracy = rows.drop_duplicates("replicate").set_index("replicate").value.to_dict()
    whole = saved(found.task, ticket, every, [accuracy.get(seed) for seed in every], **notes)
    if seeds is None:
        return whole
    seeds = list(seeds)
    if strange := [seed for seed in seeds if seed not in every]:
        raise InputError(f"No member has seed {strange[0]}; seeds: {', '.join(map(str, every))}.")
    return whole.member(*(every.index(seed) for seed in seeds))


def saved(
    task: Task,
    ticket: Ticket,
    seeds: Iterable[int],
    accuracy: Iterable[float | None] | None = None,
    **notes: str | float,
) -> Saved:
    """A ticket that was found without :func:`lth_utils.imp`, ready to be saved.

    Args:
        task: the network, data and recipe that it was found with.
        ticket: its level, the weights that it starts from, its mask, and the step of that start.
        seeds: one for each member: those that drew its initial weights.
        accuracy: of each member, on the test set at the early stop, in percent, where known.
        notes: what else is known, as in :func:`of`.

    Raises:
        InputError: start, mask, seeds and network do not fit each other.
    """
    if task.supermask:
        raise InputError(f"Task {task.name} trains masks, which are found anew at every start.")
    seeds, data = tuple(int(seed) for seed in seeds), task.data
    models.check_weights(task.model, ticket.start)
    ticket.mask.check(
        {name: tuple(ticket.start[name].shape[1:]) for name in models.prunable(task.model)},
        len(seeds),
    )
    accuracy = tuple(accuracy) if accuracy is not None else (None,) * len(seeds)
    mask = ticket.mask.to("cpu")
    start = _kept(mask, ticket.start)
    drawn = digests(start) == digests(_kept(mask, task.init(seeds)))
    whole = Saved(
        ticket.level, start, mask, str(ticket.rewind), seeds, drawn, digests(start),
        Provenance(
            network=Network(
                task.network if isinstance(task.network, str) else type(task.model).__name__,
                task.title, task.data.input_shape, data.num_classes, task.width, task.dropout,
            ),
            images=Images(
                data.name, data.title, data.fingerprint, data.split_seed,
                len(data.train), len(data.val), len(data.test),
            ),
            task=_named(task),
            accuracy=tuple(None if value is None else float(value) for value in accuracy),
            code=Code(lth_utils.__version__, torch.__version__, GENERATOR, NUMERICS),
            date=datetime.now(UTC).date().isoformat(),
            notes=dict(notes),
        ),
    )  # fmt: skip
    check(whole)
    return whole


def _kept(mask: Mask, start: Weights) -> Weights:
    return mask.apply({name: w.detach().cpu().float() for name, w in start.items()})


def _named(task: Task) -> Task | None:
    """The task, where names and numbers say all of it; on the very data that it has."""
    own = replace(task, dataset=task.data.name, embedded=None, scales={})
    try:
        return typed(json.loads(canonical({"task": own}))["task"], Task)
    except TypeError:
        return None


# What must hold of it, whoever made it ------------------------------------------------------------


def digests(start: Mapping[str, Tensor]) -> tuple[str, ...]:
    """SHA-256 of each member's weights, with their names and shapes."""
    return tuple(_digest({name: w[r] for name, w in start.items()})
                 for r in range(len(next(iter(start.values())))))  # fmt: skip


def _digest(weights: Mapping[str, Tensor]) -> str:
    sha = hashlib.sha256()
    for name in sorted(weights):
        sha.update(f"{name}{tuple(weights[name].shape)}".encode())
        sha.update(weights[name].contiguous().numpy().astype("<f4", copy=False))
    return sha.hexdigest()


def check(ticket: Saved) -> None:
    """Raise :class:`.InputError` unless all that is said of a ticket can be true."""
    p, members = ticket.provenance, len(ticket.seeds)
    if members < 1 or len(set(ticket.seeds)) != members or max(map(abs, ticket.seeds)) >= 2**63:
        raise InputError(f"Members have different seeds, at least one; got {list(ticket.seeds)}.")
    if len(p.accuracy) != members or len(ticket.digests) != members:
        raise InputError(f"There are {members} seeds, and not as many accuracies and digests.")
    if not all(value is None or 0 <= value <= 100 for value in p.accuracy):
        raise InputError(f"An accuracy is from 0 to 100 percent; got {p.accuracy}.")
    if ticket.level < 0:
        raise InputError(f"A level is 0 or more; got {ticket.level}.")
    Step.of(ticket.rewind)
    if strange := [n for n, note in p.notes.items() if type(note) not in (str, int, float)]:
        raise InputError(f"A note is a word or a number; {strange[0]} is {p.notes[strange[0]]!r}.")
    if p.task is not None:
        mine = p.network.name, p.network.width, p.network.dropout
        if mine != (p.task.network, p.task.width, p.task.dropout):
            raise InputError("The task has another network than the ticket.")
        Step.of(p.task.recipe.every)
    for name, w in ticket.start.items():
        if not w.isfinite().all():
            raise InputError(f"The ticket's start is not finite at {name}.")
