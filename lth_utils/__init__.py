"""lth_utils: the engine of *Lottery Tickets: a hands-on book*.

From a chapter::

    import lth_utils as lth

    task = lth.tasks.LENET_MNIST.at(lth.scale())
    found = lth.imp(task)
"""

from lth_utils import (
    controls,
    datasets,
    errors,
    lottery,
    masks,
    models,
    pruning,
    randomness,
    recipes,
    store,
    studies,
    tasks,
    training,
)
from lth_utils.lottery import Lottery, Ticket, imp
from lth_utils.masks import Mask
from lth_utils.recipes import Recipe, Step
from lth_utils.tasks import Task, device, scale
from lth_utils.training import Run, train


def __getattr__(name: str):
    # Figures need matplotlib and seaborn, which take longer to import than all the rest.
    if name == "plots":
        from importlib import import_module

        return import_module("lth_utils.plots")
    raise AttributeError(f"module 'lth_utils' has no attribute {name!r}")


__version__ = "0.1.0"
