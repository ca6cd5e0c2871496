"""What to check before believing a result: what a program can find out, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from lth_utils import controls
from lth_utils.datasets import Split
from lth_utils.lottery import Lottery
from lth_utils.studies._intervals import interval, measure, paired, summary

FEW = 5
"""Replicates below which an interval is so wide that only large effects show."""

SPARSE = 0.11
"""The density at which the claims about tickets begin: about a tenth, which is ten of the first
paper's levels, 10.7%."""

LATE = 0.9
"""An early stop after this share of training says that it has not come to its end."""


def check(found: Lottery, moment: str = "early stop") -> list[str]:
    """What speaks against believing a result, a sentence each; empty where nothing was found.

    Looked at are the number of replicates; the controls; the dense network: whether it has learned
    anything, and was still learning when it stopped; images that are in two splits; the size of the
    test set; the densities reached, and layers that were emptied; and, at every level, whether
    what is pruned further differs from its controls by more than the noise of replicates. What
    nobody can see in a table remains to be asked: whether the test set was looked at before the
    settings were chosen, and how many settings were tried.

    Args:
        found: what :func:`lth_utils.imp` has given.
        moment: when accuracy is read, ``"early stop"`` or ``"end"``.
    """
    return [sentence for look in _LOOKS for sentence in look(found, moment)]


Look = Callable[[Lottery, str], Iterator[str]]


def _replicates(found: Lottery, moment: str) -> Iterator[str]:
    n = found.table.replicate.nunique()
    if n == 1:
        yield "There is one replicate, so nothing is known about noise: run at least three."
    elif n < FEW:
        some = interval(range(n))
        factor = (some.high - some.mean) / np.std(range(n), ddof=1)
        yield (
            f"There are {n} replicates: an interval reaches {factor:.1f} standard deviations to "
            f"either side, and with {FEW} it would be 1.2."
        )


def _controls(found: Lottery, moment: str) -> Iterator[str]:
    names = _names(found)
    if not names:
        yield "Nothing was pruned and trained: there is only the dense network."
        return
    if not any(name.startswith("reinit") for name in names):
        yield "No control has fresh weights under the same mask (treatment reinit)."
    if not any(name.startswith(("random", "uniform")) for name in names):
        yield "No control has as many weights in other places (treatment random mask)."


def _dense(found: Lottery, moment: str) -> Iterator[str]:
    dense = measure(found.table, moment=moment)
    dense = interval(dense[dense.treatment == controls.DENSE].value)
    labels = found.task.data.test.labels
    common = 100 * labels.flatten().bincount().max().item() / labels.numel()
    if dense.mean <= common or dense.low <= common:  # NaN for one replicate
        yield (
            f"The dense network is not shown to be better than always naming the commonest class "
            f"({dense.mean:.1f}% against {common:.1f}%): it has not learned the task."
        )
    if dense.mean >= 100 - 1e-9:
        yield "The dense network makes no error: the task is too easy to tell tickets apart."
    stops = measure(found.table, "step", moment="early stop")
    stops = stops[stops.treatment == controls.DENSE].value
    late = int((stops > LATE * found.task.iterations).sum())
    if 2 * late > len(stops):
        yield (
            f"In {late} of {len(stops)} replicates the dense network's validation loss was least "
            "in the last tenth of training: it may not have come to its end, and a longer "
            "training may change the order."
        )


def _data(found: Lottery, moment: str) -> Iterator[str]:
    data = found.task.data
    train = _pictures(data.train)
    for name, split, use in (("val", data.val, "to choose by"), ("test", data.test, "to report")):
        twice = sum(picture in train for picture in _pictures(split, unique=False))
        if twice:
            yield (
                f"{twice:,} of the {len(split):,} images {use} are also in the training set: a "
                f"network that remembers is rewarded ({name})."
            )
    share = summary(found.table, moment=moment)
    share = share[share.treatment == controls.DENSE]["mean"].iloc[0] / 100
    n = data.test.labels.numel()
    error = 100 * (share * (1 - share) / n) ** 0.5
    if error > 1:
        yield (
            f"The test set has {n:,} labels, so an accuracy has a standard error of {error:.1f} "
            "points that no number of replicates takes away."
        )


def _masks(found: Lottery, moment: str) -> Iterator[str]:
    if not found.tickets:
        return
    density = found.tickets[-1].mask.density.mean().item()
    if density > SPARSE:
        yield (
            f"The sparsest network keeps {density:.0%} of its weights; claims about tickets begin "
            "at a tenth, so prune further."
        )
    for ticket in found.tickets:
        empty = [n for n, kept in ticket.mask.items() if not kept.flatten(1).any(1).all()]
        if empty:
            yield (
                f"At level {ticket.level} a layer has lost all its weights ({', '.join(empty)}): "
                "prune layer by layer, or less."
            )
            break


def _noise(found: Lottery, moment: str) -> Iterator[str]:
    first, *others = _names(found) or [""]
    if found.table.replicate.nunique() < 2:
        return
    for other in others:
        gaps = paired(found.table, first, other, moment=moment)
        unclear = gaps[(gaps.low <= 0) & (gaps.high >= 0)]
        if len(unclear):
            at = ", ".join(f"{density:.1%}" for density in unclear.density)
            yield (
                f"The difference between {first!r} and {other!r} is within noise at {at} of the "
                "weights: its interval includes zero."
            )


_LOOKS: tuple[Look, ...] = (_replicates, _controls, _dense, _data, _masks, _noise)


def _names(found: Lottery) -> list[str]:
    """The treatments of pruned networks, what is pruned further first."""
    pruned = found.table[found.table.level > 0].treatment.unique()
    return [name for name in pruned if not controls.is_dense(name)]


def _pictures(split: Split, unique: bool = True) -> set[bytes] | list[bytes]:
    """Every image as bytes, which can be looked up."""
    rows = split.images.flatten(1).cpu().contiguous().numpy()
    return (set if unique else list)(map(bytes, rows))
