"""lth_utils: the engine of *Lottery Tickets: a hands-on book*.

From a chapter::

    import lth_utils as lth

    task = lth.tasks.LENET_MNIST.at(lth.scale())
    found = lth.imp(task)
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:  # for editors; a running program gets each room when it first enters it
    from lth_utils import (
        anatomy,
        cli,
        controls,
        costs,
        datasets,
        dynamic,
        errors,
        executors,
        lottery,
        masks,
        models,
        plots,
        pruning,
        randomness,
        recipes,
        shrinking,
        speed,
        stability,
        store,
        structures,
        studies,
        supermasks,
        tasks,
        tickets,
        training,
        transplants,
        widgets,
    )
    from lth_utils.lottery import Lottery, Ticket, imp
    from lth_utils.masks import Mask
    from lth_utils.recipes import Recipe, Step
    from lth_utils.tasks import Task, device, scale
    from lth_utils.training import Run, train

_ROOMS = (
    "anatomy", "cli", "controls", "costs", "datasets", "dynamic", "errors", "executors", "lottery",
    "masks", "models", "plots", "pruning", "randomness", "recipes", "shrinking", "speed",
    "stability", "store", "structures", "studies", "supermasks", "tasks", "tickets", "training",
    "transplants", "widgets",
)  # fmt: skip
_HOMES = {
    "Lottery": "lottery", "Ticket": "lottery", "imp": "lottery", "Mask": "masks",
    "Recipe": "recipes", "Step": "recipes", "Task": "tasks", "device": "tasks", "scale": "tasks",
    "Run": "training", "train": "training",
}  # fmt: skip


def __getattr__(name: str):
    # The rooms need PyTorch, pandas and more, which take seconds to import; plots need matplotlib.
    if name in _ROOMS:
        return import_module(f"lth_utils.{name}")
    if name in _HOMES:
        value = getattr(import_module(f"lth_utils.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'lth_utils' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS, *_HOMES})
