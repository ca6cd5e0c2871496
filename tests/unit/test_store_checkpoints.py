"""Checkpoints: a long unit goes on from a state that is, to the bit, the one it had."""

import errno
import math
import pickle
import warnings

import pytest
import torch

from lth_utils.errors import InputError
from lth_utils.store import Store, key

NAME = key({"seed": 0})

TENSORS = {
    "fc1.weight": torch.randn(2, 3, 5).mT,
    "adam/fc1.weight/exp avg": torch.tensor([float("nan"), -0.0, float("inf"), 1e-42]),
    'quoted "digest":"' + "0" * 64: torch.randn(3),
    "step": torch.tensor(7),
    "": torch.tensor(True),
    "empty": torch.empty(0, 4),
    "mask": torch.rand(9) < 0.5,
    "ünïcode\n": torch.arange(5, dtype=torch.uint8),
    "half": torch.randn(4).bfloat16(),
    "double": torch.randn(4, dtype=torch.float64),
    "byte": torch.arange(-3, 3, dtype=torch.int8),
}
NOTE = {"step": 20, "losses": [0.1, 1 / 3, math.inf], "digest": "0" * 64, "who": None, "é": '"'}


@pytest.fixture
def checkpoint(tmp_path):
    return Store(tmp_path / "store").checkpoint(NAME)


def left(checkpoint):
    return [path.name for path in checkpoint.path.parent.iterdir()]


def same(a, b):
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert (tensor.dtype, tensor.shape) == (b[name].dtype, b[name].shape)
        contents = [t.contiguous().reshape(-1).view(torch.uint8) for t in (tensor, b[name])]
        assert torch.equal(*contents)


def test_what_is_read_is_to_the_bit_what_was_written(checkpoint):
    checkpoint.save(TENSORS, NOTE)
    tensors, note = checkpoint.load()
    same(tensors, TENSORS)
    assert note == NOTE
    tensors["step"] += 1  # and it can be trained on


def test_views_of_one_piece_of_memory_are_kept(checkpoint):
    flat = torch.arange(6.0, requires_grad=True)
    checkpoint.save({"a": flat[:3], "b": flat[3:], "all": flat}, {})
    tensors, note = checkpoint.load()
    same(tensors, {"a": flat[:3].detach(), "b": flat[3:].detach(), "all": flat.detach()})
    assert note == {}


def test_nothing_at_all_can_be_kept_too(checkpoint):
    checkpoint.save({}, {})
    assert checkpoint.load() == ({}, {})


def test_the_last_state_counts_until_it_is_cleared(checkpoint):
    assert checkpoint.load() is None
    for step in range(3):
        checkpoint.save({"w": torch.tensor(step)}, {"step": step})
    assert checkpoint.load() == ({"w": torch.tensor(2)}, {"step": 2})
    assert left(checkpoint) == [f"{NAME}.safetensors"]
    checkpoint.clear()
    checkpoint.clear()
    assert checkpoint.load() is None and left(checkpoint) == []


def test_a_checkpoint_can_be_sent_to_a_worker(checkpoint):
    pickle.loads(pickle.dumps(checkpoint)).save({}, {"from": "worker"})
    assert checkpoint.load() == ({}, {"from": "worker"})


def test_every_flipped_bit_and_every_truncation_is_noticed(checkpoint):
    checkpoint.save({"w": torch.randn(3), "b": torch.zeros(2)}, {"step": 1})
    data = checkpoint.path.read_bytes()
    damages = [data[:i] for i in range(len(data))]
    damages += [
        data[:i] + bytes([data[i] ^ (1 << i % 8)]) + data[i + 1 :] for i in range(len(data))
    ]
    damages += [data + b"\0", data * 2, b"\0" * len(data)]
    for damaged in damages:
        checkpoint.path.write_bytes(damaged)
        with pytest.warns(UserWarning, match="A checkpoint was damaged"):
            assert checkpoint.load() is None
        assert left(checkpoint) == []
    checkpoint.path.write_bytes(data)
    assert checkpoint.load()[1] == {"step": 1}


@pytest.mark.parametrize("step", ["os.replace", "write", "sync"])
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(errno.ENOSPC, "No space left on device"), InputError),
        (OSError(errno.EACCES, "Permission denied"), InputError),
    ],
    ids=["interrupt", "full", "denied"],
)
def test_an_interrupted_save_leaves_a_whole_state(checkpoint, monkeypatch, step, error, expected):
    checkpoint.save({}, {"step": 1})

    def stop(*args):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(f"lth_utils.store._checkpoints.{step}", stop)
        with pytest.raises(expected):
            checkpoint.save({}, {"step": 2})
    assert left(checkpoint) == [f"{NAME}.safetensors"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoint.load()[1]["step"] in (1, 2)


def test_a_state_that_cannot_be_read_just_now_is_not_thrown_away(checkpoint, monkeypatch):
    checkpoint.save({}, {"step": 1})

    def fails(*args):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.read_bytes", fails)
        with pytest.raises(InputError, match="cannot be read from .*Input/output error"):
            checkpoint.load()
    assert checkpoint.load() == ({}, {"step": 1})
