"""Shapes-32: ten classes of coloured 32 × 32 pictures, drawn by code from a seed.

Each picture shows one shape on a cluttered ground. Only the shape says which class it is:
everything else is drawn from one distribution for all classes.

A picture is the same bit for bit wherever NumPy keeps to IEEE 754: every operation on the way to
a pixel is an addition, subtraction, multiplication, division, comparison or square root of
float32 numbers, element by element, in an order that is written down here. No sum over an axis,
no matrix product and no function of the mathematics library takes part.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from lth_utils.datasets._files import Part
from lth_utils.errors import InputError, look_up
from lth_utils.randomness import Stream, stream

SIDE = 32
N_TRAIN, N_TEST = 6_000, 2_000
CHUNK = 100  # pictures drawn at a time: what fits into a processor's cache

NUISANCES: Mapping[str, float] = {
    "position": 3.0,  # pixels that the centre is off in each direction, at most
    "size": 0.2,  # share by which the size differs, at most
    "rotation": 0.35,  # tangent of half the angle, at most: 39 degrees either way
    "contrast": 0.4,  # share by which the contrast differs, at most
    "sign": 0.2,  # share of the shapes that are darker than their ground
    "colour": 0.6,  # share by which the contrast differs between channels, at most
    "ground": 0.5,  # range of each channel of the ground
    "gradient": 0.25,  # of the ground, from the centre to an edge, at most
    "clutter": 0.15,  # blotches of the ground, at most
    "texture": 0.15,  # blotches of the shape, at most
    "marks": 1.0,  # how opaque the small bars are that lie over everything
    "noise": 0.1,  # of single pixels, at most
}
"""What varies between pictures of one class, and how much; brightness runs from 0 to 1."""

CONTRAST = 0.4  # of shape against ground, on average
MARKS = 3
BLOTCHES, TEXTURE = 5, 11  # points a side of the coarse grids between which is interpolated


# Shapes -------------------------------------------------------------------------------------------
#
# Each is a function of coordinates in units of its radius, u to the right and v down before it is
# turned. It gives the distance to the nearest edge, positive inside, exact or a little less. All
# ten have about the same area, 2, so that the mean brightness of a picture says nothing.


def _radius(u, v):
    return np.sqrt(u * u + v * v)


def _box(u, v, wide, high):
    return np.minimum(wide - np.abs(u), high - np.abs(v))


def _disc(u, v):
    return 0.8 - _radius(u, v)


def _ring(u, v):
    return 0.2 - np.abs(_radius(u, v) - 0.8)


def _square(u, v):
    return _box(u, v, 0.71, 0.71)


def _frame(u, v):
    return 0.18 - np.abs(np.maximum(np.abs(u), np.abs(v)) - 0.7)


def _triangle(u, v):
    side = 0.8660254 * np.abs(u) - 0.5 * v
    return 0.62 - np.maximum(side, v)


def _cross(u, v):
    return np.maximum(_box(u, v, 1.0, 0.29), _box(u, v, 0.29, 1.0))


def _star(u, v):
    """Five points: inside at least four of the five sides of the pentagon in its middle."""
    inner = 0.41
    depths = [inner - v]
    for x, y in ((0.9510565, 0.3090170), (0.5877853, -0.8090170)):  # of sides left and right
        depths += [inner - (x * u + y * v), inner - (y * v - x * u)]
    low, second = depths[0], np.full_like(u, 9)
    for depth in depths[1:]:
        second = np.minimum(second, np.maximum(low, depth))
        low = np.minimum(low, depth)
    return second


def _stripes(u, v):
    """Three bars."""
    return np.minimum(1.0 - np.abs(u), 0.166 - np.abs(np.abs(np.abs(v) - 0.33) - 0.33))


def _crescent(u, v):
    return np.minimum(1.0 - _radius(u, v), _radius(u - 0.47, v) - 0.63)


def _chequer(u, v):
    """Two squares that touch in a corner."""
    return 0.5 - np.minimum(
        np.maximum(np.abs(u - 0.5), np.abs(v - 0.5)), np.maximum(np.abs(u + 0.5), np.abs(v + 0.5))
    )


SHAPES: Mapping[str, Callable] = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "frame": _frame,
    "triangle": _triangle,
    "cross": _cross,
    "star": _star,
    "stripes": _stripes,
    "crescent": _crescent,
    "chequer": _chequer,
}

# Pictures -----------------------------------------------------------------------------------------


def draw_shapes(
    labels: Sequence[int],
    nuisances: Mapping[str, float] = NUISANCES,
    name: str = "train",
    seed: int = 0,
) -> np.ndarray:
    """Pictures of Shapes-32, one for each label: uint8 (N, 3, 32, 32).

    Args:
        labels: classes, 0 to 9 in the order of the dataset's ``classes``.
        nuisances: how much of what varies, by name; what is not named does not vary. With none
            each class is one light shape on grey.
        name: which series of draws; ``"train"`` and ``"test"`` are the dataset's.
        seed: 0 is the dataset's.

    A picture is a function of its place in the series and of its label, and each nuisance has
    draws of its own: with one nuisance less, all others stay as they were.

    Raises:
        InputError: a label that is no class, or an unknown nuisance.
    """
    labels = np.asarray(labels)
    if not np.isin(labels, np.arange(len(SHAPES))).all():
        raise InputError(f"Labels of Shapes-32 are whole numbers from 0 to {len(SHAPES) - 1}.")
    for nuisance in nuisances:
        look_up("nuisance", nuisance, NUISANCES)
    amounts = {what: float(nuisances.get(what, 0)) for what in NUISANCES}
    deviates = {
        what: _deviates(stream(seed, "drawn", "shapes-32", name, what), len(labels), *shape)
        for what, shape in _DRAWS.items()
    }
    noise = stream(seed, "drawn", "shapes-32", name, "noise")
    images = np.empty((len(labels), 3, SIDE, SIDE), np.uint8)
    for i in range(0, len(labels), CHUNK):
        part = slice(i, i + CHUNK)
        chunk = {what: values[part] for what, values in deviates.items()}
        chunk["noise"] = _grain(noise, len(labels[part]))
        images[part] = _chunk(labels[part], chunk, amounts)
    return images


# How many deviates a picture needs of each kind.
_DRAWS = {
    "position": (2,),
    "size": (),
    "rotation": (),
    "contrast": (),
    "sign": (),
    "colour": (3,),
    "ground": (3,),
    "gradient": (2,),
    "clutter": (3, BLOTCHES, BLOTCHES),
    "texture": (1, TEXTURE, TEXTURE),
    "marks": (MARKS, 7),  # place, direction, length, colour
}


def _deviates(draws: Stream, *shape: int) -> np.ndarray:
    """Uniform between -1 and 1, float32."""
    return (2 * draws.uniform(*shape) - 1).astype(np.float32)


def _grain(noise: Stream, n: int) -> np.ndarray:
    """Deviates from -1 to 1 for every pixel and channel: the sum of two random bytes."""
    words = noise.bits(n * 2 * 3 * SIDE * SIDE // 8).astype("<u8")
    octets = words.view(np.uint8).reshape(n, 2, 3, SIDE, SIDE)
    return (octets[:, 0].astype(np.float32) + octets[:, 1] - 255) / np.float32(255)


_AXIS = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
_X, _Y = _AXIS[None, None, :], _AXIS[None, :, None]


def _chunk(labels, d: Mapping[str, np.ndarray], amount: Mapping[str, float]) -> np.ndarray:
    """Pictures from their deviates ``d``: ground, shape on it, marks over both, noise."""
    ground = 0.5 + 0.5 * amount["ground"] * d["ground"][:, :, None, None]
    contrast = CONTRAST * (1 + amount["contrast"] * d["contrast"])
    contrast = np.where(d["sign"] < 2 * amount["sign"] - 1, -contrast, contrast)
    tint = contrast[:, None] * (1 + amount["colour"] * d["colour"])

    slope = amount["gradient"] / 16 * d["gradient"][:, :, None, None]
    picture = (slope[:, 0] * _X + slope[:, 1] * _Y)[:, None] + ground
    picture += amount["clutter"] * _between(d["clutter"])
    shape = tint[:, :, None, None] + amount["texture"] * _between(d["texture"])
    picture += _cover(labels, d, amount)[:, None] * shape
    if amount["marks"]:
        for k in range(MARKS):
            cover, colour = _mark(d["marks"][:, k])
            picture += (amount["marks"] * cover)[:, None] * (colour + ground - picture)
    picture += amount["noise"] * d["noise"]
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def _cover(labels, d, amount) -> np.ndarray:
    """How much of each pixel the shape covers, 0 to 1: (N, rows, columns)."""
    centre = amount["position"] * d["position"]
    scale = 8.5 * (1 + amount["size"] * d["size"])[:, None, None]
    u, v = _turned(
        _X - centre[:, :1, None], _Y - centre[:, 1:, None], amount["rotation"] * d["rotation"]
    )
    u, v = u / scale, v / scale
    depth = np.empty_like(u)
    for label, shape in enumerate(SHAPES.values()):
        mine = labels == label
        if mine.any():
            depth[mine] = shape(u[mine], v[mine])
    return np.clip(depth * scale + 0.5, 0, 1)


def _turned(x, y, half):
    """Coordinates turned by the angle whose half has the tangent ``half``: no sine is needed."""
    half = half[:, None, None]
    cos, sin = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    return cos * x + sin * y, cos * y - sin * x


def _mark(d):
    """A bar 1.6 pixels wide: how much of each pixel it covers, and its colour on the ground."""
    x, y = 15 * d[:, 0, None, None], 15 * d[:, 1, None, None]
    u, v = _turned(_X - x, _Y - y, d[:, 2])
    long = (3 + d[:, 3])[:, None, None]
    return np.clip(_box(u, v, long, np.float32(0.8)) + 0.5, 0, 1), 0.5 * d[:, 4:, None, None]


def _between(grid: np.ndarray) -> np.ndarray:
    """A coarse square grid, linearly interpolated to the picture's rows and columns."""
    points = grid.shape[-1]
    at = np.arange(SIDE) * (points - 1) / (SIDE - 1)
    low = np.minimum(at.astype(np.int64), points - 2)
    share = (at - low).astype(np.float32)
    columns = grid[..., low] + share * (grid[..., low + 1] - grid[..., low])
    return columns[..., low, :] + share[:, None] * (columns[..., low + 1, :] - columns[..., low, :])


def draw_all(folder: Path, files: Mapping[str, str]) -> list[Part]:
    """Train and test; there are no files, and the pictures are drawn once a process."""
    return list(_drawn())


@lru_cache(maxsize=1)
def _drawn() -> tuple[Part, ...]:
    parts = []
    for name, n in (("train", N_TRAIN), ("test", N_TEST)):
        labels = (np.arange(n) % len(SHAPES)).astype(np.uint8)
        parts.append(Part(draw_shapes(labels, name=name), labels))
    return tuple(parts)
