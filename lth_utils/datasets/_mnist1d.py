"""MNIST-1D: ten digits as signals of 40 numbers, drawn by the recipe of Greydanus and Kobak (2024).

The recipe and its numbers are published. This code and its random draws are ours, so these are
not the signals of the authors' file, but others from the same distribution. As in Shapes-32, each
number is the same bit for bit wherever NumPy keeps to IEEE 754.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from lth_utils.datasets._files import Part
from lth_utils.errors import InputError
from lth_utils.randomness import stream

N_TRAIN, N_TEST = 4_500, 1_000  # the paper's 4,000 to train on, and 500 to validate
LENGTH = 40
PADDING = 36, 60  # zeros behind the template, at least and at most
PADDED = 12 + 60  # every padded template is stretched to this length
MAX_TRANSLATION = 48
SCALE, SHEAR = 0.4, 0.75
SMOOTH_NOISE, WHITE_NOISE = 0.25, 0.02

TEMPLATES = np.array(
    [
        (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
        (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
        (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
        (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
        (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
        (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
        (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
        (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
        (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
        (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
    ]
)
"""The ten digits, each a pen stroke seen from the side: float64 (10, 12)."""

# The Gaussian that smooths the noise has a deviation of 2 points: exp(-k^2 / 8) for k = 0 to 8,
# written out because the mathematics library may differ in the last bit.
_BELL = np.array(
    [
        1.0, 0.8824969025845955, 0.6065306597126334, 0.3246524673583497, 0.1353352832366127,
        0.04393693362340742, 0.011108996538242306, 0.0021874911181828877, 0.00033546262790251185,
    ]
)  # fmt: skip
_REACH = len(_BELL) - 1


def draw_signals(labels: Sequence[int], name: str = "train", seed: int = 0) -> np.ndarray:
    """Signals of MNIST-1D, one for each label: float64 (N, 40), from about -0.7 to 0.7.

    In the dataset a signal x is the byte 128 + 180 x, so that it is an image of 1 × 1 × 40 like
    any other; the error, at most 0.003, is a seventh of the white noise. Neighbours along the
    last axis are neighbours in the signal.

    Args:
        labels: digits, 0 to 9.
        name: which series of draws; ``"train"`` and ``"test"`` are the dataset's.
        seed: 0 is the dataset's.

    Raises:
        InputError: a label that is no digit.
    """
    labels = np.asarray(labels)
    if not np.isin(labels, np.arange(len(TEMPLATES))).all():
        raise InputError("Labels of MNIST-1D are whole numbers from 0 to 9.")
    n = len(labels)

    def uniform(what: str) -> np.ndarray:
        return stream(seed, "drawn", "mnist-1d", name, what).uniform(n)

    def normal(what: str) -> np.ndarray:
        draws = stream(seed, "drawn", "mnist-1d", name, what).normal(n, PADDED)
        return draws.numpy().astype(np.float64)

    low, high = PADDING
    padded = 12 + low + (uniform("padding") * (high - low + 1)).astype(np.int64)
    signal, inside = _stretched(strokes()[labels], padded)
    signal = signal * (1 + SCALE * (uniform("scale") - 0.5))[:, None]

    shift = (uniform("translation") * MAX_TRANSLATION).astype(np.int64)
    source = (np.arange(PADDED) - shift[:, None]) % PADDED
    signal = np.take_along_axis(signal, source, 1)
    inside = np.take_along_axis(inside, source, 1)

    signal = np.where(inside, signal, _smooth(SMOOTH_NOISE * normal("smooth noise")))
    signal = signal + WHITE_NOISE * normal("white noise")
    slope = SHEAR * (uniform("shear") - 0.5)
    signal = signal - slope[:, None] * (np.arange(PADDED) / (PADDED - 1) - 0.5)
    return _at(signal, np.arange(LENGTH) * (PADDED - 1) / (LENGTH - 1))


def strokes() -> np.ndarray:
    """The ten templates as the recipe uses them: float64 (10, 12).

    Each has a standard deviation of 1/6 and begins at 0.
    """
    x = TEMPLATES - _sum(TEMPLATES)[:, None] / 12
    x = x / np.sqrt(_sum(x * x) / 12)[:, None]
    return (x - x[:, :1]) / 6


def _sum(x: np.ndarray) -> np.ndarray:
    """Over the last axis, from left to right: NumPy's own order differs between machines."""
    total = np.zeros(x.shape[:-1])
    for k in range(x.shape[-1]):
        total = total + x[..., k]
    return total


def _stretched(strokes: np.ndarray, padded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strokes padded with zeros to the lengths ``padded``, then stretched to ``PADDED``.

    Gives (N, PADDED), and which of these points lie before the first zero of the padding.
    """
    full = np.zeros((len(strokes), PADDED))
    full[:, :12] = strokes
    at = np.arange(PADDED) * ((padded - 1) / (PADDED - 1))[:, None]
    return _at(full, at), at < 12


def _at(x: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Rows of ``x`` at the points ``at``, linear between neighbours."""
    at = np.broadcast_to(at, (len(x), at.shape[-1]))
    low = np.minimum(at.astype(np.int64), x.shape[1] - 2)
    left, right = np.take_along_axis(x, low, 1), np.take_along_axis(x, low + 1, 1)
    return left + (at - low) * (right - left)


def _smooth(noise: np.ndarray) -> np.ndarray:
    """Noise under a Gaussian window of eight points each way, mirrored at both ends."""
    mirrored = np.concatenate([noise[:, _REACH - 1 :: -1], noise, noise[:, : -_REACH - 1 : -1]], 1)
    total = np.zeros_like(noise)
    for k in range(2 * _REACH + 1):
        total = total + _BELL[abs(k - _REACH)] * mirrored[:, k : k + PADDED]
    return total / (2 * _sum(_BELL) - _BELL[0])


def draw_all(folder: Path, files: Mapping[str, str]) -> list[Part]:
    """Train and test; there are no files, and the signals are drawn once a process."""
    return list(_drawn())


@lru_cache(maxsize=1)
def _drawn() -> tuple[Part, ...]:
    parts = []
    for name, n in (("train", N_TRAIN), ("test", N_TEST)):
        labels = (np.arange(n) % len(TEMPLATES)).astype(np.uint8)
        signals = 128 + 180 * draw_signals(labels, name)
        parts.append(Part(np.clip(signals + 0.5, 0, 255).astype(np.uint8)[:, None, None], labels))
    return tuple(parts)
