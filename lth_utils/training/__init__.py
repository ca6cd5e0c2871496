"""Training: the core.

:func:`train` is a pure function: network, starting weights, mask, data, recipe and seeds in,
trained weights and a history out. Nothing that is given is changed. Every experiment of the book
is this function called with other weights, another mask, another beginning or end.

One loop serves every network. What takes the steps is an *engine*. The plain path is automatic
differentiation, for any network on any device; on a GPU its step is captured and replayed. Fully
connected networks on a CPU have two faster ones: the dense path, and for those that have been
pruned the sparse path, whose cost follows the density.
"""

from lth_utils.training._plain import channels_last, chunk_of, evaluate
from lth_utils.training._runs import HISTORY, Run
from lth_utils.training._train import Checkpoint, Steps, alongside, train

__all__ = [
    "HISTORY", "Checkpoint", "Run", "Steps", "alongside", "channels_last", "chunk_of", "evaluate",
    "train",
]  # fmt: skip
