"""A supermask of a density to choose: fixed weights, and how well what is kept of them answers."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping, Sequence

import matplotlib.figure
import numpy as np
from matplotlib.colors import to_hex
from torch import Tensor

from lth_utils import plots
from lth_utils.datasets import Dataset
from lth_utils.errors import InputError
from lth_utils.randomness import stream
from lth_utils.widgets._figure import Figure, source

KINDS = ("learned", "random", "upside down")
"""The highest scores, as many at random, the lowest scores."""
DENSITIES = tuple(
    share / part
    for part in (1, 10, 100)
    for share in (1, 0.8, 0.63, 0.5, 0.4, 0.32, 0.25, 0.2, 0.16, 0.125)
    if share / part >= 0.005
)
SIZES = 32
"""How many absolute values a layer's weights are rounded to."""
STEPS = 4
"""Steps to which the mean pixel is rounded, for each of the 256 that a pixel has."""
EXACT = 2**53
MOST_WEIGHTS = 1_000_000


class _Supermask(Figure):
    _esm = source("shared.js", "chart.js", "supermask.js")
    _css = source("shared.css", "chart.css", "supermask.css")
    alt = "Accuracy against density for a learned, a random and an upside-down mask."


def supermask(
    weights: Mapping[str, Tensor],
    scores: Mapping[str, Tensor],
    data: Dataset,
    title: str = "",
    images: int = 300,
    density: float = 0.5,
    densities: Sequence[float] | None = None,
) -> Figure:
    """Keep the best-scored weights of each layer, at a density to choose, and see what they do.

    The network runs in the page on test images, for the learned mask and two controls: as many
    weights of each layer at random (one draw), and those of the lowest scores. Of n weights of a
    layer ``round(density * n)`` are kept, at least one; of equal scores the first.

    A network without biases answers the same whatever positive number multiplies a layer. So
    *dynamic rescaling* makes no difference to what is shown, and weights travel as whole numbers:
    their sign, and 32 sizes. The curve is computed with the same numbers.

    Args:
        weights: of a chain of linear layers with ReLU between them, in order: tensors (out, in)
            or, of which the first member is shown, (R, out, in). Biases must be zero.
        scores: of the same layers and shapes; higher is kept longer.
        data: whose first test images are shown to the network; of one channel.
        title: what the scores were learned on; a stand-in or a narrow network is named here.
        images: how many test images.
        density: where the slider begins: at the nearest of ``densities``.
        densities: the slider's stops, at most 100, from dense to sparse; by default 24, from 100%
            to 0.5%.

    Raises:
        InputError: the layers are no such chain, or more than a page should carry; a bias is not
            zero; scores do not fit the weights; there are no such images or densities.
    """
    layers, ranked = _chain(weights), _chain(scores)
    if {n: w.shape for n, w in layers.items()} != {n: s.shape for n, s in ranked.items()}:
        raise InputError(
            f"Scores must have the weights' layers and shapes: {_shapes(layers)}; "
            f"they have {_shapes(ranked)}."
        )
    size = sum(w.size for w in layers.values())
    if size > MOST_WEIGHTS:
        raise InputError(f"The layers have {size:,} weights, and a page carries {MOST_WEIGHTS:,}.")
    stops = list(DENSITIES if densities is None else densities)
    if not 1 <= len(stops) <= 100 or not all(0 < d <= 1 for d in stops):
        raise InputError("densities are 1 to 100 numbers above 0 and up to 1.")
    if any(d <= e for d, e in itertools.pairwise(stops)):
        raise InputError("densities run from dense to sparse, each below the one before.")
    channels, *shape = data.input_shape
    inputs = next(iter(layers.values())).shape[1]
    if channels != 1 or inputs != shape[0] * shape[1]:
        raise InputError(
            f"The first layer reads {inputs} inputs, and images of {data.title} are "
            f"{tuple(data.input_shape)}; a picture needs one channel and an input for each pixel."
        )
    if images not in range(1, len(data.test) + 1):
        raise InputError(f"Cannot show {images} of {len(data.test):,} test images.")

    test = data.test.first(images).to("cpu")
    pixels, labels = test.images.flatten(1).numpy(), test.labels.numpy()
    whole = {name: _rounded(w) for name, w in layers.items()}
    counts = {name: [max(1, round(d * w.size)) for d in stops] for name, w in layers.items()}
    keys = {
        n: int(stream(0, "random mask", "supermask", n).bits(1)[0] >> np.uint64(32)) for n in layers
    }
    ranks = {
        "learned": {name: _ranks(-s) for name, s in ranked.items()},
        "random": {name: _ranks(_mixed(w.size, keys[name])) for name, w in layers.items()},
    }
    ranks["upside down"] = {name: r.size - 1 - r for name, r in ranks["learned"].items()}
    shift = round(STEPS * 255 * data.mean[0])
    seen = STEPS * pixels.astype(np.float64) - shift
    accuracy = {
        kind: [
            100 * int((_answers(whole, ranks[kind], counts, stop, seen) == labels).sum()) / images
            for stop in range(len(stops))
        ]
        for kind in KINDS
    }
    # A weight travels with the place of its rank among all places where a mask may end.
    bounds = {n: sorted({*c, *(whole[n].size - k for k in c)} - {0}) for n, c in counts.items()}
    kept = [sum(c[stop] for c in counts.values()) for stop in range(len(stops))]
    start = int(np.abs(np.log(np.array(stops) / density)).argmin())
    spec = {
        "title": title,
        "data": data.plain_title,
        "images": images,
        "pixels": shape,
        "size": size,
        "steps": STEPS,
        "shift": shift,
        "densities": [100 * share for share in stops],
        "kept": kept,
        "start": start,
        "layers": [
            {"name": n, "shape": w.shape, "counts": counts[n], "bounds": bounds[n], "key": keys[n]}
            for n, w in whole.items()
        ],
        "kinds": [
            {"name": kind, "colour": to_hex(plots.COLOURS[colour]), "accuracy": accuracy[kind]}
            for kind, colour in zip(KINDS, ("ticket", "random mask", "smallest"), strict=True)
        ],
    }
    parts = []
    for name, values in whole.items():
        place = np.searchsorted(bounds[name], ranks["learned"][name], side="right")
        parts += [values.astype(np.int8), place.astype(np.uint8)]
    packed = b"".join(part.tobytes() for part in (*parts, pixels, labels.astype(np.uint8)))
    first = next(iter(whole))
    inside = ranks["learned"][first] < counts[first][start]
    read = inside.reshape(whole[first].shape).sum(0).reshape(shape)
    # Noise has no repetitions worth looking for: this strategy leaves more to Huffman's code.
    deflate = zlib.compressobj(9, strategy=zlib.Z_FILTERED)
    return _Supermask(spec, deflate.compress(packed) + deflate.flush(), _picture(spec, read))


def _chain(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The layers of the first member, float64 (out, in), each reading what the one before gives."""
    layers = {}
    for name, tensor in tensors.items():
        values = tensor.detach().cpu().double().numpy()
        if not np.isfinite(values).all():
            raise InputError(f"{name} has values that are no finite numbers.")
        if name.endswith("bias"):
            if values.any():
                raise InputError(f"{name} is not zero; the figure shows networks without biases.")
        elif values.ndim in (2, 3) and values.size:
            layers[name] = values[0] if values.ndim == 3 else values
        else:
            raise InputError(
                f"{name} has shape {values.shape}; the figure shows linear layers, (out, in)."
            )
    if not layers or any(a.shape[0] != b.shape[1] for a, b in itertools.pairwise(layers.values())):
        raise InputError(
            "Each layer must read what the one before gives, in order from images to answers; "
            f"got {_shapes(layers) or 'no layer'}."
        )
    return layers


def _shapes(layers: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {values.shape}" for name, values in layers.items())


def _rounded(values: np.ndarray) -> np.ndarray:
    """Signs times odd whole numbers, in their smallest terms: 1 where all sizes are equal.

    Sums of whole numbers are exact in any order, so that page and Python agree on every answer.
    """
    most = np.abs(values).max()
    if most == 0:
        return values.astype(np.int64)
    sizes = np.minimum((np.abs(values) / most * SIZES).astype(np.int64), SIZES - 1)
    whole = np.sign(values).astype(np.int64) * (2 * sizes + 1)
    return whole // np.gcd.reduce(np.abs(whole), axis=None)


def _ranks(keys: np.ndarray) -> np.ndarray:
    """The place of each weight when keys are sorted, lowest first, of equal keys the first."""
    ranks = np.empty(keys.size, dtype=np.int64)
    ranks[np.argsort(keys.ravel(), kind="stable")] = np.arange(keys.size)
    return ranks


def _mixed(n: int, key: int) -> np.ndarray:
    """One 32-bit word for each position, no two the same: an order that a page computes anew.

    The last step of MurmurHash3 (Appleby, 2011) over multiples of an odd number.
    """
    x = np.arange(n, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(key)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))


def _answers(whole: dict, ranks: dict, counts: dict, stop: int, seen: np.ndarray) -> np.ndarray:
    """The class that each image gets, (N,); of equal outputs the first."""
    x = seen
    for depth, (name, values) in enumerate(whole.items()):
        kept = np.where(ranks[name].reshape(values.shape) < counts[name][stop], values, 0)
        kept = kept.astype(np.float64)
        most = STEPS * 255 if depth == 0 else x.max()
        # Pixels and the mean are added up apart in the page.
        if (2 if depth == 0 else 1) * most * np.abs(kept).sum(1).max() > EXACT:
            raise InputError(
                "The network is too deep or wide for exact sums; show one of fewer layers."
            )
        x = x @ kept.T
        if depth < len(whole) - 1:
            x = np.maximum(x, 0)
    return x.argmax(1)


def _picture(spec: dict, read: np.ndarray) -> matplotlib.figure.Figure:
    """Accuracy against density, and the pixels that the first layer reads at the start."""
    figure = matplotlib.figure.Figure(figsize=(7, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
    for kind, marker in zip(spec["kinds"], "os^", strict=True):
        left.plot(
            spec["densities"], kind["accuracy"], color=kind["colour"], marker=marker, ms=4,
            label=kind["name"],
        )  # fmt: skip
    left.axvline(spec["densities"][spec["start"]], color="0.3", lw=1, ls=":")
    plots.weights_axis(left, min(spec["densities"]))
    left.set(ylabel=f"accuracy on {spec['images']} test images (%)", ylim=(0, 102))
    left.legend(fontsize="small")
    right.imshow(read, cmap="Blues")
    right.set(xticks=[], yticks=[])
    right.grid(False)
    share = spec["densities"][spec["start"]]
    right.set_title(f"units that read each pixel, {share:.3g}% kept", fontsize="small")
    figure.suptitle(spec["title"], fontsize="medium")
    return figure
