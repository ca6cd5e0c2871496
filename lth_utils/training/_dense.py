"""The dense path: fully connected networks on a CPU, with nothing between their products.

A LeNet's step is three products forward and five backward, and on a CPU as much time again goes
into launching small operations and into passes over memory. Here gradients are written down by
hand, into arrays that stay, and the optimiser's step and the mask are one pass. Taken for one
network that is a chain of linear layers and activations, in float32 or float64, without
augmentation; ``LTH_DENSE=0`` turns it off. Measured to save about a third of the plain path's time.
The steps are the plain path's up to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from lth_utils.datasets import Split
from lth_utils.models import Weights
from lth_utils.training._batches import Order
from lth_utils.training._chains import chain, is_for_chains, rule, values
from lth_utils.training._plain import evaluate

if TYPE_CHECKING:
    from lth_utils.training._train import Job


def takes(job: Job) -> bool:
    """Whether the dense path trains this one network."""
    return os.environ.get("LTH_DENSE", "1") != "0" and is_for_chains(job)


class Dense:
    """An engine that trains one chain of linear layers."""

    path = "dense"

    def __init__(self, job: Job):
        from lth_utils.training import _kernels

        self.update = _kernels.update
        self.job, self.links, self.rule, self.taken = job, chain(job.model), rule(job), 0
        self.order = Order(job.seeds[0], job.copies[0], len(job.data.train))
        start = job.mask.apply(job.start)
        self.dtype = next(iter(start.values())).dtype
        # Weights lie in memory as (in, out), which is how products read them.
        self.shapes = {name: w[0].t().shape for name, w in start.items()}
        self.values = {name: values(w[0].t().flatten().numpy()) for name, w in start.items()}
        everything = np.empty(0, np.uint8)
        self.kept = {
            name: everything if name not in job.mask or job.mask[name].all()
            else job.mask[name][0].t().flatten().to(torch.uint8).numpy()
            for name in start
        }  # fmt: skip
        self.value = {name: self._view(name, "value") for name in start}
        self.gradient = {name: self._view(name, "gradient") for name in start}
        batch, classes = job.recipe.batch, self.links[-1].layer.out_features
        self.hot = torch.eye(classes, dtype=self.dtype) / batch
        self.after = [self._zeros(link.layer.out_features) for link in self.links]
        self.slope = [self._zeros(link.layer.out_features) for link in self.links]

    def _view(self, name: str, field: str) -> Tensor:
        return torch.from_numpy(getattr(self.values[name], field)).view(self.shapes[name])

    def _zeros(self, units: int) -> Tensor:
        return torch.zeros(self.job.recipe.batch, units, dtype=self.dtype)

    @torch.no_grad()
    def advance(self, first: int, last: int) -> None:
        recipe, train = self.job.recipe, self.job.data.train
        index = torch.from_numpy(self.order.batches(first, last, recipe.batch))
        for i, iteration in enumerate(range(first, last)):
            images = train.images.index_select(0, index[i])
            images = self.job.data.normalise(images, self.dtype).flatten(1)
            self._forward(images)
            self._backward(images, train.labels.index_select(0, index[i]))
            self.taken += 1
            rate = recipe.rate(iteration, len(train))
            for name, parts in self.values.items():
                self.update(parts, self.kept[name], self.rule, rate, self.taken)

    def _forward(self, x: Tensor) -> None:
        for (name, layer, activation), y in zip(self.links, self.after, strict=True):
            if layer.bias is None:
                torch.mm(x, self.value[f"{name}.weight"], out=y)
            else:
                bias, weight = self.value[f"{name}.bias"], self.value[f"{name}.weight"]
                torch.addmm(bias, x, weight, out=y)
            if activation is nn.ReLU:
                y.relu_()
            elif activation is nn.Tanh:
                y.tanh_()
            x = y

    def _backward(self, images: Tensor, labels: Tensor) -> None:
        # Mean cross-entropy's gradient at the outputs, (softmax − one-hot) / batch.
        slope = torch.softmax(self.after[-1], 1, out=self.slope[-1])
        slope.div_(len(labels)).sub_(self.hot.index_select(0, labels))
        for at in reversed(range(len(self.links))):
            name, layer, activation = self.links[at]
            if activation is nn.ReLU:
                slope.mul_(self.after[at] > 0)
            elif activation is nn.Tanh:
                slope.mul_(1 - self.after[at].square())
            before = self.after[at - 1] if at else images
            torch.mm(before.T, slope, out=self.gradient[f"{name}.weight"])
            if layer.bias is not None:
                torch.sum(slope, 0, out=self.gradient[f"{name}.bias"])
            if at:
                weight = self.value[f"{name}.weight"]
                slope = torch.mm(slope, weight.T, out=self.slope[at - 1])

    @property
    def weights(self) -> Weights:
        return {name: value.t().unsqueeze(0) for name, value in self.value.items()}

    def evaluate(self, weights: Weights, split: Split) -> tuple[Tensor, Tensor]:
        return evaluate(self.job.model, weights, self.job.data, split)

    def state(self) -> dict[str, Tensor]:
        state = {"taken": torch.tensor(self.taken)}
        for name in self.values:
            for field in ("value", "mean", "square"):
                state[f"{field}.{name}"] = self._view(name, field)
        return state

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.taken = int(state["taken"])
        for name, tensor in self.state().items():
            if name != "taken":
                tensor.copy_(state[name])  # a view of the array
