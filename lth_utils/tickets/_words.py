"""Values as JSON, and back again without trusting it."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

MOST_LETTERS = 300


def parsed(text: str | bytes) -> Any:
    """What JSON says in which no name comes twice and every number is one.

    Raises:
        ValueError: it is not JSON, or not such.
        RecursionError: it is nested too deep.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a name comes twice")
        return dict(pairs)

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number")

    return json.loads(text, object_pairs_hook=once, parse_constant=refuse)


def typed(value: Any, hint: Any, where: str = "ticket") -> Any:
    """A JSON value as the type that is hinted at.

    Nothing is called but the dataclasses that ``hint`` names, with the fields that they have; text
    is short and has no control characters, and numbers are of a size that a machine has.

    Raises:
        TypeError: the value is of another type.
        InputError: a dataclass refuses its fields.
    """
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for part in parts:
            try:
                return typed(value, part, where)
            except TypeError:
                continue
    elif is_dataclass(hint) and isinstance(value, dict):
        given = {"type": hint.__name__, **value}
        if given.pop("type") == hint.__name__ and given.keys() <= {f.name for f in fields(hint)}:
            hints = _hints(hint)
            return hint(**{n: typed(v, hints[n], f"{where}.{n}") for n, v in given.items()})
    elif origin is tuple and isinstance(value, list):
        each = parts[:1] * len(value) if parts[-1] is ... else parts
        if len(each) == len(value):
            return tuple(typed(v, part, where) for v, part in zip(value, each, strict=True))
    elif origin is Mapping and isinstance(value, dict):
        return {typed(n, parts[0], where): typed(v, parts[1], f"{where}.{n}")
                for n, v in value.items()}  # fmt: skip
    elif isinstance(value, str):
        if hint is str and len(value) <= MOST_LETTERS and value.isprintable():
            return value
    elif type(value) in (int, float) and hint in (int, float) and abs(value) < 2**63:
        if hint is float or type(value) is int:
            return hint(value)
    elif hint in (bool, types.NoneType) and type(value) is hint:
        return value
    raise TypeError(f"{where}: {str(value)[:40]!r}")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)
