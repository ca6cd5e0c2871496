"""A ticket as one file: safetensors, which holds numbers and text and nothing that runs."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from lth_utils import datasets, models
from lth_utils.errors import DataError, InputError, unknown
from lth_utils.lottery import Lottery
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.randomness import GENERATOR
from lth_utils.store import canonical
from lth_utils.tickets._saved import Provenance, Saved, check, digests, of
from lth_utils.tickets._words import parsed, typed

FORMAT = 1
"""The version of the file's layout."""

SUFFIX = ".safetensors"
MOST_BYTES = 2**30
MOST_TEXT = 2**20


@dataclass(frozen=True)
class _Note:
    """What a file says in words, beside its tensors."""

    format: int
    level: int
    rewind: str
    seeds: tuple[int, ...]
    drawn: bool
    digests: tuple[str, ...]
    provenance: Provenance


# Writing ------------------------------------------------------------------------------------------


def save(path: str | Path, found: Lottery | Saved, level: int | None = None, **notes: Any) -> Path:
    """Write a ticket into one file, which appears whole or not at all.

    A mask takes a bit a weight. A start that the seeds draw takes no room: it is drawn again.
    Of any other start the kept weights are in the file, and all that cannot be pruned.

    Args:
        path: of the file; its name ends in ``.safetensors``.
        found: what :func:`lth_utils.imp` gave back, or a :class:`Saved`.
        level: and what follows, where it is what ``imp`` gave back: see :func:`of`.

    Raises:
        InputError: the file cannot be written, or there is no such ticket.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise InputError(f"A ticket's file has a name that ends in {SUFFIX}; got {path.name!r}.")
    if isinstance(found, Saved) and (level is not None or notes):
        raise InputError("This ticket has its level and notes already; give them to tickets.of.")
    ticket = found if isinstance(found, Saved) else of(found, level, **notes)
    write(path, packed(ticket))
    return path


def packed(ticket: Saved) -> bytes:
    """The bytes of a ticket's file."""
    note = _Note(
        FORMAT, ticket.level, ticket.rewind, ticket.seeds, ticket.drawn, ticket.digests,
        ticket.provenance,
    )  # fmt: skip
    said = {field.name: getattr(note, field.name) for field in fields(note)}
    text = canonical({**said, "digest": hashlib.sha256(canonical(said).encode()).hexdigest()})
    tensors = {f"mask/{name}": bits for name, bits in ticket.mask.pack().items()}
    if not ticket.drawn:
        tensors |= {
            f"start/{n}": (w[ticket.mask[n]] if n in ticket.mask else w).contiguous()
            for n, w in ticket.start.items()
        }
    return safetensors.torch.save(tensors, {"lth ticket": text})


def write(path: Path, data: bytes) -> None:
    """Write a file beside its place, and move it there."""
    scratch = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            scratch.write_bytes(data)
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"The ticket cannot be written to {path} ({error.strerror}); choose another place."
        ) from error


# Reading ------------------------------------------------------------------------------------------


def load(path: str | Path, model: nn.Module | None = None) -> Saved:
    """Read a ticket, and check it: that the file is whole, and that its start is the right one.

    A start that seeds draw is drawn here, and must have the digest that is in the file. Nothing in
    a file can run, and it takes no more memory than its masks do as numbers.

    Args:
        path: of the file, or the name of a ticket of the zoo; see :func:`ls`.
        model: the network, where it is a reader's own; its own weights play no part.

    Raises:
        InputError: the zoo has no such ticket.
        DataError: there is no such file, it is no ticket, it is damaged, or this version of the
            package draws another start.
    """
    where = _find(path)
    try:
        return unpacked(_bytes(where), model)
    except InputError as error:
        raise DataError(f"{where} cannot be used: {_lowered(str(error))}") from error


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _find(path: str | Path) -> Path:
    if isinstance(path, Path) or path.endswith(SUFFIX) or Path(path).exists():
        return Path(path)
    names = [file.stem for file in _files(zoo())]
    if path not in names:
        raise unknown("ticket", path, names)
    return zoo() / f"{path}{SUFFIX}"


def _bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise InputError("There is no such file; `lth tickets ls` lists those of the zoo.")
        if (size := path.stat().st_size) > MOST_BYTES:
            raise InputError(f"It has {size:,} bytes, and a ticket has at most {MOST_BYTES:,}.")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"It cannot be read ({error.strerror}); make it readable.") from error


def unpacked(data: bytes, model: nn.Module | None = None) -> Saved:
    """A ticket from the bytes of its file."""
    note, tensors, shapes, mask = _masked(data, model)
    if note.drawn:
        start = _drawn(note, model or note.provenance.network.module())
    else:
        start = _start(tensors, mask, shapes)
    if tensors:
        raise InputError(f"It holds {next(iter(tensors))!r}, which is no part of this ticket.")
    start = mask.apply(start)
    ticket = Saved(
        note.level, start, mask, note.rewind, note.seeds, note.drawn, note.digests,
        note.provenance,
    )  # fmt: skip
    check(ticket)
    if digests(start) != note.digests:
        made = note.provenance.code
        raise InputError(
            f"Its start is not the one that it was found with: the digests differ. Where the file "
            f"is whole, lth_utils {made.lth_utils} with PyTorch {made.torch} gives the right one."
        )
    return ticket


def _masked(
    data: bytes, model: nn.Module | None = None
) -> tuple[_Note, dict[str, Tensor], dict[str, tuple[int, ...]], Mask]:
    """What a file says, its other tensors, the network's shapes, and the mask."""
    note = _note(data)
    tensors, network = _tensors(data), note.provenance.network
    if model is None and network.name not in models.NETWORKS:
        raise InputError(
            f"It belongs to {network.name}, which is no network of this package; give the network "
            "as well, as in load(path, model)."
        )
    if model is None:
        shapes, prunable = network.shapes()
    else:
        shapes, prunable = models.shapes(model), list(models.prunable(model))
    mask = _mask(tensors, {name: shapes[name] for name in prunable}, len(note.seeds))
    return note, tensors, shapes, mask


def _note(data: bytes) -> _Note:
    """What the file says, checked against its own digest and word by word."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, MOST_TEXT):
        raise InputError("It is no safetensors file, or has been cut short.")
    try:
        header = parsed(data[8 : 8 + length])
        said = parsed(header["__metadata__"]["lth ticket"])
        given = said.pop("digest")
        text = canonical(said)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError("It is not a ticket; tickets.save writes one.") from None
    if hashlib.sha256(text.encode()).hexdigest() != given:
        raise InputError("It is damaged: its text does not have its digest. Get it again.")
    if said.get("format") != FORMAT:
        raise InputError(
            f"Its format is {said.get('format')!r}, and this version of lth_utils reads {FORMAT}; "
            "install a newer one."
        )
    try:
        return typed(said, _Note)
    except TypeError as error:
        raise InputError(f"It says what a ticket cannot say ({error}).") from None


def _tensors(data: bytes) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise InputError("Its tensors are damaged; get it again.") from error


def _take(tensors: dict[str, Tensor], name: str, dtype: torch.dtype) -> Tensor:
    tensor = tensors.pop(name, None)
    if tensor is None or tensor.dtype != dtype:
        raise InputError(f"It lacks {name}, or has it as other numbers than {dtype}.")
    return tensor


def _mask(tensors: dict[str, Tensor], shapes: Mapping[str, tuple[int, ...]], members: int) -> Mask:
    bits = {}
    for name, shape in shapes.items():
        bits[name] = _take(tensors, f"mask/{name}", torch.uint8)
        expected = members, -(-math.prod(shape) // 8)
        if tuple(bits[name].shape) != expected:
            raise InputError(f"Its mask of {name} does not fit the network and the seeds.")
    mask = Mask.unpack(bits, shapes)
    if any(not torch.equal(again, bits[name]) for name, again in mask.pack().items()):
        raise InputError("Its mask is damaged: bits are set that stand for no weight.")
    return mask


def _drawn(note: _Note, module: nn.Module) -> Weights:
    made = note.provenance.code
    if made.generator != GENERATOR:
        raise InputError(
            f"Its start was drawn by generator {made.generator}, and this version of lth_utils "
            f"draws with {GENERATOR}; install lth_utils {made.lth_utils}."
        )
    return models.initialise(module, note.seeds)


def _start(
    tensors: dict[str, Tensor], mask: Mask, shapes: Mapping[str, tuple[int, ...]]
) -> Weights:
    start = {}
    for name, shape in shapes.items():
        given = _take(tensors, f"start/{name}", torch.float32)
        whole = mask.members, *shape
        expected = (int(mask[name].sum()),) if name in mask else whole
        if tuple(given.shape) != expected:
            raise InputError(f"Its start of {name} does not fit the network and the mask.")
        start[name] = given
        if name in mask:
            start[name] = torch.zeros(whole)
            start[name][mask[name]] = given
    return start


# The zoo ------------------------------------------------------------------------------------------


def zoo() -> Path:
    """The folder of the tickets that come with the book."""
    return datasets.embedded("tickets/zoo")


def _files(folder: str | Path) -> list[Path]:
    return sorted(Path(folder).glob(f"[!.]*{SUFFIX}"))


def ls(folder: str | Path | None = None) -> pd.DataFrame:
    """The tickets in a folder, by default those that come with the book.

    Returns:
        A row a ticket: its name; network; dataset; density, in percent of what is prunable;
        accuracy when it was found, the mean over members, in percent; the step rewound to; seeds;
        and the size of its file in kB. Where a file is damaged, ``network`` says so; starts are
        not looked at, which :func:`load` does.

    Raises:
        InputError: there is no such folder.
    """
    folder = Path(folder) if folder else zoo()
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name one that holds tickets.")
    return pd.DataFrame([_row(path) for path in _files(folder)], columns=COLUMNS)


COLUMNS = ["name", "network", "dataset", "density", "accuracy", "rewind", "seeds", "kB"]


def _row(path: Path) -> tuple:
    size = round(path.stat().st_size / 1000, 1)
    try:
        note, _, _, mask = _masked(_bytes(path))
    except InputError:
        return path.stem, "damaged, or no ticket", "", math.nan, math.nan, "", "", size
    p = note.provenance
    network = p.network.title + (f", width {p.network.width:g}" if p.network.width != 1 else "")
    known = [value for value in p.accuracy if value is not None]
    return (
        path.stem,
        network,
        p.images.title,
        round(100 * mask.density.mean().item(), 2),
        round(sum(known) / len(known), 2) if known else math.nan,
        note.rewind,
        ", ".join(map(str, note.seeds)),
        size,
    )
