"""Costs: the operations, seconds and memory that trainings will take, known before they start."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import psutil
import torch
from torch import nn

from lth_utils import models, training
from lth_utils.errors import InputError
from lth_utils.masks import Mask
from lth_utils.randomness import stream

if TYPE_CHECKING:
    from lth_utils.tasks import Task

CONTAINER = Path("/sys/fs/cgroup")

SHARE = 0.8
"""How much of the free memory a study may plan with; other programs want some, too."""


# Seconds ------------------------------------------------------------------------------------------

LOOK = 200
"""Images looked at to find out how long a look at the validation set takes."""


def pace(task: Task, density: float = 1.0, members: int = 1) -> tuple[float, float]:
    """How long a training takes here, from a few iterations run now.

    Args:
        task: at its scale, with its data loaded.
        density: share kept of every layer.
        members: how many train side by side.

    Returns:
        Seconds for an iteration of one member, and for its look at the validation set.
    """
    seeds = tuple(range(members))
    start = task.init(seeds)
    generator = torch.Generator().manual_seed(0)
    shapes = task.dense_mask(seeds).shapes
    kept = {n: torch.rand(members, *s, generator=generator) < density for n, s in shapes.items()}
    data = task.data.subset(len(task.data.train), min(LOOK, len(task.data.val)))
    recipe = replace(task.recipe, every=f"{max(1, task.iterations)}it")

    def taste(iterations: int) -> float:
        began = time.perf_counter()
        training.train(
            task.model, start, Mask(kept), data, recipe, seeds, end=iterations, report=()
        )
        return time.perf_counter() - began

    taste(0)  # the first time of anything is slow
    still = taste(0)
    steps = 1
    while (spent := taste(steps) - still) < 0.1 and 2 * steps <= task.iterations:
        steps *= 2
    look = still / 3 / members * len(task.data.val) / len(data.val)  # three looks in each taste
    return max(spent, 0.0) / max(steps, 1) / members, look


def clock(threads: int = 1) -> Callable[[], float]:
    """The clock for work on so many threads, in seconds.

    On one thread of a CPU it goes only while that thread has a processor, so that it does not
    count how long others kept it waiting. With more threads, on a GPU, or where the system counts
    that time too coarsely, it is the ordinary one.
    """
    fine = time.get_clock_info("thread_time").resolution < 1e-5
    alone = threads == 1 and fine and not torch.cuda.is_initialized()
    return time.thread_time if alone else time.perf_counter


def timings(
    works: Mapping[Hashable, Callable[[int], object]],
    repeats: int = 15,
    at_least: float = 0.002,
    threads: int = 1,
) -> pd.DataFrame:
    """How long pieces of work take, by :func:`clock`, in turns, so that whatever disturbs hits all.

    Each is warmed up first. In every repeat each has its turn, in another order each time, for
    what went before leaves the processor's memory warm or cold, and does its work as often as takes
    ``at_least`` seconds. Read medians: a disturbance only ever adds.

    Args:
        works: by name, functions that do something as many times as they are asked to.
        repeats: how many turns each has.
        at_least: seconds that a turn lasts, against the clock's own grain.
        threads: how many threads PyTorch may use meanwhile.

    Returns:
        Columns name, repeat and milliseconds, those of doing the work once.

    Raises:
        InputError: there is not at least one repeat.
    """
    if repeats < 1:
        raise InputError(f"A timing has at least one repeat; got {repeats}.")
    now = clock(threads)

    def lasts(work: Callable[[int], object], count: int) -> float:
        _wait()
        began = now()
        work(count)
        _wait()
        return now() - began

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        counts = {}
        for name, work in works.items():
            lasts(work, 1)  # the first time of anything is slow
            counts[name] = 1
            while lasts(work, counts[name]) < at_least:
                counts[name] *= 2
        names, rows = list(works), []
        for repeat in range(repeats):
            for name in (
                names[i] for i in stream(repeat, "drawn", "turns").permutation(len(names))
            ):
                if counts[name] > 1:  # what is short would feel most who was here before
                    works[name](1)
                spent = lasts(works[name], counts[name])
                rows.append((name, repeat, 1e3 * spent / counts[name]))
    finally:
        torch.set_num_threads(before)
    return pd.DataFrame(rows, columns=["name", "repeat", "milliseconds"])


def _wait() -> None:
    """Until a GPU, if one is used, has done what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


# Operations ---------------------------------------------------------------------------------------

PASSES = 3
"""How many forward passes a step of training is counted as. One is the way forward, and backwards
one is for the gradients of the inputs and one for those of the weights. A little too many, because
nobody asks for the gradient of an image."""


def operations(model: nn.Module, input_shape: Sequence[int], mask: Mask) -> torch.Tensor:
    """Multiply-adds of one forward pass through the weights that a mask keeps.

    A kept weight of a fully connected layer is used once for each image, one of a convolution
    once for each position of the output, padding included. A step of training counts
    :data:`PASSES` times that for each image of its batch. Not counted: biases, batch norm,
    activations, pooling, the loss, the optimiser, and the work of finding out where a mask's
    weights are. So this is what a sparse network needs at least, not what a machine saves.

    Args:
        model: the function.
        input_shape: of one image, (C, H, W).
        mask: R members.

    Returns:
        For one image, int64 (R,).

    Raises:
        InputError: the mask does not fit the network.
    """
    names = list(models.prunable(model))
    shapes = models.shapes(model)
    mask.check({name: shapes[name] for name in names}, None)
    uses = dict.fromkeys(names, 0)
    for name, layer, output in _outputs(model, input_shape):
        tensor = f"{name}.weight" if name else "weight"
        if tensor in uses:
            uses[tensor] += output[0].numel() // len(layer.weight)
    return sum(uses[name] * mask[name].flatten(1).sum(1) for name in names)


# Memory -------------------------------------------------------------------------------------------


def members_at_once(task: Task, snapshots: int = 0) -> int:
    """How many members of a task to train together.

    On a CPU more than one for every thread gain nothing, and each piece is stored when it is
    done; a GPU is filled. Never more than fit in the memory that is free.

    Args:
        task: at its scale, with its data loaded.
        snapshots: how many steps each member keeps.

    Raises:
        InputError: not even one fits.
    """
    device = task.data.train.images.device
    shared, each = needed(task, snapshots)
    room = SHARE * available(device) - shared
    if room < each:
        raise InputError(
            f"Training {task.title} is predicted to need {_size(shared + each)} at its peak, and "
            f"{_size(SHARE * available(device))} can be had: free some memory, or take a smaller "
            "batch or width."
        )
    wish = max(5, torch.get_num_threads()) if device.type == "cpu" else math.inf
    return int(min(wish, room // each))


def needed(task: Task, snapshots: int = 0) -> tuple[int, int]:
    """Bytes that a training of the task will take at its peak, beside the data already loaded.

    Returns:
        What all members share, and what each member adds.
    """
    model, recipe, data = task.model, task.recipe, task.data
    shapes = models.shapes(model)
    weights = sum(math.prod(shape) for shape in shapes.values())
    prunable = sum(math.prod(shapes[name]) for name in models.prunable(model))
    image = math.prod(data.input_shape)
    total, largest = activity(model, data.input_shape)
    # Weights at the start, in training and at the early stop, gradients, two moments of the
    # optimiser, the result as each member's and as all members'; masks as booleans and as numbers.
    each = 4 * weights * (8 + 2 * snapshots) + 6 * prunable
    # What the backward pass needs of a batch, and what it makes of it.
    each += 2 * 4 * recipe.batch * (image + total)
    # One member looks at a chunk of images while the others train: a layer's input and output.
    shared = 3 * 4 * training.chunk_of(model) * max(image, largest)
    # The order of an epoch, drawn and sorted.
    each += 4 * 8 * len(data.train)
    return shared, each


def activity(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[int, int]:
    """Numbers that the layers of a network put out for one image: of all together, and of the
    layer that puts out most."""
    counts = [
        output[0].numel()
        for _, layer, output in _outputs(model, input_shape)
        if not list(layer.children())
    ]
    return sum(counts), max(counts, default=0)


def _outputs(
    model: nn.Module, input_shape: Sequence[int]
) -> list[tuple[str, nn.Module, torch.Tensor]]:
    """What every module of a network puts out for two images: its name, itself and the tensor, the
    first where it gives several. A module used twice is there twice."""
    for device in ("meta", "cpu"):
        shadow, heard = copy.deepcopy(model).to(device).eval(), []

        def listen(layer: nn.Module, inputs: object, output: object, name: str, heard=heard):
            first = output[0] if isinstance(output, tuple | list) and output else output
            if isinstance(first, torch.Tensor) and first.dim():
                heard.append((name, layer, first))

        for name, layer in shadow.named_modules():
            layer.register_forward_hook(partial(listen, name=name))
        try:
            with torch.no_grad():
                shadow(torch.zeros(2, *input_shape, device=device))
            return heard
        except Exception:  # on its way it makes tensors of its own, which have numbers
            if device == "cpu":
                raise


def available(device: torch.device) -> int:
    """Bytes free on a device; on the CPU within what the container, if any, allows."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = psutil.virtual_memory().available
    try:
        allowed = int((CONTAINER / "memory.max").read_text())  # "max" where there is no limit
        used = int((CONTAINER / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return min(free, max(0, allowed - used))


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
