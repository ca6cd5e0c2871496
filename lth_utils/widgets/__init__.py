"""Figures that answer without a kernel.

Each function gives an object that a notebook displays: a figure with controls, whose data and
logic are all in the page. So it works in a published page as it does in a live notebook, offline
too. Where no script runs a picture of its first state stands in its place, and what is printed is
what is shown.
"""

from lth_utils.widgets._densities import densities
from lth_utils.widgets._figure import Figure
from lth_utils.widgets._levels import levels
from lth_utils.widgets._masks import masks
from lth_utils.widgets._matrix import matrix
from lth_utils.widgets._moving import moving
from lth_utils.widgets._playground import playground
from lth_utils.widgets._quiz import Quiz, quiz
from lth_utils.widgets._rewind import rewind
from lth_utils.widgets._supermask import supermask

__all__ = [
    "Figure", "Quiz", "densities", "levels", "masks", "matrix", "moving", "playground", "quiz",
    "rewind", "supermask",
]  # fmt: skip
