"""Named datasets, whole in memory: uint8 tensors with their splits, source and fingerprint.

>>> digits = load("mnist-5k")
>>> digits.title, len(digits.train), len(digits.val), len(digits.test)
('MNIST-5k', 3500, 500, 1000)

A name gives that dataset or one clear error, never a substitute. :func:`load` looks in the
folder ``$LTH_DATA``, then in the user cache; ``LTH_DATA=embedded`` leaves only what travels with
the package. Nothing is downloaded but by :func:`fetch`.

Two sets have no files: Shapes-32 and MNIST-1D are drawn by code, once a process, and always the
same. :func:`draw_shapes` and :func:`draw_signals` draw more of them. A third, ``python-docs``, is
the manual of the running Python, so that it differs from one version of Python to the next, and
its fingerprint with it. :func:`make` makes a dataset of your own arrays.
"""

import os
import tarfile
import tempfile
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lth_utils._torchvision import torchvision
from lth_utils.datasets._catalogue import KNOWN, Entry
from lth_utils.datasets._files import Damaged, Part, cache_folder, fingerprint, plain_or_gz
from lth_utils.datasets._mnist1d import draw_signals, strokes
from lth_utils.datasets._own import make
from lth_utils.datasets._shapes import NUISANCES, draw_shapes
from lth_utils.datasets._text import ALPHABET, decode, encode
from lth_utils.datasets._values import Dataset, Split
from lth_utils.errors import DataError, unknown
from lth_utils.randomness import stream

__all__ = [
    "ALPHABET",
    "NUISANCES",
    "Dataset",
    "Found",
    "Row",
    "Split",
    "decode",
    "draw_shapes",
    "draw_signals",
    "embedded",
    "encode",
    "fetch",
    "find",
    "load",
    "make",
    "strokes",
    "where",
]

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def load(name: str, device: torch.device | str = "cpu", split_seed: int = 0) -> Dataset:
    """The dataset ``name``, shuffled, divided and on ``device``.

    A dataset with a test set of its own keeps it, and 5,000 of its training images become the
    validation set (1,000 of Shapes-32, 500 of MNIST-1D); MNIST-5k is divided class by class.
    ``split_seed`` decides which images go where, and in which order. A text is cut in stretches,
    one to train, one to validate, one to test, each in windows of characters; see :class:`.Split`.

    ``name`` is ``'mnist'``, ``'fashion-mnist'``, ``'cifar10'``, ``'cifar10-jpeg'``,
    ``'mnist-5k'``, ``'shapes-32'``, ``'mnist-1d'`` or ``'python-docs'``.

    Raises:
        InputError: there is no such name.
        DataError: the files are not here, or not as they were published.
    """
    entry = _entry(name)
    found = find(name)
    if found is None:
        raise DataError(_not_found(entry))
    try:
        parts = entry.read(found.folder, entry.files)
    except Damaged as error:
        raise DataError(f"{error}; {entry.mend}.") from None
    train, val, test = _divide(entry, parts, int(split_seed))
    return Dataset(
        name=name,
        plain_title=entry.title,
        source=found.source,
        fingerprint=fingerprint(parts),
        mean=entry.mean,
        std=entry.std,
        classes=entry.classes,
        split_seed=int(split_seed),
        whole=(len(train), len(val), len(test)),
        train=train.to(device),
        val=val.to(device),
        test=test.to(device),
    )


def _entry(name: str) -> Entry:
    if name not in KNOWN:
        raise unknown("dataset", name, KNOWN)
    return KNOWN[name]


def _divide(entry: Entry, parts: list[Part], seed: int) -> list[Split]:
    """Train, val and test, each in random order, so that the start of each is a fair sample."""
    order = stream(seed, "split", entry.name).permutation(len(parts[0].labels))
    if entry.n_test:
        return [_take(parts[0], part) for part in _stretches(entry, order)]
    if entry.per_class:
        train, val, test = _by_class(parts[0].labels, order, entry.per_class)
    else:
        val, train = order[: entry.n_val], order[entry.n_val :]
        test = stream(seed, "split", entry.name, "test").permutation(len(parts[1].labels))
    return [_take(parts[0], train), _take(parts[0], val), _take(parts[-1], test)]


def _stretches(entry: Entry, order: np.ndarray) -> list[np.ndarray]:
    """Train, val and test of a text: each a stretch of its windows, in random order.

    Val and test lie one behind the other, from a window drawn at random, and the text ends where
    it begins. The window between two stretches is left out, for its last character to predict is
    the next one's first.
    """
    n, n_val, n_test = len(order), entry.n_val, entry.n_test
    rolled = (np.arange(n) + order[0]) % n
    val, test = rolled[:n_val], rolled[n_val + 1 : n_val + 1 + n_test]
    train = rolled[n_val + n_test + 2 : -1]
    return [order[np.isin(order, part)] for part in (train, val, test)]


def _by_class(labels: np.ndarray, order: np.ndarray, sizes: tuple[int, ...]) -> list[np.ndarray]:
    """``order`` in parts with ``sizes`` images of each class; all classes are equally large.

    It is dealt in rounds of one image a class, so that every beginning of a part is balanced.
    """
    turn = np.empty(len(order), np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        turn[members] = np.arange(len(members))
    dealt = order[np.argsort(turn[order], kind="stable")]
    return np.split(dealt, np.cumsum(sizes)[:-1] * (len(order) // sum(sizes)))


def _take(part: Part, index: np.ndarray) -> Split:
    images, labels = part.images[index], part.labels[index].astype(np.int64)
    return Split(torch.from_numpy(images), torch.from_numpy(labels))


# Where files are ----------------------------------------------------------------------------------


class Found(NamedTuple):
    """A dataset whose files are all there: not read yet, so not yet known to be whole."""

    name: str
    folder: Path
    source: str


class Row(NamedTuple):
    """One line of ``lth data``: a dataset, where it was found (or None), how to come by it."""

    name: str
    title: str
    found: Found | None
    get: str


def find(name: str) -> Found | None:
    """The first place that holds every file of the dataset ``name``, or None.

    Raises:
        InputError: there is no such name.
        DataError: ``$LTH_DATA`` is set, but is no folder.
    """
    entry = _entry(name)
    for folder, source in _places(entry):
        if not _lacks(entry, folder):
            return Found(name, folder, source)
    return None


def where() -> list[Row]:
    """Every dataset and where it is: what the command ``lth data`` shows."""
    return [Row(entry.name, entry.title, find(entry.name), entry.get) for entry in KNOWN.values()]


def embedded(relative: str) -> Path:
    """A file or folder that travels with the package, for instance ``'results/imp.csv'``.

    Raises :class:`.DataError` where it is missing.
    """
    package = Path(__file__).parents[1]
    for data in (package / "_data", package.parent / "data"):  # a wheel, a checkout
        if (data / relative).exists():
            return data / relative
    raise DataError(
        f"No {relative} travels with lth_utils: check the name, or reinstall lth_utils."
    )


def _places(entry: Entry) -> list[tuple[Path, str]]:
    """The folders to look in, in this order, with what to call each."""
    if entry.drawn:
        return [(Path(__file__).parent, entry.layout)]
    if entry.embedded:
        [file] = entry.files
        return [(embedded(file).parent, entry.layout)]
    setting = os.environ.get("LTH_DATA", "")
    if setting == "embedded":
        return []
    places = []
    if setting:
        root = Path(setting).expanduser()
        if not root.is_dir():
            raise DataError(
                f"LTH_DATA={setting} is not a folder ({root.absolute()}); correct it or unset it."
            )
        places.append((root / entry.folder, f"{entry.layout} in $LTH_DATA"))
    places.append((cache_folder() / entry.folder, f"{entry.layout} in the user cache"))
    if entry.name == "fashion-mnist":
        places.append((DEBIAN_FASHION_MNIST, "Debian's package dataset-fashion-mnist"))
    return places


def _lacks(entry: Entry, folder: Path) -> list[str]:
    return [file for file in entry.files if plain_or_gz(folder, file) is None]


def _not_found(entry: Entry) -> str:
    looked = []
    for folder, _ in _places(entry):
        lacks = _lacks(entry, folder)
        some = f" (which lacks {', '.join(lacks)})" if len(lacks) < len(entry.files) else ""
        looked.append(f"{folder}{some}")
    if not looked:
        return (
            f"{entry.title} does not travel with the package, and LTH_DATA=embedded looks nowhere "
            "else; unset LTH_DATA, or set it to a folder."
        )
    return f"{entry.title} is not in {' or '.join(looked)}; {entry.get}."


# The network --------------------------------------------------------------------------------------

# What a download can end in: the network's errors, a wrong checksum, an archive cut short.
_FAILURES = (OSError, RuntimeError, EOFError, HTTPException, tarfile.TarError, zlib.error, Damaged)


def fetch(name: str, into: Path | str | None = None) -> Path:
    """Downloads the dataset ``name`` into the user cache (or ``into``); gives the folder.

    torchvision downloads and checks it in a folder of its own, and only whole files are moved
    from there. What is here already and whole is not downloaded again.

    Raises:
        InputError: there is no such name.
        DataError: it cannot be downloaded; one sentence says why.
    """
    entry = _entry(name)
    if entry.embedded:
        return find(name).folder
    if entry.remote is None:
        raise DataError(f"{entry.title} cannot be fetched: {entry.get}.")
    root = cache_folder() if into is None else Path(into).expanduser()
    home = root / entry.folder
    if _is_whole(entry, home):
        return home
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".fetch-") as fresh:
            getattr(torchvision().datasets, entry.remote)(fresh, download=True)
            entry.read(Path(fresh, entry.folder), entry.files)
            home.mkdir(parents=True, exist_ok=True)
            for file in entry.files:
                os.replace(Path(fresh, entry.folder, file), home / file)
    except _FAILURES as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise DataError(
            f"{entry.title} could not be downloaded into {root} ({reason}); "
            f"check the network, or set LTH_DATA to a folder that holds {entry.folder}."
        ) from None
    return home


def _is_whole(entry: Entry, folder: Path) -> bool:
    try:
        return not _lacks(entry, folder) and bool(entry.read(folder, entry.files))
    except Damaged:
        return False
