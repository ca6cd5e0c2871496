"""The sparse path: fully connected networks on a CPU whose cost follows their density.

Taken by a fixed rule, :func:`takes`, of what is trained and never of a timing, so that the same
study takes the same path on every machine; ``LTH_SPARSE=0`` turns it off. It was measured to break
even with the dense path at about a third of the weights, and to be more than four times as fast at
3.6%; *How fast, and why* has the table. The steps are the plain path's up to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lth_utils import models, shrinking
from lth_utils.datasets import Split
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.training._batches import Order
from lth_utils.training._chains import affine, chain, is_for_chains, rule, values

if TYPE_CHECKING:
    from lth_utils.training._train import Job

BELOW = 0.3
"""Density under which a network trains with the sparse kernel: clear of break-even, so that what
is fast on one machine is not slow on another."""


def takes(job: Job) -> bool:
    """Whether the sparse path trains this one network: a chain of linear layers and activations on
    a CPU, in float32 or float64, without augmentation, that keeps less than :data:`BELOW`. Weights
    that are frozen cost as much as others, so where there are any it does not."""
    return (
        os.environ.get("LTH_SPARSE", "1") != "0"
        and is_for_chains(job)
        and not job.freezes
        and job.mask.density.item() < BELOW
    )


class Sparse:
    """An engine that trains one network with the compiled kernel."""

    path = "sparse"

    def __init__(self, job: Job):
        from lth_utils.training import _kernels  # Numba takes a third of a second to import

        self.kernels, self.job = _kernels, job
        self.full = job.mask.apply(job.start)
        self.taken = 0
        self.order = Order(job.seeds[0], job.copies[0], len(job.data.train))
        self.dtype = next(iter(self.full.values())).dtype
        self.shift, self.scale = affine(job.data, self.dtype)
        self._wire()
        self.values = [values(self._pick(self.full, part)) for part in (0, 1)]
        self.rule = rule(job)
        self.images, self.labels = _flat(job.data.train)

    def _wire(self) -> None:
        """Number the live units in order, and note what each of them reads."""
        k, model = self.kernels, self.job.model
        batch = self.job.recipe.batch
        width = -(-batch // k.PIECE) * k.PIECE
        kinds = {None: k.IDENTITY, nn.ReLU: k.RELU, nn.Tanh: k.TANH}
        # What decays changes even where it has no effect, and what has no effect may have one
        # when the mask has moved: then nothing may be left out.
        whole = getattr(self.job.recipe.optimiser, "decay", 0) != 0 or self.job.moves
        live = None if whole else shrinking.live(model, self.job.mask)
        self.where: list[tuple[str, Tensor, Tensor]] = []
        self.rows: list[tuple[str, Tensor]] = []
        counts, reads, kind, biased = [np.zeros(1, np.int64)], [], [], []
        numbers, units = None, 0
        for name, layer, activation in chain(model):
            if whole:
                outputs, inputs = (torch.ones(n, dtype=torch.bool) for n in layer.weight.shape)
            else:
                inputs, outputs = live[f"{name}.weight"]
            if numbers is None:
                pixels = inputs.nonzero().squeeze(1)
                numbers, units = _numbered(inputs, 0)
            kept = self.job.mask[f"{name}.weight"][0] & outputs.unsqueeze(1) & inputs
            rows, columns = kept.nonzero(as_tuple=True)
            self.where.append((f"{name}.weight", rows, columns))
            reads.append((numbers[columns] * width).numpy().astype(np.uint32))
            alive = outputs.nonzero().squeeze(1)
            counts.append(kept.sum(1)[alive].numpy())
            kind.append(np.full(len(alive), kinds[activation], np.int8))
            biased.append(np.full(len(alive), layer.bias is not None))
            self.rows.append((f"{name}.bias" if layer.bias is not None else "", alive))
            numbers, units = _numbered(outputs, units)
        self.net = k.Net(
            batch=batch,
            width=width,
            pixels=pixels.numpy(),
            scale=self.scale[pixels.numpy()],
            shift=self.shift[pixels.numpy()],
            begins=np.cumsum(np.concatenate(counts)),
            reads=np.concatenate(reads),
            kind=np.concatenate(kind),
            biased=np.concatenate(biased),
            classes=len(alive),
        )

    def _pick(self, weights: Weights, part: int) -> np.ndarray:
        """The kernel's weights (part 0) or biases (part 1), in the order of its units."""
        if part == 0:
            picked = [weights[name][0, rows, columns] for name, rows, columns in self.where]
        else:
            zeros = next(iter(weights.values())).new_zeros
            picked = [
                weights[name][0, rows] if name else zeros(len(rows)) for name, rows in self.rows
            ]
        return torch.cat(picked).detach().numpy()

    # The engine ---------------------------------------------------------------------------------

    def advance(self, first: int, last: int) -> None:
        recipe = self.job.recipe
        rates = np.array(recipe.rates(first, last, len(self.job.data.train)))
        index = self.order.batches(first, last, recipe.batch)
        self.kernels.advance(
            self.net, *self.values, self.rule, self.images, self.labels, index, rates, self.taken
        )
        self.taken += last - first

    @property
    def weights(self) -> Weights:
        full = {name: w.clone() for name, w in self.full.items()}
        kept, biases = (torch.from_numpy(part.value) for part in self.values)
        sizes = [len(rows) for _, rows, _ in self.where]
        for (name, rows, columns), part in zip(self.where, kept.split(sizes), strict=True):
            full[name][0, rows, columns] = part
        sizes = [len(rows) for _, rows in self.rows]
        for (name, rows), part in zip(self.rows, biases.split(sizes), strict=True):
            if name:
                full[name][0, rows] = part
        return full

    def evaluate(self, weights: Weights, split: Split) -> tuple[Tensor, Tensor]:
        loss, right = self.kernels.evaluate(
            self.net, self._pick(weights, 0), self._pick(weights, 1), *_flat(split)
        )
        both = torch.tensor([[loss], [100 * right]], dtype=torch.float64) / len(split)
        return both[0], both[1]

    # For masks that move ------------------------------------------------------------------------

    def slopes(self, at: int) -> Weights:
        """The loss's gradient at iteration ``at`` for every prunable weight, kept or not."""
        job, data = self.job, self.job.data
        index = torch.from_numpy(self.order.batches(at, at + 1, job.recipe.batch))
        weights = {name: w.requires_grad_() for name, w in self.weights.items()}
        images = data.normalise(data.train.images[index], self.dtype)
        outputs = models.forward(job.model, weights, images)
        loss = F.cross_entropy(outputs[0], data.train.labels[index[0]])
        slopes = torch.autograd.grad(loss, [weights[name] for name in job.mask])
        return dict(zip(job.mask, slopes, strict=True))

    def remask(self, mask: Mask, fresh: Mask) -> None:
        """Train on under another mask; what is ``fresh`` starts at zero, with no past."""
        before, past = self.where, self.values[0]
        self.job = replace(self.job, mask=mask)
        self._wire()
        # Where the kernel held each of its weights until now; 0 where it held none.
        sources, held = [], 1
        for (name, *places), (_, *new) in zip(before, self.where, strict=True):
            slots = torch.zeros(mask[name].shape[1:], dtype=torch.int32)
            slots[*places] = torch.arange(held, held + len(places[0]), dtype=torch.int32)
            slots[fresh[name][0]] = 0
            sources.append(slots[*new])
            held += len(places[0])
        source = torch.cat(sources).numpy()
        moved = [np.concatenate([np.zeros(1, a.dtype), a])[source] for a in past]
        self.values[0] = type(past)(*moved)
        # All that is kept is held; what is not, is zero.
        self.full = {n: torch.zeros_like(w) if n in mask else w for n, w in self.full.items()}

    def state(self) -> dict[str, Tensor]:
        state = {"taken": torch.tensor(self.taken)}
        for name, part in zip(("weights", "biases"), self.values, strict=True):
            for field in ("value", "mean", "square"):
                state[f"{name}.{field}"] = torch.from_numpy(getattr(part, field))
        return state

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.taken = int(state["taken"])
        for name, tensor in self.state().items():
            if name != "taken":
                tensor.copy_(state[name])  # a view of the array


def _numbered(alive: Tensor, first: int) -> tuple[Tensor, int]:
    """Each live unit's number, counted on from ``first``, and the number after the last."""
    return first + alive.long().cumsum(0) - 1, first + int(alive.sum())


def _flat(split: Split) -> tuple[np.ndarray, np.ndarray]:
    return split.images.flatten(1).numpy(), split.labels.numpy()
