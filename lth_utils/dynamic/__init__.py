"""Masks that move: sparse training that looks for its mask on the way.

A network that is sparse from its first step to its last need not keep one mask. Every so often
each layer drops its smallest weights and grows as many others: at random (:class:`SET`), or where
the gradient is largest (:class:`RigL`). :func:`moving` makes any recipe one that does so::

    recipe = lth.dynamic.moving(task.recipe, lth.dynamic.RigL(fraction=0.3, every="100it"))
    run = task.train(start, mask, seeds, recipe=recipe)
    run.mask                          # where the mask has come to

Treatments with fresh weights under a random mask: ``"RigL"``, ``"SET"``, and ``"static"``, whose
mask stays. Modifiers: ``"erdos-renyi"`` and ``"uniform"`` draw it with other layer densities than
the ticket's, and ``"3x as long"`` trains any arm for longer. A rule of one's own is five lines::

    @dataclass(frozen=True)
    class Largest(lth.dynamic.Rule):
        looks = True

        def scores(self, weights, slopes, draws):
            return slopes.clamp(min=0)
"""

from lth_utils.dynamic._rules import SET, Moving, RigL, Rule, moving, operations
from lth_utils.dynamic._treatments import longer, times_as_long

__all__ = ["SET", "Moving", "RigL", "Rule", "longer", "moving", "operations", "times_as_long"]
