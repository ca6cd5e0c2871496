"""Sharing tickets: through a folder, or through the Hugging Face Hub."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlparse

from lth_utils.errors import DataError, InputError, unknown
from lth_utils.tickets._file import SUFFIX, load, write

# A name that comes from elsewhere must not lead out of the folder that it is pulled into.
_NAME = re.compile(rf"\w[\w.%-]*\{SUFFIX}")
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


class _Place(Protocol):
    """Where tickets are shared."""

    def names(self) -> list[str]:
        """The names of its files."""

    def get(self, name: str, folder: Path) -> Path:
        """Copy a file into a folder."""

    def put(self, path: Path) -> None:
        """Copy a file there, in place of one of that name."""


def push(files: str | Path | Iterable[str | Path], where: str | Path) -> list[str]:
    """Copy tickets to where others can pull them. Each is checked before anything is copied.

    Args:
        files: of tickets.
        where: a folder, also as ``file://``; or a model repository on the Hugging Face Hub, as
            ``"user/name"``, which is made where there is none. The Hub wants ``huggingface_hub``,
            ``pip install "lth_utils[hub]"``, and to be logged in.

    Returns:
        The names under which they can be pulled.

    Raises:
        DataError: a file is no ticket.
        InputError: ``where`` cannot be reached or written.
    """
    files = [Path(files)] if isinstance(files, str | Path) else [Path(file) for file in files]
    for file in files:
        load(file)
        if not _NAME.fullmatch(file.name):
            raise InputError(
                f"{file.name!r} cannot be shared under this name; use letters, digits, dots, %, "
                "hyphens and underscores."
            )
    place = _place(where)
    for file in files:
        place.put(file)
    return [file.stem for file in files]


def pull(
    where: str | Path, names: str | Iterable[str] | None = None, into: str | Path = "."
) -> list[Path]:
    """Copy tickets from where others have pushed them, and check each before it is put in place.

    Args:
        where: as for :func:`push`.
        names: of the tickets; all by default.
        into: the folder to copy into.

    Returns:
        The files.

    Raises:
        InputError: there is no such place or ticket, or ``into`` cannot be written.
        DataError: what is there is no ticket, or damaged; it is not kept.
    """
    place = _place(where)
    there = [name.removesuffix(SUFFIX) for name in place.names() if _NAME.fullmatch(name)]
    names = there if names is None else [names] if isinstance(names, str) else list(names)
    if strange := [name for name in names if name not in there]:
        raise unknown(f"ticket in {where}", strange[0], there)
    pulled = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            file = place.get(f"{name}{SUFFIX}", Path(folder))
            try:
                load(file)
            except DataError as error:
                raise DataError(
                    f"{name} in {where} is not kept. {str(error).replace(str(file), name)}"
                ) from error
            write(Path(into, f"{name}{SUFFIX}"), file.read_bytes())
        pulled.append(Path(into, f"{name}{SUFFIX}"))
    return pulled


def _place(where: str | Path) -> _Place:
    if str(where).startswith("file://"):
        return _Folder(Path(unquote(urlparse(str(where)).path)))
    folder = Path(where).expanduser()
    is_name = isinstance(where, str) and _REPOSITORY.fullmatch(where) and not folder.exists()
    return _Hub(where) if is_name else _Folder(folder)


class _Folder:
    """A folder, perhaps one that others can reach as well."""

    def __init__(self, folder: Path):
        self.folder = folder

    def names(self) -> list[str]:
        if not self.folder.is_dir():
            raise InputError(f"{self.folder} is not a folder; name one, or user/name on the Hub.")
        return sorted(path.name for path in self.folder.iterdir() if path.is_file())

    def get(self, name: str, folder: Path) -> Path:
        with _reached(self.folder):
            return Path(shutil.copy(self.folder / name, folder))

    def put(self, path: Path) -> None:
        with _reached(self.folder):
            write(self.folder / path.name, path.read_bytes())


class _Hub:
    """A model repository on the Hugging Face Hub."""

    def __init__(self, name: str):
        try:
            import huggingface_hub
        except ImportError:
            raise InputError(
                f"{name} is not a folder, and the Hugging Face Hub wants huggingface_hub: "
                'pip install "lth_utils[hub]".'
            ) from None
        self.name, self.hub = name, huggingface_hub

    def names(self) -> list[str]:
        with _reached(self.name):
            return sorted(self.hub.list_repo_files(self.name))

    def get(self, name: str, folder: Path) -> Path:
        with _reached(self.name):
            return Path(self.hub.hf_hub_download(self.name, name, local_dir=folder))

    def put(self, path: Path) -> None:
        with _reached(self.name):
            self.hub.create_repo(self.name, exist_ok=True)
            self.hub.upload_file(
                path_or_fileobj=path, path_in_repo=path.name, repo_id=self.name,
                commit_message=f"Ticket {path.stem}",
            )  # fmt: skip


@contextmanager
def _reached(where: object) -> Iterator[None]:
    """Say in a sentence that a place cannot be reached."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the Hub's client raises those of its own network library, too
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise InputError(
            f"{where} cannot be reached ({reason}); check it and try again."
        ) from error
