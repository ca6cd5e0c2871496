"""Chains: the networks that the CPU's fast paths know."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

from lth_utils import models
from lth_utils.datasets import Dataset
from lth_utils.recipes import Adam

if TYPE_CHECKING:
    from lth_utils.training._train import Job


class Link(NamedTuple):
    """A linear layer with what follows it."""

    name: str
    layer: nn.Linear
    activation: type[nn.Module] | None
    """``nn.ReLU``, ``nn.Tanh`` or None."""


def chain(model: nn.Module) -> list[Link] | None:
    """The links of a network that is a plain sequence of linear layers, each followed by at most
    one activation; None for any other."""
    if not models.is_stackable(model):
        return None
    links: list[Link] = []
    for name, layer in model.named_children():
        if type(layer) is nn.Linear:
            links.append(Link(name, layer, None))
        elif type(layer) in (nn.ReLU, nn.Tanh) and links and links[-1].activation is None:
            links[-1] = links[-1]._replace(activation=type(layer))
        elif not isinstance(layer, (nn.Flatten, nn.Identity)):
            return None
    return links or None


def is_for_chains(job: Job) -> bool:
    """Whether the fast paths may train this: one such network, on a CPU, in full precision."""
    return (
        job.device.type == "cpu"
        and len(job.seeds) == 1
        and job.recipe.precision == "float32"
        and not job.recipe.augment
        and not os.environ.get("LTH_COMPILE")
        and chain(job.model) is not None
    )


def rule(job: Job):
    """The recipe's optimiser as the kernels take it."""
    from lth_utils.training import _kernels  # Numba takes a third of a second to import

    optimiser = job.recipe.optimiser
    if isinstance(optimiser, Adam):
        beta, beta2 = optimiser.betas
        return _kernels.Rule(_kernels.ADAM, float(beta), float(beta2), float(optimiser.eps))
    return _kernels.Rule(
        _kernels.SGD,
        float(optimiser.momentum),
        decay=float(optimiser.decay),
        nesterov=bool(optimiser.nesterov),
    )


def values(start: np.ndarray):
    """Weights for the kernels to train, with gradients and moments of zero."""
    from lth_utils.training import _kernels

    nothing = [np.zeros_like(start) for _ in range(3)]
    return _kernels.Values(np.ascontiguousarray(start), *nothing)


def affine(data: Dataset, dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray]:
    """For every pixel of an image, flat, what normalising adds and what it multiplies by."""
    black = torch.zeros(data.input_shape, dtype=torch.uint8)
    shift = data.normalise(black, torch.float64).flatten()
    scale = data.normalise(black + 1, torch.float64).flatten() - shift
    return shift.to(dtype).numpy(), scale.to(dtype).numpy()
