"""The playground: draw a digit, and a winning ticket answers in the page."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.figure
import numpy as np
from matplotlib.colors import to_hex
from safetensors import SafetensorError
from safetensors.numpy import load_file

from lth_utils import datasets, plots
from lth_utils.errors import DataError
from lth_utils.widgets._figure import Figure, source

NAME = "lenet-mnist"
TITLES = {
    "dense": "dense network",
    "ticket": "winning ticket",
    "reinit": "same mask, fresh weights",
}


class _Playground(Figure):
    _esm = source("shared.js", "playground.js")
    _css = source("shared.css", "playground.css")
    alt = "Twenty handwritten digits, and the test accuracy of three networks."


def playground(folder: str | Path | None = None) -> Figure:
    """Draw a digit: the dense network, the winning ticket and its reinit answer side by side.

    The networks run in the page, from their recorded weights.

    Args:
        folder: holds ``lenet-mnist.safetensors`` and ``lenet-mnist.json`` as
            ``data/make_playground.py`` writes them; by default those that come with the book.

    Raises:
        DataError: the files are missing or damaged.
    """
    tensors, record = _recorded(folder)
    spec = {
        "title": f"{record['settings']['network']} on {record['dataset']['title']}: "
        "the dense network, its winning ticket, and the ticket's mask with fresh weights",
        "networks": [
            n | {"title": TITLES[n["name"]], "colour": to_hex(plots.COLOURS[n["name"]])}
            for n in record["networks"]
        ],
        "layers": record["layers"],
        "examples": record["examples"],
        "mean": record["dataset"]["mean"][0],
        "std": record["dataset"]["std"][0],
        "tensors": {},
    }
    data = bytearray()
    for name, tensor in sorted(
        tensors.items(), key=lambda item: item[1].dtype.itemsize, reverse=True
    ):
        spec["tensors"][name] = {
            "at": len(data), "shape": list(tensor.shape), "type": str(tensor.dtype)
        }  # fmt: skip
        data += tensor.tobytes()
    return _Playground(spec, bytes(data), _picture(spec, tensors["examples"]))


def _recorded(folder: str | Path | None) -> tuple[dict[str, np.ndarray], dict]:
    try:
        home = Path(folder) if folder else datasets.embedded("tickets")
        tensors = load_file(home / f"{NAME}.safetensors")
        record = json.loads((home / f"{NAME}.json").read_text())
        # What the figure shows; a file that lacks it is another file.
        tensors["examples"], record["examples"], record["layers"], record["dataset"]["mean"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        where = folder or "the package"
        raise DataError(
            f"The playground's networks in {where} are missing or damaged; "
            "make them with data/make_playground.py."
        ) from error
    return tensors, record


def _picture(spec: dict, examples: np.ndarray) -> matplotlib.figure.Figure:
    figure = matplotlib.figure.Figure(figsize=(7, 2.6), layout="constrained")
    for ax, digit in zip(figure.subplots(2, 10).ravel(), examples, strict=False):
        ax.imshow(digit, cmap="gray_r")
        ax.axis("off")
    rows = [
        f"{n['name']}: {n['weights']:,} weights, {n['accuracy']:.2f}%" for n in spec["networks"]
    ]
    figure.suptitle("Test accuracy.  " + "   ".join(rows), fontsize="medium")
    return figure
