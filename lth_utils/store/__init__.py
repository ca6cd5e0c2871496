"""The store: what makes an experiment resumable.

The unit is one replicate of one treatment of one level. Its key is a digest of everything that
decides its result: its settings, its parent's key, the data's fingerprint and ``NUMERICS``. A
finished unit is never computed again; three replicates become five by adding two. A unit is
written beside its place and moved there when complete, so an interrupted one leaves nothing
behind, and all of it is checked against digests when it is read. Inside the folder lie::

    1f/1f2e…/                      a unit: unit.json, history.csv and weights as safetensors
    checkpoints/1f2e….safetensors  the state inside a unit that is not finished
    locks/1f2e….lock               held by whoever computes the unit
    scratch/1f2e…-90ab/            what is just being written

Processes share the work on one store by claiming what they are about to compute::

    while missing := [key for key in keys if store.load(key) is None]:
        with store.claim(missing) as claim:
            for key in claim.keys:
                if store.load(key) is None:  # nobody has finished it since we looked
                    store.save(key, compute(key))
        store.wait(missing[-1])
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pandas as pd
import platformdirs
import safetensors.torch
from filelock import FileLock, Timeout

from lth_utils.errors import InputError
from lth_utils.models import Weights
from lth_utils.store._checkpoints import Checkpoint
from lth_utils.store._files import (
    UNSEALED,
    check_seal,
    digest,
    pack,
    reading,
    seal,
    sync,
    write,
    writing,
)
from lth_utils.store._keys import NUMERICS, canonical, identity, is_own, key, plain, portrait
from lth_utils.training import HISTORY

__all__ = [
    "NUMERICS", "Checkpoint", "Claim", "Piece", "Store", "Unit", "byte_count", "canonical",
    "default_root", "identity", "is_own", "key", "portrait",
]  # fmt: skip


def default_root() -> Path:
    """``$LTH_RUNS``, by default ``runs`` in the user's cache folder."""
    return Path(os.environ.get("LTH_RUNS") or platformdirs.user_cache_path("lth_utils") / "runs")


def byte_count(text: str) -> int:
    """A size such as ``"500MB"`` or ``"1.5 GB"`` in bytes; a kilobyte has 1,000.

    >>> byte_count("1.5 GB")
    1500000000

    Raises:
        InputError: the text is no such size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]?)b?", text.strip().lower())
    if not match:
        raise InputError(f"{text!r} is not a size; write one such as 500MB or 20GB.")
    return int(float(match[1]) * 1000 ** " kmgt".index(match[2] or " "))


@dataclass(frozen=True)
class Unit:
    """One replicate of one treatment of one level, finished.

    Attributes:
        history: the table of its :class:`~lth_utils.training.Run`.
        weights: sets of weights by name, each tensors (1, \\*shape); empty for most controls.
        seconds: wall time that it took, its share of the population that it was trained in.
        settings: what its key was made from, for whoever looks through the store.
        provenance: what its key does not say: where and when it was computed, by what.
    """

    history: pd.DataFrame
    weights: Mapping[str, Weights]
    seconds: float
    settings: Mapping = field(default_factory=dict)
    provenance: Mapping = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """The units, of those asked for, that are ours to compute."""

    keys: tuple[str, ...]


@dataclass(frozen=True)
class Piece:
    """Something in the store, looked at from outside.

    Attributes:
        kind: ``"unit"``, ``"checkpoint"`` or ``"scratch"``.
        key: of its unit.
        path: its folder or file.
        bytes: its size.
        used: when it was last written or read.
        settings: of a unit.
        seconds: of a unit.
        damaged: the unit cannot be read. That its tables and tensors are whole is only found out
            by reading them.
    """

    kind: str
    key: str
    path: Path
    bytes: int
    used: datetime
    settings: Mapping = field(default_factory=dict)
    seconds: float = 0.0
    damaged: bool = False


_ANY_KEY = 64 * "?"
_PLACES = {
    f"??/{_ANY_KEY}": "unit",
    f"checkpoints/{_ANY_KEY}.safetensors": "checkpoint",
    f"checkpoints/{_ANY_KEY}.safetensors.*": "scratch",
    f"scratch/{_ANY_KEY}-*": "scratch",
}

# What tells that a file is not what was written. Any other error says only that it cannot be read
# now, and is no reason to remove it.
_DAMAGE = (
    ValueError, KeyError, TypeError, FileNotFoundError, NotADirectoryError, IsADirectoryError,
)  # fmt: skip


class Store:
    """A folder of finished units.

    Raises:
        InputError: the folder cannot be made or written.
    """

    def __init__(self, root: str | Path | None = None):
        self.root = Path(root) if root else default_root()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.root).close()
        except OSError as error:
            raise InputError(
                f"Runs cannot be stored in {self.root} ({error.strerror}); "
                "choose another folder with LTH_RUNS or --runs."
            ) from error

    # Units ----------------------------------------------------------------------------------------

    def __contains__(self, key: str) -> bool:
        """Whether a unit is there; that it is whole is only known once it is loaded."""
        return self._folder(key).exists()

    def load(self, key: str) -> Unit | None:
        """A finished unit, or None.

        One that is not to the bit what was saved is removed, with a warning.

        Raises:
            InputError: it is there and cannot be read.
        """
        folder = self._folder(key)
        with reading(self.root):
            if not folder.exists():
                return None
            try:
                unit = _read(folder)
            except _DAMAGE as error:
                if folder.exists():  # else another process has just removed it
                    warnings.warn(
                        f"A stored run was damaged and is computed again ({error}).", stacklevel=2
                    )
                    self._remove(folder, key)
                return None
        with suppress(OSError):  # it was used; who may only read can't say so
            os.utime(folder / "unit.json")
        return unit

    def save(self, key: str, unit: Unit) -> None:
        """Write a finished unit; it appears whole or not at all.

        Raises:
            InputError: the disk is full or the folder cannot be written; nothing is left behind.
        """
        folder = self._folder(key)
        # Under its lock, be it ours already or taken here: scratch under no lock is a leftover.
        with writing(self.root), self.claim([key]), self._scratch(key) as scratch:
            digests = {}
            for name, data in _contents(unit):
                write(scratch / name, data)
                digests[name] = digest(data)
            note = {
                "digest": UNSEALED,
                "key": key,
                "seconds": round(unit.seconds, 3),
                "digests": digests,
                "settings": plain(unit.settings),
                "provenance": plain(unit.provenance),
            }
            text = json.dumps(note, indent=1, separators=(",", ":"))
            write(scratch / "unit.json", seal(text.encode()))
            sync(scratch)
            folder.parent.mkdir(exist_ok=True)
            try:
                os.replace(scratch, folder)
            except OSError:
                if not folder.exists():  # else another process finished the same unit first
                    raise
            sync(folder.parent)

    def checkpoint(self, key: str) -> Checkpoint:
        """Where the unit keeps its state until it is finished."""
        return Checkpoint(self.root / "checkpoints" / f"{key}.safetensors")

    def _folder(self, key: str) -> Path:
        return self.root / key[:2] / key

    @contextmanager
    def _scratch(self, key: str) -> Iterator[Path]:
        """A folder to write in, gone afterwards."""
        scratch = self.root / "scratch" / f"{key}-{uuid4().hex[:8]}"
        scratch.mkdir(parents=True)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _remove(self, path: Path, key: str) -> None:
        """Remove a file or folder; to other processes it is gone at once."""
        with writing(self.root), self._scratch(key) as scratch, suppress(FileNotFoundError):
            os.replace(path, scratch / path.name)

    # Locks ----------------------------------------------------------------------------------------

    def lock(self, key: str) -> FileLock:
        """The unit's lock, not taken yet. It is let go when its process ends, however it ends."""
        with writing(self.root):
            (self.root / "locks").mkdir(exist_ok=True)
        return FileLock(self.root / "locks" / f"{key}.lock", thread_local=False)

    @contextmanager
    def claim(self, keys: Iterable[str]) -> Iterator[Claim]:
        """Take the locks of those units that nobody else is computing, until the block ends.

        It never waits, and :meth:`wait` holds nothing when it returns; so who calls ``wait``
        outside any claim can be in no deadlock.

        Raises:
            InputError: the store's folder cannot be written.
        """
        with ExitStack() as held:
            ours = []
            with writing(self.root):
                for key in keys:
                    with suppress(Timeout):
                        held.enter_context(self.lock(key).acquire(blocking=False))
                        ours.append(key)
            yield Claim(tuple(ours))

    def wait(self, key: str) -> None:
        """Wait until nobody computes the unit: it is finished, or whoever had claimed it is gone.

        Not to be called inside a :meth:`claim`.
        """
        with writing(self.root), self.lock(key):
            pass

    # Housekeeping ---------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes of all units, checkpoints and leftovers."""
        return sum(piece.bytes for piece in self._pieces())

    def units(self) -> Iterator[Piece]:
        """Every finished unit, with its settings, without reading its tables and tensors."""
        return (piece for piece in self._pieces() if piece.kind == "unit")

    def find(self, prefix: str) -> str:
        """The key of the unit that begins with ``prefix``.

        Raises:
            InputError: there is none, or more than one.
        """
        keys = [unit.key for unit in self.units() if unit.key.startswith(prefix)]
        if not keys:
            raise InputError(f"No run has a key that begins with {prefix!r}; see `lth runs ls`.")
        if len(keys) > 1:
            some = ", ".join(key[: len(prefix) + 6] for key in keys[:3])
            raise InputError(
                f"{len(keys)} runs have keys that begin with {prefix!r}, such as {some}; "
                "give more of the key."
            )
        return keys[0]

    def gc(self, limit: int | None = None, dry: bool = False) -> list[Piece]:
        """Make room: remove leftovers, and then what has not been used for longest.

        Leftovers are what a killed process was writing, checkpoints of finished units, units that
        are damaged or from an earlier version of this package, and locks that nobody holds. What
        belongs to a unit that is being computed stays in any case.

        Args:
            limit: bytes that may stay; by default ``$LTH_RUNS_LIMIT``, and without that all.
            dry: only find out what would be removed.

        Returns:
            What was removed, in this order; without the locks, which are empty.

        Raises:
            InputError: ``$LTH_RUNS_LIMIT`` is no size, or something cannot be removed.
        """
        if limit is None and (text := os.environ.get("LTH_RUNS_LIMIT")):
            limit = byte_count(text)
        pieces = list(self._pieces())
        left = sum(piece.bytes for piece in pieces)
        finished = {piece.key for piece in pieces if piece.kind == "unit" and not piece.damaged}

        def is_leftover(piece: Piece) -> bool:
            if piece.kind == "checkpoint":
                return piece.key in finished
            return piece.kind == "scratch" or piece.damaged

        removed = []
        for piece in sorted(pieces, key=lambda piece: (not is_leftover(piece), piece.used)):
            if not is_leftover(piece) and (limit is None or left <= limit):
                break
            with self.claim([piece.key]) as claim:
                if claim.keys:
                    if not dry:
                        self._remove(piece.path, piece.key)
                    removed.append(piece)
                    left -= piece.bytes
        for path in self.root.glob(f"locks/{_ANY_KEY}.lock"):
            # Removed while it is held. A process that has opened it by then, and gets the lock when
            # we let go, sees that the file has lost its name, and opens another.
            with suppress(OSError), FileLock(path).acquire(blocking=False):
                path.unlink()
        return removed

    def _pieces(self) -> Iterator[Piece]:
        for pattern, kind in _PLACES.items():
            for path in sorted(self.root.glob(pattern)):
                with suppress(FileNotFoundError):  # just removed by another process
                    yield _piece(kind, path.name[:64], path)


# What a unit is on disk ---------------------------------------------------------------------------


def _contents(unit: Unit) -> Iterator[tuple[str, bytes]]:
    yield "history.csv", unit.history.to_csv(index=False).encode()
    for name, tensors in unit.weights.items():
        yield f"{name}.safetensors", pack(tensors)


def _note(folder: Path) -> dict:
    data = (folder / "unit.json").read_bytes()
    check_seal(data)
    note = json.loads(data)
    if note["key"] != folder.name:
        raise ValueError("it is another run's")
    # Hidden files are left wherever a file browser has looked.
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    if names != {"unit.json", *note["digests"]}:
        raise ValueError("a file is missing, or there is one too many")
    return note


def _read(folder: Path) -> Unit:
    note = _note(folder)
    files = {name: (folder / name).read_bytes() for name in note["digests"]}
    for name, data in files.items():
        if digest(data) != note["digests"][name]:
            raise ValueError(f"{name} does not match its digest")
    # Python's float reads back exactly what was written; pandas' own reader may not.
    history = pd.read_csv(
        io.BytesIO(files.pop("history.csv")),
        converters={"value": lambda text: float(text or "nan")},
    )
    weights = {
        name.removesuffix(".safetensors"): safetensors.torch.load(data)
        for name, data in files.items()
    }
    return Unit(history[HISTORY], weights, note["seconds"], note["settings"], note["provenance"])


def _piece(kind: str, key: str, path: Path) -> Piece:
    files = [file for file in (path, *path.rglob("*")) if file.is_file()]
    stamp = path / "unit.json"
    used = datetime.fromtimestamp((stamp if stamp in files else path).stat().st_mtime)
    piece = Piece(kind, key, path, sum(file.stat().st_size for file in files), used)
    if kind != "unit":
        return piece
    try:
        note = _note(path)
    except _DAMAGE:
        return replace(piece, damaged=True)
    except OSError:
        return piece
    return replace(piece, settings=note["settings"], seconds=note["seconds"])
