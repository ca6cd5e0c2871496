"""Pruning: which weights go.

A *criterion* gives every weight a score, and the weights with the lowest scores are removed. It is
a function from a :class:`Layer`, which knows the weights, where they began, their gradients and
what comes in, to a tensor of scores; :func:`criterion` turns it into a pruner::

    @criterion
    def magnitude(layer):
        \"""Keep the weights that ended largest.\"""
        return layer.weights.abs()

    mask = magnitude(run.weights, mask, fraction=0.2)

A *fraction* is the share of the **remaining** weights that one call removes.

A *scope* says how what is removed is divided among the layers: each by itself, all by one
threshold, or by a rule.
"""

from lth_utils.pruning._criteria import (
    CRITERIA,
    Criterion,
    Layer,
    activation,
    by_name,
    criterion,
    gradient,
    grasp,
    large_init,
    large_init_large_final,
    magnitude,
    magnitude_changed_sign,
    magnitude_increase,
    magnitude_increase_same_sign,
    magnitude_same_sign,
    momentum,
    movement,
    movement_same_sign,
    random,
    random_same_sign,
    rescaled_magnitude,
    sensitivity,
    small_init,
    small_init_small_final,
    smallest,
    snip,
    synflow,
)
from lth_utils.pruning._groups import (
    Groups,
    grouped,
    heads_at_random,
    heads_by_loss,
    heads_by_magnitude,
)
from lth_utils.pruning._outlook import Outlook
from lth_utils.pruning._probe import Probe
from lth_utils.pruning._scopes import SCOPES, Choice, Scope, check, prune, scope

__all__ = [
    "CRITERIA",
    "SCOPES",
    "Choice",
    "Criterion",
    "Groups",
    "Layer",
    "Outlook",
    "Probe",
    "Scope",
    "activation",
    "by_name",
    "check",
    "criterion",
    "gradient",
    "grasp",
    "grouped",
    "heads_at_random",
    "heads_by_loss",
    "heads_by_magnitude",
    "large_init",
    "large_init_large_final",
    "magnitude",
    "magnitude_changed_sign",
    "magnitude_increase",
    "magnitude_increase_same_sign",
    "magnitude_same_sign",
    "momentum",
    "movement",
    "movement_same_sign",
    "prune",
    "random",
    "random_same_sign", "rescaled_magnitude",
    "scope",
    "sensitivity",
    "small_init",
    "small_init_small_final",
    "smallest",
    "snip",
    "synflow",
]  # fmt: skip
