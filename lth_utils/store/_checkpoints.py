"""Checkpoints: the state inside a unit that takes long."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import safetensors.torch
from torch import Tensor

from lth_utils.store._files import UNSEALED, check_seal, pack, reading, seal, sync, write, writing


@dataclass(frozen=True)
class Checkpoint:
    """Where a unit keeps its state while it is trained: one file, in any process that has its path.

    Whoever writes it holds the unit's lock, or works for a process that does.
    """

    path: Path

    def save(self, tensors: Mapping[str, Tensor], note: Mapping) -> None:
        """Put a new state in the place of the old one, at once.

        Args:
            tensors: of any type and shape, under any names.
            note: whatever else is needed to go on, as JSON has it.

        Raises:
            InputError: the disk is full, or the folder cannot be written.
        """
        metadata = {"digest": UNSEALED, "note": json.dumps(note)}
        data = seal(pack(tensors, metadata))
        scratch = self.path.with_name(f"{self.path.name}.{uuid4().hex[:8]}")
        with writing(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                write(scratch, data)
                os.replace(scratch, self.path)
            finally:
                scratch.unlink(missing_ok=True)
            sync(self.path.parent)

    def load(self) -> tuple[dict[str, Tensor], dict] | None:
        """Tensors and note as they were last saved; None if they never were.

        A damaged file is removed, with a warning.

        Raises:
            InputError: it is there and cannot be read.
        """
        with reading(self.path.parent):
            try:
                data = self.path.read_bytes()
                check_seal(data)
            except FileNotFoundError:
                return None
            except ValueError as error:
                warnings.warn(
                    f"A checkpoint was damaged and training starts anew ({error}).", stacklevel=2
                )
                self.clear()
                return None
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return safetensors.torch.load(data), json.loads(header["__metadata__"]["note"])

    def clear(self) -> None:
        """Forget the state: the unit is finished, or is to start anew."""
        with writing(self.path.parent):
            self.path.unlink(missing_ok=True)
