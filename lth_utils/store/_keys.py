"""Keys: settings as text, and the digest of it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from types import CodeType

from lth_utils import models
from lth_utils.errors import InputError

NUMERICS = 2
"""Raised by hand when the numbers that a training gives change on purpose.

Since 2, each network on a CPU is trained by one thread, and a fully connected one by a compiled
step, dense or sparse.
"""


def key(settings: Mapping) -> str:
    """The digest of some settings: SHA-256 of their canonical JSON, with the numerics' version."""
    return hashlib.sha256(canonical({"numerics": NUMERICS, **settings}).encode()).hexdigest()


def canonical(settings: Mapping) -> str:
    """Settings as JSON in which equal settings are equal text, so that 1 and 1.0 are one number.

    Raises:
        InputError: a number is infinite or none at all.
        TypeError: a value has no such text.
    """
    return json.dumps(plain(settings), sort_keys=True, separators=(",", ":"))


def plain(value):
    """A value in the types that JSON has."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        if not math.isfinite(value):
            raise InputError(f"A number in a run's settings is finite; got {value}.")
        return int(value) if value == int(value) else float(value)
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: plain(v) for name, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: plain(getattr(value, f.name)) for f in fields(value)}
        return {"type": type(value).__name__, **parts}
    raise TypeError(f"{value!r} cannot be part of a key")


def is_own(thing: Callable) -> bool:
    """Whether a function or class is a reader's own, and not of this package."""
    return not thing.__module__.startswith("lth_utils.")


def identity(function: Callable) -> str:
    """What stands for a function in a key: its name, and for a reader's own its code as well.

    Whoever edits a criterion and runs again must not be given the results of the old one.
    """
    if not is_own(function):
        return function.__name__
    closure = [repr(cell.cell_contents) for cell in function.__closure__ or ()]
    defaults = repr((function.__defaults__, function.__kwdefaults__))
    body = repr((_code(function.__code__), defaults, closure))
    return f"{function.__name__}-{hashlib.sha256(body.encode()).hexdigest()[:16]}"


def portrait(model) -> str:
    """What stands for a reader's own network in a key: the digest of what it is made of.

    These are its modules with their plain settings, the code of their classes, and what of the
    network is neither weight nor statistic. Functions that this code calls are not looked into.
    """
    parts = [
        (
            name,
            type(module).__name__,
            _classes(type(module)),
            sorted((k, said) for k, v in vars(module).items() if (said := _said(k, v))),
        )
        for name, module in model.named_modules()
    ]
    digest = hashlib.sha256(repr(parts).encode())
    whole = {name: b for name, b in model.named_buffers() if not b.is_floating_point()}
    for name, tensor in {**models.constants(model), **whole}.items():
        if not name.endswith("num_batches_tracked"):
            digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()[:16]


def _classes(kind: type) -> list:
    """The code of a class and of those it is made from, but for PyTorch's and this package's."""
    own = [c for c in kind.__mro__ if is_own(c) and c.__module__.split(".")[0] != "torch"]
    return [
        (name, _code(code))
        for each in own
        for name, value in sorted(vars(each).items())
        if (code := getattr(getattr(value, "__func__", value), "__code__", None))
    ]


def _said(name: str, value) -> str:
    """A setting of a module as text; empty for what has none that lasts."""
    if name.startswith("_") or name in ("training", "streams"):
        return ""
    if isinstance(value, bool | int | float | str | tuple | list | dict):
        text = repr(value)
        return "" if " at 0x" in text else text
    return identity(value) if hasattr(value, "__code__") else ""


def _code(code: CodeType) -> tuple:
    """What a code object does, without where it lies: its operations, names and constants."""
    constants = [_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return code.co_code, code.co_names, constants
