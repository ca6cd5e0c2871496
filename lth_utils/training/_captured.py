"""The captured path: on a GPU the whole step is recorded once and replayed.

A small network's step is dozens of kernels that take microseconds each, and launching them one by
one takes longer than running them. Taken wherever the device is a CUDA GPU; ``LTH_CAPTURE=0``
turns it off. ``LTH_COMPILE=inductor`` (or another backend of ``torch.compile``) compiles the step
instead, on any device: slower to start, and its fused kernels spare trips to memory.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lth_utils import models

if TYPE_CHECKING:
    from lth_utils.training._plain import Plain
    from lth_utils.training._train import Job

_KNOWN = ("lth_utils", "torch", "torchvision")

WARM_UP = 3
"""Steps taken before recording, as libraries choose their algorithms and allocate in the first."""


def takes(job: Job) -> bool:
    """Whether the step of this training is captured or compiled. What noisy layers draw is drawn
    on the CPU at every step, which no recording can hold, nor a mask that moves, nor a choice that
    a reader's own code may make at every step."""
    if job.moves or any(isinstance(m, models.Noisy) and m.purpose for m in job.model.modules()):
        return False
    known = all(type(m).__module__.split(".")[0] in _KNOWN for m in job.model.modules())
    graph = known and job.device.type == "cuda" and os.environ.get("LTH_CAPTURE", "1") != "0"
    return graph or bool(_backend())


def _backend() -> str:
    return os.environ.get("LTH_COMPILE", "")


class Captured:
    """A step that is recorded when it is first taken, with its inputs at fixed places."""

    def __init__(self, engine: Plain):
        self.engine = engine
        device = engine.job.device
        # The fused optimisers of a GPU read the rate as a float32.
        real = torch.float32 if device.type == "cuda" else torch.float64
        self.rate = torch.zeros((), dtype=real, device=device)
        self.index: Tensor | None = None
        self.draws: Tensor | None = None
        self.replay = None

    def __call__(self, index: Tensor, draws: Tensor | None, rate: float) -> None:
        if self.replay is None:
            self.index, self.draws = index.clone(), None if draws is None else draws.clone()
            self.replay = self._compiled() if _backend() else self._graph()
        self.index.copy_(index)
        if draws is not None:
            self.draws.copy_(draws)
        self.rate.fill_(rate)
        self.replay()

    def _once(self) -> None:
        self.engine._step(self.index, self.draws, self.rate)

    def _compiled(self):
        return torch.compile(self._once, backend=_backend())

    def _graph(self):
        # The steps of the warm-up are real ones, so what they changed is put back.
        before = {name: value.clone() for name, value in self.engine.state().items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._once()
        torch.cuda.current_stream().wait_stream(stream)
        self.engine.optimiser.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._once()
        self._put_back(before)
        return graph.replay

    def _put_back(self, before: dict[str, Tensor]) -> None:
        """In place: the graph remembers addresses. A fresh optimiser's state is all zero."""
        with torch.no_grad():
            for name, value in self.engine.state().items():
                value.copy_(before[name]) if name in before else value.zero_()
