"""The dense path: fully connected networks on a CPU, a whole step in one compiled function.

A LeNet's step is three products forward and five backward. On a CPU they are so small that as much
time again goes into calling them, one after another, and threads that each train a network wait
for Python's lock in between. The compiled step knows no lock, and a gradient is used before it has
left the cache. Taken for one network that is a chain of linear layers and activations, in float32
or float64, without augmentation; ``LTH_DENSE=0`` turns it off. *How fast, and why* has what it was
measured to gain. The steps are the plain path's up to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lth_utils.datasets import Split
from lth_utils.models import Weights
from lth_utils.training._batches import Order
from lth_utils.training._chains import Link, affine, chain, is_for_chains, rule, values
from lth_utils.training._plain import evaluate

if TYPE_CHECKING:
    from lth_utils.training._train import Job


def takes(job: Job) -> bool:
    """Whether the dense path trains this one network; not if its mask moves."""
    return os.environ.get("LTH_DENSE", "1") != "0" and is_for_chains(job) and not job.moves


class Dense:
    """An engine that trains one chain of linear layers."""

    path = "dense"

    def __init__(self, job: Job):
        from lth_utils.training import _kernels

        self.kernels, self.job, self.rule, self.taken = _kernels, job, rule(job), 0
        self.order = Order(job.seeds[0], job.copies[0], len(job.data.train))
        start = job.beginning()
        self.dtype = next(iter(start.values())).dtype
        self.links = chain(job.model)
        self.layers = tuple(self._layer(link, start) for link in self.links)
        self.images = job.data.train.images.flatten(1).numpy()
        self.labels = job.data.train.labels.numpy()
        self.shift, self.scale = affine(job.data, self.dtype)
        self.pixels = np.zeros(len(self.shift) * self.width, self.shift.dtype)

    @property
    def width(self) -> int:
        """The batch, made up to whole vectors."""
        return _up(self.job.recipe.batch, self.kernels.LANES)

    def _layer(self, link: Link, start: Weights):
        k, (name, layer, activation) = self.kernels, link
        weight, kept = start[f"{name}.weight"][0], self.job.mask[f"{name}.weight"][0]
        units, fed = weight.shape
        rows, inputs = _up(units, k.ROWS), _up(fed, k.LANES)
        bias = weight.new_zeros(units) if layer.bias is None else start[f"{name}.bias"][0]

        def padded(tensor: Tensor) -> np.ndarray:
            """A copy with zeros around it, in one row."""
            fill = F.pad(tensor, (0, inputs - fed, 0, rows - units)).flatten()
            return fill.contiguous().clone().numpy()

        freezes = self.job.freezes and bool(self.job.frozen[f"{name}.weight"].any())
        weights = values(padded(weight))
        weights = weights._replace(gradient=np.zeros(k.ROWS * inputs, weights.value.dtype))
        empty = np.zeros(rows * self.width, weights.value.dtype)
        return k.Layer(
            inputs=inputs,
            units=rows,
            fed=fed,
            kind={None: k.IDENTITY, nn.ReLU: k.RELU, nn.Tanh: k.TANH}[activation],
            biased=layer.bias is not None,
            weights=weights,
            biases=values(F.pad(bias, (0, rows - units)).clone().numpy()),
            kept=padded(kept.to(torch.uint8)),
            masked=not bool(kept.all()),
            freezes=freezes,
            fixed=padded(weight) if freezes else weights.value[:0].copy(),
            outputs=empty,
            slopes=empty.copy(),
            seen=np.zeros(inputs * self.width, empty.dtype),
        )

    def advance(self, first: int, last: int) -> None:
        recipe = self.job.recipe
        rates = np.array(recipe.rates(first, last, len(self.labels)))
        index = self.order.batches(first, last, recipe.batch)
        self.kernels.advance_dense(
            self.layers, self.links[-1].layer.out_features, self.pixels, self.scale, self.shift,
            self.rule, self.images, self.labels, index, rates, self.taken,
        )  # fmt: skip
        self.taken += last - first

    @property
    def weights(self) -> Weights:
        weights = {}
        for (name, layer, _), held in zip(self.links, self.layers, strict=True):
            value = torch.from_numpy(held.weights.value).view(1, held.units, held.inputs)
            weights[f"{name}.weight"] = value[:, : layer.out_features, : held.fed]
            if layer.bias is not None:
                bias = torch.from_numpy(held.biases.value)
                weights[f"{name}.bias"] = bias[None, : layer.out_features]
        return weights

    def evaluate(self, weights: Weights, split: Split) -> tuple[Tensor, Tensor]:
        return evaluate(self.job.model, weights, self.job.data, split)

    def state(self) -> dict[str, Tensor]:
        state = {"taken": torch.tensor(self.taken)}
        for (name, _, _), layer in zip(self.links, self.layers, strict=True):
            for part in ("weights", "biases"):
                for field in ("value", "mean", "square"):
                    array = getattr(getattr(layer, part), field)
                    state[f"{name}.{part}.{field}"] = torch.from_numpy(array)
        return state

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.taken = int(state["taken"])
        for name, tensor in self.state().items():
            if name != "taken":
                tensor.copy_(state[name])  # a view of the array


def _up(count: int, to: int) -> int:
    """The next multiple of ``to``."""
    return -(-count // to) * to
