"""Files that survive a power cut, in which the smallest damage is noticed, and clear errors."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from lth_utils.errors import InputError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

UNSEALED = "0" * 64
"""Stands under ``"digest"`` in what is about to be sealed."""

_FIELD = b'"digest":"'


def seal(data: bytes) -> bytes:
    """Data with its own SHA-256, taken while there were zeros in that place, under ``"digest"``.

    So not a bit of the file is left out. The place is the first such field: a key at the very
    beginning of a JSON object, or in the metadata of safetensors, whose other texts escape quotes.
    """
    at = data.index(_FIELD) + len(_FIELD)
    return b"".join((data[:at], _unsealed(data, at).encode(), memoryview(data)[at + 64 :]))


def check_seal(data: bytes) -> None:
    """Raise ValueError unless these are, to the bit, the data that were sealed."""
    at = data.find(_FIELD) + len(_FIELD)
    if data[at : at + 64] != _unsealed(data, at).encode():
        raise ValueError("it does not match its own digest")


def _unsealed(data: bytes, at: int) -> str:
    sha = hashlib.sha256(data[:at])
    sha.update(UNSEALED.encode())
    sha.update(memoryview(data)[at + 64 :])
    return sha.hexdigest()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pack(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Tensors of any type and shape as safetensors."""
    # Copies, because safetensors refuses tensors that are views of one piece of memory.
    own = {
        name: t.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, t in tensors.items()
    }
    return safetensors.torch.save(own, metadata)


def write(path: Path, data: bytes) -> None:
    """Write a file that is on the disk, and not on its way there, when this returns."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """The same for the names in a folder, where the system knows how."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say what to do where the system refuses to write."""
    try:
        yield
    except OSError as error:
        remedy = "make room there" if error.errno in FULL else "make it writable"
        raise InputError(
            f"Runs cannot be stored in {folder} ({error.strerror}); what was finished is intact: "
            f"{remedy} and run again, or choose another folder with LTH_RUNS or --runs."
        ) from error


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Say what to do where the system refuses to read."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"Runs cannot be read from {folder} ({error.strerror}); make it readable, or choose "
            "another folder with LTH_RUNS or --runs."
        ) from error
