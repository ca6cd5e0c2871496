"""A reader's own dataset, from arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lth_utils.datasets._files import Part, fingerprint
from lth_utils.datasets._values import Dataset, Split
from lth_utils.errors import InputError
from lth_utils.randomness import stream

Array = np.ndarray | Tensor | Sequence
Pair = tuple[Array, Array]

NAMES = ("train", "val", "test")


def make(
    name: str,
    images: Array,
    labels: Array,
    val: float | Pair = 0.1,
    test: float | Pair = 0.2,
    classes: Sequence[str] | None = None,
    title: str | None = None,
    split_seed: int = 0,
) -> Dataset:
    """A dataset of your own, from arrays.

    Whole numbers from 0 to 255 are kept as they are in pictures. Any other numbers are put on 256
    equal steps, from the least to the greatest that occurs in training: over all pictures, or in a
    table for each column by itself; pictures within 0 to 1 take their steps from 0 to 1. What
    validates or tests beyond these ends is moved to them. Where that is too coarse, as with
    outliers, transform the numbers first.

    >>> points = np.random.default_rng(0).normal(size=(100, 2))
    >>> data = make("points", points, points[:, 0] > 0)
    >>> data
    Dataset(points: 70 train, 10 val, 20 test; arrays of float64, on 256 steps; cpu)
    >>> data.input_shape, data.classes
    ((1, 1, 2), ('False', 'True'))

    Args:
        name: what it is called in keys; change it, or the arrays, and all is trained anew.
        images: NumPy array or tensor: pictures (N, H, W) or (N, channels, H, W), or a table
            (N, columns), which a network is given as (1, 1, columns).
        labels: the class of each, (N,): whole numbers or names.
        val: the share that validates, drawn so that each class has its share; or images and
            labels of its own.
        test: the same for the test.
        classes: names of the classes, for labels that count from 0; by default the labels that
            occur in training, in order.
        title: its name in figures; ``name`` by default.
        split_seed: decides what is drawn, and the order within each part.

    Raises:
        InputError: arrays of another shape or length, or with NaN; a label that names no class;
            fewer than two classes; a part that would be empty; images that are all alike.
    """
    x = _images(images, name)
    parts = {"train": (x, _labels(labels, len(x), name))}
    for part, given in (("val", val), ("test", test)):
        if not isinstance(given, float | int):
            parts[part] = _pair(given, f"{name} to {_WHAT[part]}", x.shape[1:])
    known, numbers = _classes({part: y for part, (_, y) in parts.items()}, classes, name)
    parts = {part: (x, numbers[part]) for part, (x, _) in parts.items()}
    shares = {part: given for part, given in (("val", val), ("test", test)) if part not in parts}
    parts = _divided(parts, shares, name, int(split_seed))
    is_table = _array(images).ndim == 2
    pixels, how = _pixels({part: x for part, (x, _) in parts.items()}, is_table)
    splits = [
        Split(torch.from_numpy(pixels[part]), torch.from_numpy(parts[part][1])) for part in NAMES
    ]
    mean, std = _moments(pixels["train"], name)
    return Dataset(
        name=name,
        plain_title=title or name,
        source=how,
        # Of what is used, in its order: shares and steps are in it, too.
        fingerprint=fingerprint([Part(pixels[part], parts[part][1]) for part in NAMES]),
        mean=mean,
        std=std,
        classes=known,
        split_seed=int(split_seed),
        whole=tuple(map(len, splits)),
        **dict(zip(NAMES, splits, strict=True)),
    )


_WHAT = {"val": "validate", "test": "test"}


# What comes in ------------------------------------------------------------------------------------


def _array(values: Array) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values)


def _images(images: Array, name: str) -> np.ndarray:
    """(N, C, H, W) of the type given, checked."""
    x = _array(images)
    if x.dtype.kind not in "buif":
        raise InputError(f"Images of {name} are numbers; got an array of {x.dtype}.")
    if x.ndim not in (2, 3, 4) or 0 in x.shape:
        raise InputError(
            f"Images of {name} have shape {x.shape}; give (N, H, W), (N, channels, H, W) or a "
            "table (N, columns)."
        )
    if x.ndim == 4 and x.shape[3] in (1, 3, 4) and min(x.shape[1:3]) > 4:
        raise InputError(
            f"Images of {name} have shape {x.shape}, channels last; put them second, as in "
            "np.moveaxis(images, 3, 1)."
        )
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise InputError(
            f"Images of {name} are NaN or infinite in {np.count_nonzero(~np.isfinite(x)):,} of "
            f"{x.size:,} places; remove or replace them."
        )
    return {2: x[:, None, None], 3: x[:, None]}.get(x.ndim, x)


def _labels(labels: Array, images: int, name: str) -> np.ndarray:
    y = _array(labels)
    if y.ndim != 1 or len(y) != images:
        raise InputError(
            f"Labels of {name} have shape {y.shape} for {images:,} images; give one for each, "
            f"of shape ({images},)."
        )
    if y.dtype.kind == "f":
        if not (np.isfinite(y).all() and (y == np.round(y)).all()):
            raise InputError(f"Labels of {name} are whole numbers or names, not fractions or NaN.")
        y = y.astype(np.int64)
    return y.astype(str) if y.dtype.kind == "O" else y


def _pair(given: Pair, name: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    try:
        images, labels = given
    except (TypeError, ValueError):
        raise InputError(
            f"What {name} is a share such as 0.1, or a pair (images, labels)."
        ) from None
    x = _images(images, name)
    if x.shape[1:] != shape:
        raise InputError(f"Images of {name} have shape {x.shape[1:]}, those to train {shape}.")
    return x, _labels(labels, len(x), name)


def _classes(
    labels: dict[str, np.ndarray], names: Sequence[str] | None, dataset: str
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The classes, and every label as the number of its class."""
    known = np.unique(labels["train"])
    if names is not None:
        is_named = labels["train"].dtype.kind == "U"
        known = np.asarray(names) if is_named else np.arange(len(names))
    if len(known) < 2:
        raise InputError(f"{dataset} has {len(known)} class; something to tell apart takes two.")
    order = np.argsort(known)
    found = {}
    for part, y in labels.items():
        if (y.dtype.kind == "U") != (known.dtype.kind == "U"):
            raise InputError(f"Labels of {dataset} are all numbers or all names; {part} differs.")
        at = np.searchsorted(known[order], y).clip(max=len(known) - 1)
        if (strange := y[known[order][at] != y]).size:
            raise InputError(
                f"A label of {dataset} ({part}) is {strange[0]!s}, which is none of the "
                f"{len(known)} classes {', '.join(map(str, known[:10]))}."
            )
        found[part] = order[at].astype(np.int64)
    return tuple(map(str, known if names is None else names)), found


# What is done with it -----------------------------------------------------------------------------


def _divided(
    parts: dict[str, tuple[np.ndarray, np.ndarray]], shares: dict[str, float], name: str, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Train, val and test in random order, those that are shares taken out of train."""
    x, y = parts["train"]
    counts = {part: round(share * len(y)) for part, share in shares.items()}
    counts["train"] = len(y) - sum(counts.values())
    for part, count in counts.items():
        if count < 1:
            raise InputError(
                f"{name} has {len(y)} images, and shares of {shares} leave {max(count, 0)} to "
                f"{part}; give more images or another share."
            )
    order, found, at = _dealt(y, seed, name, "train"), {}, 0
    for part, count in counts.items():
        chosen = order[at : at + count]
        found[part], at = (x[chosen], y[chosen]), at + count
    for part in parts.keys() - {"train"}:
        x, y = parts[part]
        order = _dealt(y, seed, name, part)
        found[part] = x[order], y[order]
    return found


def _dealt(labels: np.ndarray, seed: int, name: str, part: str) -> np.ndarray:
    """A random order of which every stretch holds the classes in proportion."""
    order = stream(seed, "split", name, part).permutation(len(labels))
    turn = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        turn[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(turn[order], kind="stable")]


def _pixels(parts: dict[str, np.ndarray], is_table: bool) -> tuple[dict[str, np.ndarray], str]:
    """Every part in uint8, and what was done for that."""
    kind = parts["train"].dtype
    is_whole = all(x.dtype.kind in "ui" for x in parts.values())
    if is_whole and not is_table and all(x.min() >= 0 and x.max() < 256 for x in parts.values()):
        return {p: np.ascontiguousarray(x, np.uint8) for p, x in parts.items()}, f"arrays of {kind}"
    train = parts["train"].astype(np.float64)
    low, high = (
        end(train, axis=0, keepdims=True) if is_table else end(train) for end in (np.min, np.max)
    )
    if not is_table and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    width = np.where(high > low, high - low, 1.0)
    found = {
        part: np.round(255 * ((x.astype(np.float64) - low) / width).clip(0, 1)).astype(np.uint8)
        for part, x in parts.items()
    }
    return found, f"arrays of {kind}, on 256 steps"


def _moments(train: np.ndarray, name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel, of pixels scaled to 0..1."""
    channels = np.moveaxis(train, 1, 0).reshape(train.shape[1], -1)
    mean, std = channels.mean(1) / 255, channels.std(1) / 255
    if not std.any():
        raise InputError(f"Images of {name} are all alike: there is nothing to tell apart.")
    return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist())
