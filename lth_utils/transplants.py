"""Transplants: a ticket moved to a network of another width, another depth or with another head.

Each function takes a ticket, that is a mask and the weights to train it from, and gives back a mask
and weights that fit the other network. Nothing is trained. A unit that is copied shares its
outgoing weights with its copies, so that a wider network computes what the ticket computed, as in
Net2Net (Chen, Goodfellow and Shlens, 2016); layers are repeated, masks and all, as Chen et al.
(2021) stretch tickets; and :func:`to_core` is the podcast's own idea, a sparse core to which units
are added that are fully connected.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lth_utils import models
from lth_utils.errors import InputError, unknown
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.randomness import stream

__all__ = ["GROWN", "HEADS", "fit", "to_core", "to_depth", "to_head", "to_width"]

HEADS = ("kept", "new")
"""What becomes of the output layer, which goes along or is drawn anew with all its connections."""

GROWN = ("copies", "core", "identity")
"""How a network becomes larger, which is by copies of units or layers, around the ticket as its
core, which takes units that are new, or by layers that pass on what they get."""

SHARES = ("drawn", "equal", "whole")


def fit(
    mask: Mask,
    start: Weights,
    model: nn.Module,
    seeds: Sequence[int],
    head: str = "kept",
    grown: str = "copies",
) -> tuple[Mask, Weights]:
    """A ticket moved to whatever network ``model`` is, wider or deeper or of the same size.

    Args:
        mask: of the ticket, R members.
        start: the weights to train it from, tensors (R, \\*shape).
        model: the network that it is to fit.
        seeds: one for each member; they name the draws.
        head: ``"kept"`` or ``"new"``, as :func:`to_head` makes it.
        grown: ``"copies"``, ``"core"`` or, for a deeper network, ``"identity"``.

    Raises:
        InputError: the network is smaller, or both wider and deeper, or of another kind.
    """
    if head not in HEADS:
        raise unknown("head", head, HEADS)
    if grown not in GROWN:
        raise unknown("way to grow", grown, GROWN)
    if len(seeds) != mask.members:
        raise InputError(f"There are {len(seeds)} seeds for a ticket of {mask.members} members.")
    shapes = models.shapes(model)
    output = _output(model)
    if set(start) != set(shapes):
        if grown == "core":
            raise InputError("A core takes units that are new, not layers; choose grown='copies'.")
        mask, start = to_depth(mask, start, model, "copy" if grown == "copies" else grown)
    elif any(tuple(w.shape[1:]) != shapes[name] for name, w in start.items() if name not in output):
        if head == "new":  # it need not even have as many outputs
            mask = Mask({name: kept for name, kept in mask.items() if name not in output})
            start = {name: w for name, w in start.items() if name not in output}
        if grown == "identity":
            raise InputError("Layers that pass on what they get make no network wider.")
        widen = to_width if grown == "copies" else to_core
        mask, start = widen(mask, start, model, seeds)
    if head == "new":
        return to_head(mask, start, model, seeds)
    models.check_weights(model, start)
    return mask, start


def to_head(
    mask: Mask, start: Weights, model: nn.Module, seeds: Sequence[int]
) -> tuple[Mask, Weights]:
    """The ticket with a new output layer, drawn from its initial distribution.

    All connections of the new layer are kept: nothing is known yet of which it will need.

    Args:
        mask: R members.
        start: tensors (R, \\*shape); of the output layer's none is used.
        model: the network with the new head.
        seeds: one for each member.

    Raises:
        InputError: something else than the head differs.
    """
    fresh = models.initialise(model, seeds, "reinit", "head")
    names, output = list(models.prunable(model)), _output(model)
    start = {name: fresh[name].to(_device(start)) if name in output else start.get(name)
             for name in fresh}  # fmt: skip
    if lacking := [name for name, w in start.items() if w is None]:
        raise InputError(f"The ticket has no {lacking[0]}; a new head is all that can be added.")
    models.check_weights(model, start)
    kept = {n: torch.ones_like(start[n], dtype=torch.bool) if n in output else mask[n]
            for n in names}  # fmt: skip
    return Mask(kept), start


def to_width(
    mask: Mask, start: Weights, model: nn.Module, seeds: Sequence[int], shares: str = "drawn"
) -> tuple[Mask, Weights]:
    """The ticket in a wider network, by copies of its units.

    Unit j of the wider layer is a copy of unit j mod n. It gets its inputs as the original does,
    through the same connections, and the copies **share** what the original passed on: the weights
    that lead away from them add up to the original weight. So the function is the same, and where
    widths are whole multiples so is each layer's density. Shares are drawn, each from a quarter to
    three quarters where there are two: with equal ones copies get equal gradients and stay copies
    for ever.

    Args:
        mask: R members.
        start: tensors (R, \\*shape).
        model: the wider network: the same layers, each at least as wide.
        seeds: one for each member; they name the draw of the shares.
        shares: ``"drawn"``, ``"equal"``, or ``"whole"``, every copy passing on as much as the
            original did; then the function is another.

    Raises:
        InputError: a layer is narrower or of another kind.
    """
    if shares not in SHARES:
        raise unknown("way to share", shares, SHARES)
    shapes = _wider(start, model)
    grown, kept = {}, {}
    for name, w in start.items():
        rows = torch.arange(shapes[name][0], device=w.device) % w.shape[1]
        grown[name] = w[:, rows]
        if name in mask:
            kept[name] = mask[name][:, rows]
        if w.dim() > 2:
            columns = torch.arange(shapes[name][1], device=w.device) % w.shape[2]
            grown[name] = grown[name][:, :, columns]
            if name in mask:
                kept[name] = kept[name][:, :, columns]
            if shapes[name][1] > w.shape[2] and shares != "whole":
                each = _shares(len(rows), columns.cpu(), seeds, name, shares == "drawn")
                each = each.to(w.device).view(*each.shape, *[1] * (w.dim() - 3))
                grown[name] = grown[name] * each
    return Mask(kept), grown


def to_core(
    mask: Mask, start: Weights, model: nn.Module, seeds: Sequence[int]
) -> tuple[Mask, Weights]:
    """The ticket as the sparse core of a wider network, whose other units are fully connected.

    The first units of each layer are the ticket's and keep its connections among themselves. All
    weights to and from other units are kept, and drawn from their initial distribution.

    Args:
        mask: R members.
        start: tensors (R, \\*shape).
        model: the wider network: the same layers, each at least as wide.
        seeds: one for each member.

    Raises:
        InputError: a layer is narrower or of another kind.
    """
    _wider(start, model)
    fresh = models.initialise(model, seeds, "reinit", "core")
    grown, kept = {}, {}
    for name, w in start.items():
        corner = (slice(None), *(slice(n) for n in w.shape[1:3]))
        grown[name] = fresh[name].to(w.device)
        grown[name][corner] = w
        if name in mask:
            kept[name] = torch.ones_like(grown[name], dtype=torch.bool)
            kept[name][corner] = mask[name]
    return Mask(kept), grown


def to_depth(
    mask: Mask, start: Weights, model: nn.Module, new: str = "copy"
) -> tuple[Mask, Weights]:
    """The ticket in a deeper network of equal hidden layers.

    Args:
        mask: R members.
        start: tensors (R, \\*shape).
        model: the deeper network: fully connected, its hidden layers after the first all alike.
        new: ``"copy"``: each hidden layer is followed by copies of itself, connections, weights and
            all, so that densities are kept and the function is not; or ``"identity"``: by layers
            that pass on what they get, each unit to one, so that the function is kept behind a
            rectifier and densities are not.

    Raises:
        InputError: the networks are not of that kind, or the other is not deeper.
    """
    if new not in ("copy", "identity"):
        raise unknown("kind of new layer", new, ("copy", "identity"))
    shapes = models.shapes(model)
    shallow, deep = list(mask), list(models.prunable(model))
    inner, wanted = shallow[1:-1], deep[1:-1]
    alike = {tuple(mask[name].shape[1:]) for name in inner} | {shapes[name] for name in wanted}
    if not inner or len(wanted) <= len(inner) or len(alike) != 1:
        raise InputError(
            "A ticket becomes deeper where hidden layers after the first are all of one shape, and "
            "there are more of them in the other network; these are not."
        )
    source = [inner[place * len(inner) // len(wanted)] for place in range(len(wanted))]
    grown, kept = {}, {}
    for place, (name, layer) in enumerate(
        zip([shallow[0], *source, shallow[-1]], deep, strict=True)
    ):
        repeated = 1 < place <= len(source) and source[place - 2] == name
        own, other = name.removesuffix("weight"), layer.removesuffix("weight")
        for tensor in [n for n in start if n.startswith(own)]:
            grown[other + tensor.removeprefix(own)] = start[tensor]
        kept[layer] = mask[name]
        if repeated and new == "identity":
            eye = torch.eye(mask[name].shape[1], device=mask[name].device)
            grown[layer] = eye.expand_as(start[name]).clone()
            kept[layer] = grown[layer].bool()
            if f"{other}bias" in grown:
                grown[f"{other}bias"] = torch.zeros_like(grown[f"{other}bias"])
    models.check_weights(model, grown)
    return Mask(kept), grown


def _shares(rows: int, columns: Tensor, seeds: Sequence[int], name: str, drawn: bool) -> Tensor:
    """What each of the copies of an input passes on to each unit, (R, rows, columns): numbers that
    add up to one over the copies."""
    shape = (rows, len(columns))
    draws = [
        1 + 2 * stream(seed, "treatment", "shares", name).uniform(*shape)
        if drawn
        else np.ones(shape)
        for seed in seeds
    ]
    each = torch.from_numpy(np.stack(draws))
    total = torch.zeros(len(seeds), rows, int(columns.max()) + 1, dtype=each.dtype)
    total.index_add_(2, columns, each)
    return (each / total[:, :, columns]).float()


def _wider(start: Weights, model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shapes of the wider network, if it is one."""
    shapes = models.shapes(model)
    for name, w in start.items():
        own, wide = tuple(w.shape[1:]), shapes.get(name)
        if wide is None or len(own) != len(wide) or own[2:] != wide[2:]:
            raise InputError(f"{name} is of shape {own} in the ticket and {wide} in the network.")
        if any(n < m for n, m in zip(wide, own, strict=True)):
            raise InputError(
                f"A ticket can grow, not shrink: {name} has shape {own}, and {wide} in the network."
            )
    return shapes


def _output(model: nn.Module) -> set[str]:
    """The tensors of the output layer."""
    [weight] = [name for name, kind in models.prunable(model).items() if kind == "output"]
    layer = weight.removesuffix("weight")
    return {name for name in models.shapes(model) if name.startswith(layer)}


def _device(start: Weights) -> torch.device:
    return next(iter(start.values())).device
