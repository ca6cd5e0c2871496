"""Speed: how long a sparse network takes, in every form that it can have on this machine.

The forms, all with the weights that one mask keeps or with as many:

* ``dense``: the network as it is, nothing pruned.
* ``masked``: zeros in matrices of the same shapes, which is what a mask is during training.
* ``shrunk``: without the units that the mask has left dead (:mod:`.shrinking`); exact.
* ``structured``: whole units removed until no more weights are left (:mod:`.structures`). Another
  network: it takes what it takes whether or not it is as good.
* ``CSR``, ``COO`` and ``CSR, SciPy``: each matrix as the list of its nonzero entries, in the
  formats and with the kernels of PyTorch and of SciPy.
* ``our kernel``: steps of training in which only kept weights are computed with, as
  :func:`lth_utils.train` takes them below a density of 30%.
* ``2:4``: on a GPU, two weights of every four kept, in half precision; ``dense, half`` is what it
  is held against.

:func:`measure` takes turns among all of them, so that one number can be divided by another.
"""

from __future__ import annotations

import copy
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import scipy.sparse
import torch
from torch import Tensor, nn

from lth_utils import costs, lottery, models, structures, training
from lth_utils.errors import InputError, look_up
from lth_utils.lottery import TABLE, Lottery
from lth_utils.masks import Mask
from lth_utils.models import Weights
from lth_utils.shrinking import shrink
from lth_utils.store import Store

if TYPE_CHECKING:
    from lth_utils.tasks import Task

__all__ = ["FORMATS", "STEP", "forms", "halves", "measure", "predict", "sparse", "two_of_four"]

STEP = "training"
"""The moment of the table whose rows are steps of training; the others are batches."""

REPEATS = {"smoke": 2, "live": 7, "paper": 21}


# Forms of a network -------------------------------------------------------------------------------


class Product(nn.Module):
    """A linear layer whose matrix is kept in another format."""

    def __init__(self, layer: nn.Linear, held):
        super().__init__()
        self.matrix, self.bias = held(layer.weight.detach()), layer.bias

    def forward(self, x: Tensor) -> Tensor:
        y = (self.matrix @ x.T).T
        return y if self.bias is None else y + self.bias


class SciPy(Product):
    """The same with SciPy's kernel, on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.from_numpy(self.matrix @ x.T.numpy()).T
        return y if self.bias is None else y + self.bias


def _csr(layer: nn.Linear) -> nn.Module:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support")  # a beta, it says
        return Product(layer, Tensor.to_sparse_csr)


def _coo(layer: nn.Linear) -> nn.Module:
    return Product(layer, lambda w: w.to_sparse_coo().coalesce())


def _scipy(layer: nn.Linear) -> nn.Module:
    return SciPy(layer, lambda w: scipy.sparse.csr_array(w.numpy()))


FORMATS: dict[str, Callable[[nn.Linear], nn.Module]] = {
    "CSR": _csr, "COO": _coo, "CSR, SciPy": _scipy,
}  # fmt: skip
"""Sparse formats, each a function from a linear layer to one that computes the same.

:meta hide-value:
"""


def sparse(module: nn.Sequential, format: str) -> nn.Sequential:
    """A network whose linear layers hold their nonzero weights alone.

    Args:
        module: a plain sequence, with its weights; it stays as it is.
        format: one of ``FORMATS``.

    Raises:
        InputError: there is no such format, or the network is not a sequence of linear layers and
            what acts element by element; PyTorch has no sparse convolution.
    """
    held = look_up("sparse format", format, FORMATS)
    if not models.is_stackable(module):
        raise InputError("Only a sequence of linear layers and activations has sparse formats.")
    layers = [held(each) if isinstance(each, nn.Linear) else each for each in module]
    return nn.Sequential(*layers).eval()


def forms(
    model: nn.Module, weights: Weights, mask: Mask, input_shape: Sequence[int]
) -> dict[str, nn.Module]:
    """A network under a mask in every form that can be run here, ready to be called.

    Args:
        model: the function.
        weights: tensors (1, \\*shape).
        mask: one member.
        input_shape: of one image, (C, H, W).

    Returns:
        Modules in evaluation mode, by name. What PyTorch has no kernel for here is left out.
    """
    masked = models.to_module(model, weights, mask=mask)
    shrunk = shrink(model, weights, mask)
    whole = structures.prune(model, weights, input_shape, density=mask.density.item())
    small = structures.remove(model, weights, whole, input_shape)
    found = {
        "masked": masked,
        "shrunk": models.to_module(shrunk.model, shrunk.weights),
        "structured": models.to_module(small.model, small.weights),
    }
    on_cpu = next(masked.parameters()).device.type == "cpu"
    if models.is_stackable(model):
        for name in FORMATS:
            if on_cpu or name != "CSR, SciPy":
                found[name] = sparse(masked, name)
    image = torch.zeros(1, *input_shape, device=next(masked.parameters()).device)
    return {name: each for name, each in found.items() if _runs(each.eval(), image)}


def _runs(module: nn.Module, images: Tensor) -> bool:
    try:
        with torch.inference_mode():
            module(images)
    except NotImplementedError:
        return False
    except RuntimeError as error:
        if "sparse" in str(error).lower() or "mkl" in str(error).lower():
            return False
        raise
    return True


# Two of every four --------------------------------------------------------------------------------


def two_of_four(weights: Tensor) -> Tensor:
    """Which weights stay if of every four in a row the two largest do (Mishra et al., 2021).

    Args:
        weights: (..., 4 n).

    Returns:
        Boolean, of the same shape.

    Raises:
        InputError: rows do not divide into fours.
    """
    if weights.shape[-1] % 4:
        raise InputError(f"Rows of {weights.shape[-1]} weights do not divide into fours.")
    fours = weights.abs().unflatten(-1, (-1, 4))
    return torch.zeros_like(fours, dtype=torch.bool).scatter_(
        -1, fours.topk(2, dim=-1).indices, True
    ).flatten(-2)  # fmt: skip


class TwoOfFour(nn.Module):
    """A linear layer in half precision of which a GPU reads two weights of every four."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        from torch.sparse import to_sparse_semi_structured

        w = layer.weight.detach()
        self.matrix = to_sparse_semi_structured((w * two_of_four(w)).half())
        self.bias = None if layer.bias is None else layer.bias.detach().half()

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.matrix, self.bias)


FITS = 64
"""What rows and columns of a 2:4 matrix are multiples of."""


def halves(module: nn.Module) -> dict[str, tuple[nn.Module, float]]:
    """A network of linear layers in half precision, dense and with two weights of every four, on a
    GPU that reads these faster; each with the share of weights that it keeps. Elsewhere nothing."""
    device = next(module.parameters()).device
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        return {}
    linear = [each for each in module.children() if isinstance(each, nn.Linear)]
    fit = [w for w in linear if not w.in_features % FITS and not w.out_features % FITS]
    if not models.is_stackable(module) or not fit:
        return {}
    dense = copy.deepcopy(module).half().eval()
    layers = [TwoOfFour(whole) if whole in fit else half
              for whole, half in zip(module, dense, strict=True)]  # fmt: skip
    gone = sum(each.weight.numel() for each in fit) / 2
    kept = 1 - gone / sum(each.weight.numel() for each in linear)
    return {"dense, half": (dense, 1.0), "2:4": (nn.Sequential(*layers).eval(), kept)}


# The procedure ------------------------------------------------------------------------------------


def measure(
    task: Task,
    batches: Sequence[int] = (1, 256),
    repeats: int | None = None,
    threads: int = 1,
    levels: int | None = None,
    seeds: Sequence[int] | None = None,
    store: Store | None = None,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> Lottery:
    """Find masks, and take the time of the network in every form, in turns.

    The masks come from one short training, all levels in one cut. What is timed is calls of the
    network on batches of images that are ready, and steps of training with all that belongs to
    them. Nothing of this is ever stored: times belong to the machine and the hour.

    The table's rows have metric ``milliseconds`` (of a batch, or of a step), replicates that are
    repeats, and moments ``"batch 1"``, ``"batch 256"`` and ``"training"``. Metric ``operations`` at
    moment ``mask`` counts the multiply-adds for one image that a form cannot do without.

    Args:
        task: at the scale to run.
        batches: how many images a call is given.
        repeats: how many turns; by default as many as suit the task's scale.
        threads: how many threads PyTorch may use.
        levels: as in :func:`lth_utils.imp`.
        seeds: the first is the network's.
        store: where the training of the masks is kept.
        executor: where that training is done; timing is always done here.
        progress: as in :func:`lth_utils.imp`.

    Raises:
        InputError: as in :func:`lth_utils.imp`, or a batch is empty.
    """
    if min(batches, default=1) < 1:
        raise InputError(f"A batch has at least one image; got {list(batches)}.")
    seeds = (task.seeds if seeds is None else tuple(seeds))[:1]
    found = lottery.imp(
        task, levels, seeds, treatments=(), one_shot=True,
        store=store, executor=executor, progress=progress,
    )  # fmt: skip
    repeats = REPEATS[task.scale] if repeats is None else repeats
    began = time.perf_counter()
    networks, trained = list(_networks(task, found)), list(_trainings(task, found, seeds[0]))
    works, rows = {}, []
    for batch in batches:
        index = torch.arange(batch) % len(task.data.test)
        images = task.data.normalise(task.data.test.images[index])
        works |= {(f"batch {batch}", each): _calls(each.thing, images) for each in networks}
    works |= {(STEP, each): each.thing for each in trained}
    for each in networks:
        rows.append((each, 0, "mask", "operations", each.operations))
    for (moment, each), repeat, spent in costs.timings(works, repeats, threads=threads).itertuples(
        index=False
    ):
        rows.append((each, repeat, moment, "milliseconds", spent))
    table = pd.DataFrame(
        [
            (task.name, each.name, each.level, each.density, repeat, moment, 0, "none", metric,
             float(value))
            for each, repeat, moment, metric, value in rows
        ],
        columns=TABLE,
    )  # fmt: skip
    seconds = found.seconds + time.perf_counter() - began
    return replace(found, table=table, curves=found.curves.iloc[:0], seconds=seconds)


class _Timed(NamedTuple):
    """Something to be timed."""

    level: int
    name: str
    density: float
    operations: int
    """Multiply-adds for one image that it cannot do without."""
    thing: Any


def _networks(task: Task, found: Lottery) -> Iterator[_Timed]:
    """Everything that is called."""
    model, shape = task.model, task.data.input_shape
    start, full = found.tickets[0].start, models.dense_mask(model)
    all_of_it = _operations(model, shape)
    dense = models.to_module(model, start).eval()
    yield _Timed(0, "dense", 1.0, all_of_it, dense)
    for name, (form, share) in halves(dense).items():
        yield _Timed(0, name, share, round(share * all_of_it), form)
    for ticket in found.tickets:
        share = ticket.mask.density.item()
        kept = costs.operations(model, shape, ticket.mask).item()
        for name, form in forms(model, start, ticket.mask, shape).items():
            if name == "structured":
                share = models.dense_mask(form).size / full.size
            operations = kept if name in FORMATS else _operations(form, shape)
            yield _Timed(ticket.level, name, share, operations, form)
            share = ticket.mask.density.item()


def _trainings(task: Task, found: Lottery, seed: int) -> Iterator[_Timed]:
    """Everything that is trained."""
    model, shape = task.model, task.data.input_shape
    start, full = found.tickets[0].start, models.dense_mask(model)

    def steps(model: nn.Module, start: Weights, mask: Mask, sparse: bool = False):
        with _sparse_kernel(sparse):
            return training.Steps(model, start, mask, task.data, task.recipe, seed)

    yield _Timed(0, "dense", 1.0, _operations(model, shape), steps(model, start, full))
    for ticket in found.tickets:
        mask, share = ticket.mask, ticket.mask.density.item()
        yield _Timed(ticket.level, "masked", share, _operations(model, shape),
                     steps(model, start, mask))  # fmt: skip
        fast = steps(model, start, mask, sparse=True)
        if fast.path == "sparse":
            kept = costs.operations(model, shape, mask).item()
            yield _Timed(ticket.level, "our kernel", share, kept, fast)
        whole = structures.prune(model, start, shape, density=share)
        small = structures.remove(model, start, whole, shape)
        yield _Timed(ticket.level, "structured", small.mask.size / full.size,
                     _operations(small.model, shape),
                     steps(small.model, small.weights, small.mask))  # fmt: skip


def _operations(model: nn.Module, input_shape: Sequence[int]) -> int:
    return costs.operations(model, input_shape, models.dense_mask(model)).item()


@contextmanager
def _sparse_kernel(on: bool) -> Iterator[None]:
    """Whether what is made meanwhile may train with the sparse kernel."""
    before = os.environ.get("LTH_SPARSE")
    os.environ["LTH_SPARSE"] = "1" if on else "0"
    try:
        yield
    finally:
        os.environ.pop("LTH_SPARSE")
        if before is not None:
            os.environ["LTH_SPARSE"] = before


def _calls(form: nn.Module, images: Tensor) -> Callable[[int], None]:
    images = images.to(next(form.parameters()).dtype)

    def call(count: int) -> None:
        with torch.inference_mode():
            for _ in range(count):
                form(images)

    return call


def predict(
    task: Task,
    batches: Sequence[int] = (1, 256),
    repeats: int | None = None,
    threads: int = 1,
    levels: int | None = None,
    seeds: Sequence[int] | None = None,
    store: Store | None = None,
) -> float:
    """Seconds that :func:`measure` will take here for the same arguments. The timing itself is
    always done again."""
    levels = task.levels if levels is None else levels
    seeds = (task.seeds if seeds is None else tuple(seeds))[:1]
    before = lottery.predict(
        task, levels, seeds, treatments=(), one_shot=True, store=store
    )  # fmt: skip
    dense = models.to_module(task.model, task.init(seeds)).eval()
    images = task.data.test.images
    calls = {}
    for batch in batches:
        index = torch.arange(batch) % len(images)
        calls[batch] = _calls(dense, task.data.normalise(images[index]))
    calls[STEP] = training.Steps(
        task.model, task.init(seeds), task.dense_mask(seeds), task.data, task.recipe, seeds[0]
    )
    once = costs.timings(calls, 1, threads=threads).milliseconds.clip(lower=2).sum() / 1e3
    repeats = REPEATS[task.scale] if repeats is None else repeats
    # Few forms are slower than the dense network, and many do their work several times a turn.
    return before + (repeats + 3) * once * (1 + levels * (3 + len(FORMATS)))
