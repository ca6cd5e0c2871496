"""The plain path: any network, on any device, R members at once, by automatic differentiation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lth_utils import models
from lth_utils.datasets import Dataset, Split
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.training import _captured
from lth_utils.training._batches import Order, augmentation, augmented, noise

if TYPE_CHECKING:
    from lth_utils.training._train import Job


class Plain:
    """An engine that trains R members by automatic differentiation."""

    def __init__(self, job: Job):
        self.job, self.recipe, self.data = job, job.recipe, job.data
        self.tensors = _Tensors(job.model, job.beginning())
        # What keeps everything need not be multiplied in.
        self.masks = {
            name: self.tensors.arrange(name, kept.to(self.tensors.dtype))
            for name, kept in job.mask.items()
            if not kept.all()
        }
        self.frozen = {
            name: (self.tensors.arrange(name, frozen), self.tensors[name].detach().clone())
            for name, frozen in (job.frozen.items() if job.freezes else ())
            if frozen.any()
        }
        self.noisy = {
            name: layer
            for name, layer in job.model.named_modules()
            if isinstance(layer, models.Noisy) and layer.purpose
        }
        captured = _captured.takes(job)
        self.path = "captured" if captured else "plain"
        trained = [self.tensors[name] for name in models.trainable(job.model)]
        self.optimiser = job.recipe.optimiser.build(trained, capturable=captured)
        self.step = _captured.Captured(self) if captured else self._step
        self.orders = [
            Order(seed, copy, len(job.data.train))
            for seed, copy in zip(job.seeds, job.copies, strict=True)
        ]

    def advance(self, first: int, last: int) -> None:
        rates = self.recipe.rates(first, last, len(self.data.train))
        for rate, batch in zip(rates, self._batches(first, last), strict=True):
            self.step(*batch, rate)

    def _batches(self, first: int, last: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """What every member sees at each step, with its noise set for the step."""
        recipe = self.recipe
        # Drawn for the whole stretch: what a GPU needs crosses to it once, not at every step.
        index = self._sent([order.batches(first, last, recipe.batch) for order in self.orders])
        draws = [None] * (last - first)
        if recipe.augment:
            arguments = (self.job.seeds, self.job.copies, first, last, recipe.batch)
            draws = self._sent(augmentation(*arguments))
        for i in range(last - first):
            for name, layer in self.noisy.items():
                where = (self.job.seeds, self.job.copies, layer.purpose, first + i, name)
                layer.streams = noise(*where)
            yield index[:, i], draws[i]

    def _sent(self, draws) -> Tensor:
        return torch.from_numpy(np.stack(draws)).to(self.job.device)

    def _step(self, index: Tensor, draws: Tensor | None, rate: float | Tensor) -> None:
        """One step of every member, on the images at ``index`` (R, B)."""
        self.optimiser.param_groups[0]["lr"] = rate
        self._backward(index, draws)
        self.optimiser.step()
        with torch.no_grad():
            for name, kept in self.masks.items():
                self.tensors[name].mul_(kept)
            for name, (frozen, value) in self.frozen.items():
                self.tensors[name].copy_(torch.where(frozen, value, self.tensors[name]))

    def _backward(self, index: Tensor, draws: Tensor | None) -> None:
        """The gradient of every weight, pruned or not: the network runs on zeros where it is."""
        pictures, labels = self.data.train.images[index], self.data.train.labels[index]
        if draws is not None:
            pictures = augmented(pictures, self.recipe.augment, draws)
        outputs = self._outputs(pictures)
        # The mean over each member's batch, summed over members: the members share no weight, so
        # each receives its own gradient and no other. An image has one label, a text many.
        loss = F.cross_entropy(outputs.flatten(0, -2), labels.flatten(), reduction="sum")
        self.optimiser.zero_grad(set_to_none=True)
        (loss / labels[0].numel()).backward()

    def _outputs(self, pictures: Tensor) -> Tensor:
        images = self.data.normalise(pictures, self.tensors.dtype)
        with precision(self.recipe.precision, self.job.device):
            return models.forward(
                self.job.model, self.tensors.weights, self.tensors.pictures(images), training=True
            ).to(self.tensors.dtype)

    @property
    def weights(self) -> Weights:
        return {name: w.detach() for name, w in self.tensors.weights.items()}

    # For masks that move -------------------------------------------------------------------------

    def slopes(self, at: int) -> Weights:
        """The loss's gradient at iteration ``at`` for every prunable weight, kept or not."""
        [batch] = self._batches(at, at + 1)
        self._backward(*batch)
        return {n: self.tensors.as_known(n, self.tensors[n].grad) for n in self.job.mask}

    def remask(self, mask: Mask, fresh: Mask) -> None:
        """Train on under another mask; what is ``fresh`` starts at zero, with no past."""
        for name, kept in self.masks.items():
            tensor, new = self.tensors[name], self.tensors.arrange(name, fresh[name])
            kept.copy_(self.tensors.arrange(name, mask[name]))
            past = self.optimiser.state[tensor].values()
            with torch.no_grad():
                for each in (tensor, *(v for v in past if torch.is_tensor(v) and v.dim())):
                    each.masked_fill_(new, 0)

    def evaluate(self, weights: Weights, split: Split) -> tuple[Tensor, Tensor]:
        with precision(self.recipe.precision, self.job.device):
            return evaluate(self.job.model, weights, self.data, split)

    def state(self) -> dict[str, Tensor]:
        state = {f"weights.{name}": w for name, w in self.weights.items()}
        for i, tensor in enumerate(self.optimiser.param_groups[0]["params"]):
            for field, value in self.optimiser.state[tensor].items():
                if value is not None:
                    state[f"optimiser.{i}.{field}"] = value
        return {name: tensor.detach() for name, tensor in state.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, tensor in self.tensors.weights.items():
                tensor.copy_(state[f"weights.{name}"])
        for i, tensor in enumerate(self.optimiser.param_groups[0]["params"]):
            prefix = f"optimiser.{i}."
            fields = {
                name.removeprefix(prefix): value.clone()
                for name, value in state.items()
                if name.startswith(prefix)
            }
            # Moments lie in memory as their tensor does; the count of steps has no shape.
            for field, value in fields.items():
                if value.shape == tensor.shape:
                    fields[field] = torch.empty_like(tensor).copy_(value).detach()
            if fields:
                self.optimiser.state[tensor] = fields


class _Tensors:
    """The tensors being trained, laid out in memory as the products like them.

    A population's product reads weights as (R, in, out) while a weight is (R, out, in). Training
    the transpose spares a transposed read in every step: a third of the time of a LeNet's.
    Convolutions read channels last, on a CPU as on a GPU.
    """

    def __init__(self, model: nn.Module, weights: Weights):
        stacked = models.is_stackable(model)
        self.flipped = {n for n in models.prunable(model) if stacked and weights[n].dim() == 3}
        self.channels_last = any(kind == "conv" for kind in models.prunable(model).values())
        self.held = {n: self.arrange(n, w.clone()) for n, w in weights.items()}
        for name in models.trainable(model):
            self.held[name].requires_grad_()
        self.dtype = weights[models.trainable(model)[0]].dtype

    def __getitem__(self, name: str) -> Tensor:
        return self.held[name]

    def arrange(self, name: str, tensor: Tensor) -> Tensor:
        if name in self.flipped:
            return tensor.mT.contiguous()
        if tensor.dim() == 5:
            return channels_last(tensor)
        return tensor.contiguous()

    def pictures(self, images: Tensor) -> Tensor:
        """Images (R, B, C, H, W) as the first layer likes them."""
        return channels_last(images) if self.channels_last else images

    @property
    def weights(self) -> Weights:
        """Views of the tensors in the shapes that everyone else knows."""
        return {n: self.as_known(n, t) for n, t in self.held.items()}

    def as_known(self, name: str, tensor: Tensor) -> Tensor:
        return tensor.mT if name in self.flipped else tensor


def channels_last(tensor: Tensor) -> Tensor:
    """The same values with the third axis of five innermost in memory, as convolutions of a
    population like weights (R, out, in, H, W) and images (R, B, C, H, W); shape as before."""
    if tensor.dim() != 5:
        return tensor
    return tensor.movedim(2, -1).contiguous().movedim(-1, 2)


def precision(name: str, device: torch.device) -> contextlib.AbstractContextManager:
    """Where products are computed in bfloat16, if ``name`` says so; weights stay as they are."""
    if name == "float32":
        return contextlib.nullcontext()
    # A captured graph must not hold on to weights that were rounded before it.
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def chunk_of(model: nn.Module) -> int:
    """How many images to look at together: fewer where pictures remain pictures for many layers."""
    return 2500 if models.is_stackable(model) else 250


@torch.no_grad()
def evaluate(
    model: nn.Module, weights: Weights, data: Dataset, split: Split, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy and accuracy (percent) of R members over all images of a split, or over
    all characters of a text.

    Returns:
        Two float64 tensors (R,) on the CPU.
    """
    chunk = chunk or chunk_of(model)
    loss, right = 0, 0
    dtype = next(iter(weights.values())).dtype
    for at in range(0, len(split), chunk):
        labels = split.labels[at : at + chunk]
        images = data.normalise(split.images[at : at + chunk], dtype)
        if images.dim() == 4 and not models.is_stackable(model):
            images = images.contiguous(memory_format=torch.channels_last)
        outputs = models.forward(model, weights, images).to(dtype)
        per_image = F.cross_entropy(
            outputs.flatten(0, -2), labels.flatten().repeat(len(outputs)), reduction="none"
        )
        loss = loss + per_image.view(len(outputs), -1).double().sum(1)
        right = right + (outputs.argmax(-1) == labels).flatten(1).sum(1)
    count = split.labels.numel()
    return (loss / count).cpu(), (100 * right.double() / count).cpu()
