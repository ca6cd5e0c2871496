"""What a criterion learns of a network that has yet to be trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from lth_utils import models
from lth_utils.errors import InputError
from lth_utils.models import Weights
from lth_utils.pruning._probe import BATCHES, batches, check_given, loss_of

if TYPE_CHECKING:
    from lth_utils.tasks import Task


@dataclass(frozen=True)
class Outlook:
    """How training is about to begin, and what flows through the network whatever the data.

    Each part is computed when it is first asked for. The loss is the one that the first steps of
    training see: batch norm uses each batch's own statistics, as in the papers' code, because those
    it has gathered say nothing yet. Dropout is off.

    Attributes:
        task: whose network, training images and batch size.
        weights: weights (R, \\*shape), with pruned ones zero.
        seeds: one for each member.
        level: makes the draw of each level's images its own.
    """

    task: Task | None
    weights: Weights
    seeds: Sequence[int] | None
    level: int = 0

    @cached_property
    def gradient(self) -> Weights:
        """Gradient g of the mean loss over twenty batches, for each prunable tensor (R, \\*shape).

        Raises:
            InputError: there is no task, not one seed for each member, or the weights do not fit.
        """
        return self._over_batches(lambda member, loss, wanted: grad(loss, wanted))

    @cached_property
    def hessian_gradient(self) -> Weights:
        """The Hessian of that loss times g, on the same batches, which is half the gradient of the
        squared length of g.

        Raises:
            InputError: as for the gradient.
        """
        gradient = self.gradient

        def product(member: int, loss: Tensor, wanted: Sequence[Tensor]) -> Sequence[Tensor]:
            slopes = grad(loss, wanted, create_graph=True)
            along = zip(slopes, gradient.values(), strict=True)
            return grad(sum((slope * g[member]).sum() for slope, g in along), wanted)

        return self._over_batches(product)

    @cached_property
    def flow(self) -> Weights:
        """By how much the outputs of the network of absolute weights, added up, rise with each of
        them, where every input is 1: float64 (R, \\*shape).

        Shifts (biases and batch norm's means) are left out, so that what comes out is a sum over
        paths; batch norm scales by the statistics it has, which at the start do nothing.

        Raises:
            InputError: there is no task, or the weights do not fit.
        """
        if self.task is None:
            raise InputError("This criterion sends ones through the network: pass task=....")
        models.check_weights(self.task.model, self.weights)
        names = list(models.prunable(self.task.model))
        weights = {n: w.detach().double().abs() for n, w in self.weights.items()}
        for name, w in weights.items():
            if name.endswith(("bias", "running_mean")):
                weights[name] = torch.zeros_like(w)
        wanted = [weights[n].requires_grad_() for n in names]
        ones = torch.ones(1, *self.task.data.input_shape, dtype=torch.double)
        outputs = models.forward(self.task.model, weights, ones.to(wanted[0].device))
        return dict(zip(names, grad(outputs.sum(), wanted), strict=True))

    def _over_batches(
        self, of: Callable[[int, Tensor, Sequence[Tensor]], Sequence[Tensor]]
    ) -> Weights:
        """The mean over the batches of what ``of(member, loss, wanted)`` gives for each."""
        check_given(self.task, self.weights, self.seeds)
        model, names = self.task.model, list(models.prunable(self.task.model))
        means = {n: torch.zeros_like(self.weights[n]) for n in names}
        with _beginning(model):
            for member, seed in enumerate(self.seeds):
                # Cloned, because batch norm changes its statistics in place, and counts batches.
                own = {n: w[member].detach().clone() for n, w in self.weights.items()}
                own |= {n: b.clone() for n, b in model.named_buffers() if n not in own}
                wanted = [own[n].requires_grad_() for n in names]
                for images, labels in batches(self.task, seed, self.level):
                    loss = loss_of(functional_call(model, own, images), labels)
                    for name, part in zip(names, of(member, loss, wanted), strict=True):
                        means[name][member] += part / BATCHES
        return means


@contextmanager
def _beginning(model: nn.Module) -> Iterator[None]:
    """While open, batch norm is as in training, and all else as in evaluation."""
    modes = {module: module.training for module in model.modules()}
    for module in modes:
        module.training = isinstance(module, _BatchNorm)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
