"""Shrinking: the exact removal of what a mask has left dead.

An input, a hidden unit or a channel is *dead* where no path of kept weights leads from it to an
output. Nothing that happens there reaches the loss, and no gradient comes back, so the network
without it computes the same outputs and trains in the same way. A unit that has lost all its
*incoming* weights is not dead: it is a constant that its bias trains, and it stays.

:func:`live` finds what is alive in one sweep from the outputs back. :func:`shrink` builds the
smaller network::

    small = shrink(model, start, mask)                  # one member: R = 1
    run = train(small.model, small.weights, small.mask, data, recipe, seeds)
    weights = small.restore(run.weights)

Both read a plain ``nn.Sequential`` of linear layers, two-dimensional convolutions (of one group),
batch norm, activations element by element, pooling, dropout and one ``nn.Flatten``. In any other
network, a residual one for instance, everything counts as alive and nothing is removed.

Four things to know:

* **Weight decay** pulls on every weight that is kept, dead or not, so under decay a shrunk network
  leaves the dead ones where the full one would have moved them. Do not shrink there.
* **Statistics** of batch norm go on changing in a dead channel of the full network; here they keep
  their value from the start. Nothing reads them.
* **Dropout** draws one number a unit, so a smaller network draws others. The two agree in
  evaluation, and in training only in distribution.
* **Rounding**: sums are over fewer zeros, so the last bits may differ.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lth_utils import models
from lth_utils.masks import Mask
from lth_utils.models import Weights

__all__ = ["Shrunk", "live", "shrink"]


@dataclass(frozen=True)
class Shrunk:
    """A network without what was dead, as one member (R = 1).

    Attributes:
        model: the smaller network; its layers have the names of the full one's.
        weights: its weights, tensors (1, \\*smaller shape); what the mask prunes is zero.
        mask: its mask.
        inputs: indices of the inputs that its first prunable layer reads, int64: the live pixels
            where the network begins with a ``nn.Flatten``, elsewhere all channels or features.
        saved: share of the full network's prunable weights that are not there any more, 0 to 1.
    """

    model: nn.Module
    weights: Weights
    mask: Mask
    inputs: Tensor
    saved: float
    _full: Weights
    _places: dict[str, tuple[Tensor, ...]]

    def restore(self, weights: Weights) -> Weights:
        """Weights of the full network, from ``weights`` of the smaller one.

        What was removed has the value it had when the network was shrunk, and what the mask
        prunes is zero.

        Args:
            weights: tensors (1, \\*smaller shape).

        Returns:
            Tensors (1, \\*full shape).

        Raises:
            InputError: the weights are not of the smaller network.
        """
        models.check_weights(self.model, weights)
        full = {name: w.clone() for name, w in self._full.items()}
        for name, w in weights.items():
            if name in self._places:
                full[name][0][self._places[name]] = w[0].detach()
            else:
                full[name] = w.detach().clone()
        return full


class Select(nn.Flatten):
    """``nn.Flatten``, and of its features only those at ``index``."""

    def __init__(self, index: Tensor):
        super().__init__()
        self.index = index

    def forward(self, x: Tensor) -> Tensor:
        return self.pick(super().forward(x))

    def pick(self, features: Tensor) -> Tensor:
        return features.index_select(-1, self.index.to(features.device))


models.STACKED[Select] = lambda layer, weights, x: layer.pick(
    models.STACKED[nn.Flatten](layer, weights, x)
)


# What is alive ------------------------------------------------------------------------------------

_MIXING = (nn.Linear, nn.Conv2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)

# What may arrive at each layer, and what it then hands on: pictures, with channels first; features,
# which a Flatten has laid side by side; or rows, anything whose last axis are the features. A layer
# that is not here, or is not meant for what arrives, leaves the network unread: a linear layer on
# pictures, say, mixes columns and no channels.
_READABLE: dict[type[nn.Module], dict[str, str]] = {
    nn.Flatten: {"input": "features", "pictures": "features"},
    nn.Linear: {"input": "rows", "rows": "rows", "features": "features"},
    nn.BatchNorm1d: {"features": "features"},
}
for _kind in (
    *(nn.Conv2d, nn.BatchNorm2d, nn.Dropout2d),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d),
):
    _READABLE[_kind] = {"input": "pictures", "pictures": "pictures"}
for _kind in (
    *(nn.Identity, nn.Dropout, models.Dropout),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU),
    *(nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign, nn.Tanh, nn.Sigmoid),
    *(nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish),
):
    _READABLE[_kind] = {what: what for what in ("input", "pictures", "features", "rows")}


def live(model: nn.Module, mask: Mask) -> dict[str, tuple[Tensor, Tensor]]:
    """For each prunable tensor: which inputs of its layer are alive, and which outputs.

    Args:
        model: the network.
        mask: one member (R = 1).

    Returns:
        Boolean tensors, (inputs,) and (outputs,), by the tensor's name. They stand for the
        features of a linear layer and the channels of a convolution. The network's own outputs
        are always alive, and all the rest is where the network cannot be read.

    Raises:
        InputError: the mask does not fit the network, or has more members than one.
    """
    _check(model, mask)
    if not _is_readable(model):
        return {n: (m.new_ones(m.shape[2]), m.new_ones(m.shape[1])) for n, m in mask.items()}
    alive = _alive(model, mask)
    return {name: (_reach(mask, name, alive[_layer(name)]), alive[_layer(name)]) for name in mask}


def _check(model: nn.Module, mask: Mask) -> None:
    shapes = models.shapes(model)
    mask.check({name: shapes[name] for name in models.prunable(model)}, 1)


def _alive(model: nn.Sequential, mask: Mask) -> dict[str, Tensor | None]:
    """What is alive behind each layer; None where no later layer has units to count by."""
    alive, behind = None, {}
    for name, layer in reversed(model._modules.items()):
        if isinstance(layer, (*_MIXING, *_NORMS)):
            units = layer.num_features if isinstance(layer, _NORMS) else len(layer.weight)
            if alive is None:
                alive = next(iter(mask.values())).new_ones(units)
            # A Flatten lays the features of a channel side by side; one alive keeps the channel.
            alive = alive.view(units, -1).any(1)
        behind[name] = alive
        if isinstance(layer, _MIXING):
            alive = _reach(mask, f"{name}.weight", alive)
    return behind


def _reach(mask: Mask, name: str, outputs: Tensor) -> Tensor:
    """The inputs of a layer from which a kept weight leads to one of these outputs."""
    kept = mask[name][0]
    return kept.reshape(*kept.shape[:2], -1).any(2)[outputs].any(0)


def _layer(name: str) -> str:
    return name.removesuffix(".weight")


def _is_readable(model: nn.Module) -> bool:
    """Whether the network is a plain sequence in which each layer takes what arrives."""
    if type(model).forward is not nn.Sequential.forward:
        return False
    # A tensor that two layers share cannot be cut to the measure of both.
    own = len(list(model.parameters())) + len(list(model.buffers()))
    if len(model.state_dict()) != own:
        return False
    arriving = "input"
    for layer in model:
        arriving = _READABLE.get(type(layer), {}).get(arriving)
        grouped = isinstance(layer, nn.Conv2d) and layer.groups != 1
        partial = isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) != (1, -1)
        if arriving is None or grouped or partial:
            return False
    return True


# The smaller network ------------------------------------------------------------------------------


def shrink(model: nn.Module, weights: Weights, mask: Mask) -> Shrunk:
    """The network without its dead inputs, units and channels.

    It computes the same outputs, has the same gradients and, without weight decay, trains in the
    same way; it takes the same images. Of a layer that is dead as a whole one unit stays, which
    stays dead. Behind convolutions a feature goes only with the whole channel, and convolutions
    read all channels of an image. A network that cannot be read comes back as it is.

    Args:
        model: the network, used as a function.
        weights: tensors (1, \\*shape); those that the mask prunes count as zero.
        mask: one member (R = 1).

    Raises:
        InputError: weights and mask do not fit the network or have more members than one.
    """
    models.check_weights(model, weights)
    _check(model, mask)
    mask = mask.to(next(iter(weights.values())).device)
    full = mask.apply(weights)
    if not _is_readable(model):
        first = next(iter(mask.values()))
        inputs = torch.arange(first.shape[2], device=first.device)
        return Shrunk(model, full, mask, inputs, 0.0, full, {})

    layers, places, inputs = _cut(model, _alive(model, mask))
    small = {n: w[0][places[n]].unsqueeze(0) if n in places else w for n, w in full.items()}
    left = Mask({n: kept[0][places[n]].unsqueeze(0) for n, kept in mask.items()})
    return Shrunk(
        nn.Sequential(layers), small, left, inputs, 1 - left.size / mask.size, full, places
    )


def _cut(
    model: nn.Sequential, alive: dict[str, Tensor | None]
) -> tuple[OrderedDict[str, nn.Module], dict[str, tuple[Tensor, ...]], Tensor]:
    """The smaller layers, where their tensors lie in the full ones, and the inputs left."""
    layers, places = OrderedDict(), {}
    inputs = left = None  # what is left of the layer before; None: everything there is
    units = 0
    for name, layer in model._modules.items():
        layer = copy.deepcopy(layer)
        if isinstance(layer, _MIXING):
            columns = _every(layer.weight.shape[1], alive[name]) if left is None else left
            inputs = columns if inputs is None else inputs
            units, left = len(layer.weight), _indices(alive[name])
            _keep(places, name, layer, (left.unsqueeze(1), columns))
            if isinstance(layer, nn.Linear):
                layer.in_features, layer.out_features = len(columns), len(left)
            else:
                layer.in_channels, layer.out_channels = len(columns), len(left)
        elif isinstance(layer, _NORMS) and left is not None:
            _keep(places, name, layer, (left,))
            layer.num_features = len(left)
        elif isinstance(layer, nn.Flatten) and alive[name] is not None:
            if left is not None:
                span = len(alive[name]) // units
                left = (left.unsqueeze(1) * span + _every(span, left)).flatten()
            elif not alive[name].all():
                left = _indices(alive[name])
                layer = Select(left)
        layers[name] = layer
    return layers, places, inputs


def _keep(places: dict, name: str, layer: nn.Module, where: tuple[Tensor, ...]) -> None:
    """Cut the tensors of a layer down to ``where``, and write down where that was."""
    for key, tensor in [*layer.named_parameters(), *layer.named_buffers()]:
        if tensor.dim() == 0:  # the count of batches
            continue
        index = where if tensor.dim() > 1 else (where[0].flatten(),)
        places[f"{name}.{key}"] = index
        # The weights may live on another device than the module that only lends its function.
        cut = tensor.detach()[tuple(i.to(tensor.device) for i in index)]
        setattr(layer, key, nn.Parameter(cut) if key in layer._parameters else cut)


def _indices(alive: Tensor) -> Tensor:
    """Where it is alive; the first of all where nothing is, since a layer needs a unit."""
    return alive.nonzero().squeeze(1) if alive.any() else _every(1, alive)


def _every(count: int, like: Tensor) -> Tensor:
    return torch.arange(count, device=like.device)
