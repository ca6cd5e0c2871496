"""The store: what makes an experiment resumable.

The unit is one replicate of one treatment of one level. Its key is a digest of everything that
decides its result: its settings, its parent's key, the data's fingerprint and :data:`NUMERICS`. A
finished unit is never computed again; three replicates become five by adding two. A unit is
written beside its place and moved there when complete, so an interrupted one leaves nothing
behind, and its files are checked against their digests when read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from types import CodeType

import pandas as pd
import platformdirs
from safetensors.torch import load_file, save_file

from lth_utils.errors import InputError
from lth_utils.models import Weights
from lth_utils.training import HISTORY

NUMERICS = 1
"""Raised by hand when the numbers that a training gives change on purpose."""


def default_root() -> Path:
    """``$LTH_RUNS``, by default ``runs`` in the user's cache folder."""
    return Path(os.environ.get("LTH_RUNS") or platformdirs.user_cache_path("lth_utils") / "runs")


def key(settings: Mapping) -> str:
    """The digest of some settings: SHA-256 of their canonical JSON, with the numerics' version."""
    return hashlib.sha256(canonical({"numerics": NUMERICS, **settings}).encode()).hexdigest()


def canonical(settings: Mapping) -> str:
    """Settings as JSON in which equal settings are equal text."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"), default=_plain)


def is_own(thing: Callable) -> bool:
    """Whether a function or class is a reader's own, and not of this package."""
    return not thing.__module__.startswith("lth_utils.")


def identity(function: Callable) -> str:
    """What stands for a function in a key: its name, and for a reader's own its code as well.

    Whoever edits a criterion and runs again must not be given the results of the old one.
    """
    if not is_own(function):
        return function.__name__
    closure = [repr(cell.cell_contents) for cell in function.__closure__ or ()]
    defaults = repr((function.__defaults__, function.__kwdefaults__))
    body = repr((_code(function.__code__), defaults, closure))
    return f"{function.__name__}-{hashlib.sha256(body.encode()).hexdigest()[:16]}"


def _code(code: CodeType) -> tuple:
    """What a code object does, without where it lies: its operations, names and constants."""
    constants = [_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return code.co_code, code.co_names, constants


def _plain(value):
    if is_dataclass(value):
        return {"type": type(value).__name__, **asdict(value)}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} cannot be part of a key")


@dataclass(frozen=True)
class Unit:
    """One replicate of one treatment of one level, finished.

    Attributes:
        history: the table of its :class:`~lth_utils.training.Run`.
        weights: sets of weights by name, each tensors (1, \\*shape); empty for most controls.
        seconds: wall time that it took, its share of the population that it was trained in.
    """

    history: pd.DataFrame
    weights: Mapping[str, Weights]
    seconds: float


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

    def _folder(self, key: str) -> Path:
        return self.root / key[:2] / key

    def load(self, key: str) -> Unit | None:
        """A finished unit, or None.

        One whose files do not match their digests is removed, with a warning.
        """
        folder = self._folder(key)
        if not folder.exists():
            return None
        try:
            note = json.loads((folder / "unit.json").read_text())
            digests = note["digests"]
            if any(_digest(folder / name) != digest for name, digest in digests.items()):
                raise ValueError("a file does not match its digest")
            # Python's float reads back exactly what was written; pandas' own reader may not.
            history = pd.read_csv(
                folder / "history.csv", converters={"value": lambda text: float(text or "nan")}
            )
            weights = {
                name.removesuffix(".safetensors"): load_file(folder / name)
                for name in digests
                if name.endswith(".safetensors")
            }
            return Unit(history[HISTORY], weights, note["seconds"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            warnings.warn(
                f"A stored run was damaged and is computed again ({error}).", stacklevel=2
            )
            shutil.rmtree(folder)
            return None

    def save(self, key: str, unit: Unit) -> None:
        """Write a finished unit; it appears whole or not at all."""
        folder = self._folder(key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=self.root))
        try:
            unit.history.to_csv(scratch / "history.csv", index=False)
            for name, tensors in unit.weights.items():
                tensors = {n: t.cpu().contiguous() for n, t in tensors.items()}
                save_file(tensors, scratch / f"{name}.safetensors")
            digests = {path.name: _digest(path) for path in sorted(scratch.iterdir())}
            note = {"seconds": round(unit.seconds, 3), "digests": digests}
            (scratch / "unit.json").write_text(json.dumps(note, indent=1))
            try:
                os.replace(scratch, folder)
            except OSError:
                if not folder.exists():  # else another process finished the same unit first
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
