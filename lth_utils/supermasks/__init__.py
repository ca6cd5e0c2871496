"""Supermasks: training which weights to keep, and never the weights.

A network starts at random and stays so. What is trained is a score for each weight, and a *rule*
makes a mask of the scores: :class:`Bernoulli` keeps each weight with a probability (Zhou et al.,
2019), :class:`EdgePopup` keeps the highest scores of each layer (Ramanujan et al., 2020). A task
with a rule is trained like any other; :func:`learn` does it for replicates, beside an untrained
random mask and the same network trained as usual::

    task = lth.tasks.LENET_SUPERMASK.at("live")
    found = lth.supermasks.learn(task)

What comes out is a :class:`.Mask` as any other, and :func:`network` gives the weights under it.
"""

from lth_utils.supermasks._learn import Supermasks, learn, predict
from lth_utils.supermasks._rules import Bernoulli, EdgePopup, mask, masked, network, sample

__all__ = [
    "Bernoulli", "EdgePopup", "Supermasks", "learn", "mask", "masked", "network", "predict",
    "sample",
]  # fmt: skip
