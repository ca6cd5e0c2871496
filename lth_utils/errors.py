"""What went wrong and what to do about it, in one sentence.

Every mistake that a caller can mend raises :class:`InputError` (or its relative
:class:`DataError` for files). The command line prints the sentence and nothing else; a
notebook shows it at the end of the traceback.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

_T = TypeVar("_T")


class InputError(ValueError):
    """An argument or a setting that cannot be used; the message says which, and what can."""


class DataError(InputError):
    """A data file that is missing, damaged or not what it claims to be."""


def unknown(kind: str, name: object, known) -> InputError:
    """The error for a name that is not in ``known``: it lists what is, nearest first.

    >>> str(unknown("task", "lenet", ["lenet-mnist", "conv2-cifar10"]))
    "Unknown task 'lenet'. Known: lenet-mnist, conv2-cifar10."
    """
    known = [str(k) for k in known]
    near = get_close_matches(str(name), known, n=3, cutoff=0.3)
    ordered = near + [k for k in known if k not in near]
    return InputError(f"Unknown {kind} {str(name)!r}. Known: {', '.join(ordered) or 'none'}.")


def look_up(kind: str, name: str, known: Mapping[str, _T]) -> _T:
    """What ``known`` has under ``name``.

    Raises:
        InputError: there is nothing of that name; the message lists what there is.
    """
    if name not in known:
        raise unknown(kind, name, known)
    return known[name]
