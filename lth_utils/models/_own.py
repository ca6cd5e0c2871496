"""A reader's own network: how it is made, and what is found out before anything is trained."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lth_utils.errors import InputError
from lth_utils.models._networks import Dropout
from lth_utils.models._weights import prunable, shapes

Network = str | nn.Module | Callable[..., nn.Module]
"""A name in :data:`NETWORKS`, a module, or a class or function that makes one."""


def called(network: Network) -> str:
    """What a network is called in a table, a key and an error.

    >>> called("lenet-300-100"), called(nn.Linear(2, 2)), called(nn.Linear)
    ('lenet-300-100', 'Linear', 'Linear')
    """
    if isinstance(network, str):
        return network
    if isinstance(network, functools.partial):
        return called(network.func)
    return getattr(network, "__name__", type(network).__name__)


def made(
    network: nn.Module | Callable[..., nn.Module],
    inputs: Sequence[int],
    classes: int,
    width: float = 1.0,
) -> nn.Module:
    """A reader's own network for images of shape ``inputs``, on the CPU, in single precision.

    A class or function is called with those of ``inputs``, ``classes`` and ``width`` that it
    names; a module is copied. ``nn.Dropout`` becomes :class:`Dropout`, whose draws have names.

    Raises:
        InputError: it is neither, asks for something else, or has no width to change.
    """
    name = called(network)
    if isinstance(network, nn.Module):
        if width != 1:
            raise InputError(
                f"{name} is made already, so its width cannot be {width:g}; give its class, or a "
                "function with an argument called width."
            )
        model = copy.deepcopy(network)
    elif callable(network):
        given = _named(network, {"inputs": tuple(inputs), "classes": classes, "width": width})
        # Initial weights are drawn elsewhere. What a network draws besides, such as a random
        # constant, has to be the same in every process.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = network(**given)
    else:
        raise InputError(
            f"A network is a name, an nn.Module, or a class or function that makes one; got "
            f"{network!r}."
        )
    if not isinstance(model, nn.Module):
        raise InputError(f"{name} makes no nn.Module, but {type(model).__name__}.")
    for path, layer in list(model.named_modules()):
        if type(layer) is nn.Dropout and path:
            parent, _, child = path.rpartition(".")
            setattr(model.get_submodule(parent), child, Dropout(layer.p))
    return model.cpu().float()


def _named(network: Callable, offered: dict) -> dict:
    """Of what is offered, what a class or function names; it must not need anything else."""
    wanted = inspect.signature(network).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in wanted):
        return offered
    needed = [
        each.name
        for each in wanted
        if each.default is each.empty
        and each.kind is not each.VAR_POSITIONAL
        and (each.name not in offered or each.kind is each.POSITIONAL_ONLY)
    ]
    if needed:
        raise InputError(
            f"{called(network)} needs {', '.join(needed)}; a network is made from arguments called "
            "inputs, classes and width, so give the others a default or use functools.partial."
        )
    given = {each.name: offered[each.name] for each in wanted if each.name in offered}
    if offered["width"] != 1 and "width" not in given:
        raise InputError(
            f"{called(network)} has no argument called width, so its width cannot be "
            f"{offered['width']:g}."
        )
    return given


def check(model: nn.Module, images: Tensor, outputs: Sequence[int]) -> None:
    """Find out whether a reader's own network can be pruned and trained here.

    Args:
        model: the network, which takes its final shape here if it has lazy layers.
        images: two of them, normalised.
        outputs: the shape that it should give for these.

    Raises:
        InputError: it cannot take such images or gives something else; nothing in it can be
            pruned; two layers share their weights, or some are frozen; or it draws random numbers
            that no seed of ours decides.
    """
    name = type(model).__name__
    given = _tried(model.eval(), images, name)
    if not isinstance(given, Tensor) or tuple(given.shape) != tuple(outputs):
        what = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise InputError(
            f"{name} gives {what} for {len(images)} images; it should give {tuple(outputs)}, a "
            "number for each class."
        )
    if not prunable(model):
        raise InputError(
            f"{name} has nothing to prune: no nn.Linear, and no convolution such as nn.Conv2d."
        )
    if shared := [each for each in prunable(model) if each not in shapes(model)]:
        raise InputError(
            f"{name} uses one tensor in two places, and {shared[0]} is one of them; give each "
            "layer weights of its own."
        )
    if frozen := [each for each, w in model.named_parameters() if not w.requires_grad]:
        raise InputError(
            f"{frozen[0]} of {name} is frozen, and training here changes every parameter; make it "
            "a buffer (register_buffer), or let it train."
        )
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        _tried(_quiet(copy.deepcopy(model)).train(), images, name)
        if not torch.equal(torch.get_rng_state(), before):
            raise InputError(
                f"{name} draws random numbers of its own while it trains, so that no replicate "
                "could be repeated; use nn.Dropout as a layer or leave the noise out."
            )


def _tried(model: nn.Module, images: Tensor, name: str):
    try:
        with torch.no_grad():
            return model(images)
    except Exception as error:  # a reader's own code fails in its own ways
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        shape = tuple(images.shape[1:])
        raise InputError(f"{name} fails on images of shape {shape}: {reason}.") from error


def _quiet(model: nn.Module) -> nn.Module:
    """Without what draws by named streams while it trains."""
    for path, layer in list(model.named_modules()):
        if isinstance(layer, Dropout) and path:
            parent, _, child = path.rpartition(".")
            setattr(model.get_submodule(parent), child, nn.Identity())
    return model
