"""From files to arrays, each file whole and as published, or not at all.

A reader takes the folder and what its files must hash to, and gives the dataset's parts: (train,
test), or one part that is still to be divided.
"""

import gzip
import hashlib
import io
import math
import os
import struct
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs
from PIL import Image

from lth_utils._torchvision import torchvision

CIFAR_CLASSES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())


class Part(NamedTuple):
    """Decoded images uint8 (N, C, H, W) and their labels uint8 (N,)."""

    images: np.ndarray
    labels: np.ndarray


class Damaged(Exception):
    """A file that must not be used: its path and what is wrong with it."""

    def __init__(self, path: Path, what: str):
        super().__init__(f"{path} {what}")


def fingerprint(parts: list[Part]) -> str:
    """SHA-256 over every array with its type and shape: equal pixels and labels, equal digest."""
    digest = hashlib.sha256()
    for part in parts:
        for array in part:
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def cache_folder() -> Path:
    """Where downloads and decoded archives are kept for this user."""
    return Path(platformdirs.user_cache_dir("lth_utils")) / "data"


def plain_or_gz(folder: Path, file: str) -> Path | None:
    """The file, or its compressed form where that alone is there, or None."""
    for path in (folder / file, folder / f"{file}.gz"):
        if path.is_file():
            return path
    return None


def read_idx_folder(folder: Path, md5: Mapping[str, str]) -> list[Part]:
    """MNIST and its relatives; ``md5`` holds, in this order, train images, labels, test ditto."""
    arrays = [_read_idx(plain_or_gz(folder, file), md5[file]) for file in md5]
    return [Part(arrays[0][:, None], arrays[1]), Part(arrays[2][:, None], arrays[3])]


def _read_idx(path: Path, md5: str) -> np.ndarray:
    data = _read(path)
    # Two zeros, 8 for unsigned bytes, the number of axes; then the length of each axis.
    axes = int.from_bytes(data[3:4])
    header = 4 + 4 * axes
    if data[:3] != b"\0\0\x08" or len(data) < header:
        raise Damaged(path, f"is not an IDX file of unsigned bytes ({len(data):,} bytes long)")
    shape = struct.unpack(f">{axes}I", data[4:header])
    expected = header + math.prod(shape)
    if len(data) < expected:
        raise Damaged(path, f"is truncated: {len(data):,} bytes where its header says {expected:,}")
    _check_md5(path, data, md5)
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except EOFError:
        raise Damaged(path, "is truncated: its compressed data has no end") from None
    except (OSError, zlib.error) as error:
        raise Damaged(path, f"cannot be read ({error})") from None


def _check_md5(path: Path, data: bytes, expected: str) -> None:
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != expected:
        raise Damaged(path, f"is not as published: its MD5 is {found}, not {expected}")


def read_cifar_batches(folder: Path, _: Mapping[str, str]) -> list[Part]:
    """CIFAR-10 as published, through torchvision, which knows the checksums."""
    cifar10 = torchvision().datasets.CIFAR10
    try:
        sets = [cifar10(folder.parent, train=train) for train in (True, False)]
    except (OSError, RuntimeError):
        raise Damaged(folder, "does not hold CIFAR-10 as published") from None
    return [Part(s.data.transpose(0, 3, 1, 2), np.array(s.targets, np.uint8)) for s in sets]


def read_jpeg_archive(folder: Path, md5: Mapping[str, str]) -> list[Part]:
    """CIFAR-10 (JPEG); decoded once, then read from the user cache."""
    [(file, expected)] = md5.items()
    path = folder / file
    archive = _read(path)
    _check_md5(path, archive, expected)

    cached = cache_folder() / "decoded" / f"cifar10-jpeg-{expected}.npz"
    names = [f"{part}_{kind}" for part in ("train", "test") for kind in Part._fields]
    try:
        arrays = _load_npz(cached, names)
    except Damaged:
        arrays = [array for part in _decode(archive) for array in part]
        _save_npz(cached, dict(zip(names, arrays, strict=True)))
    return [Part(*arrays[:2]), Part(*arrays[2:])]


def _decode(archive: bytes) -> list[Part]:
    """The images ``<part>/<class>/<number>.jpg`` of both parts, in the order of their names."""
    pixels = {"train": {}, "test": {}}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r|xz") as tar:
        for member in tar:
            if member.name.endswith(".jpg"):
                part, label, number = member.name.split("/")
                image = Image.open(tar.extractfile(member)).convert("RGB")
                pixels[part][label, number] = np.asarray(image)
    parts = []
    for part in pixels.values():
        names = sorted(part)
        images = np.stack([part[name] for name in names]).transpose(0, 3, 1, 2)
        labels = np.array([CIFAR_CLASSES.index(label) for label, _ in names], np.uint8)
        parts.append(Part(np.ascontiguousarray(images), labels))
    return parts


def read_npz(folder: Path, sha256: Mapping[str, str]) -> list[Part]:
    """One part, images (N, H, W) and labels; ``sha256`` holds its :func:`fingerprint`."""
    [(file, expected)] = sha256.items()
    images, labels = _load_npz(folder / file, Part._fields)
    parts = [Part(images[:, None], labels)]
    found = fingerprint(parts)
    if found != expected:
        raise Damaged(folder / file, f"is not as published: its SHA-256 is {found}, not {expected}")
    return parts


def _load_npz(path: Path, names: Iterable[str]) -> list[np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as members:
            return [members[name] for name in names]
    except Exception:  # zipfile and NumPy have a dozen ways to say that bytes are damaged
        raise Damaged(path, "is not a whole .npz file") from None


def _save_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the file whole or not at all; a cache that cannot be written is done without."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            fresh = Path(folder, path.name)
            np.savez(fresh, **arrays)
            os.replace(fresh, path)
    except OSError:
        pass
