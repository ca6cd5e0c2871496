"""Text: the reference manual that ships with the running Python, in windows of characters."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from lth_utils.datasets._files import Damaged, Part
from lth_utils.randomness import stream

ALPHABET = "\n" + "".join(map(chr, range(32, 127)))
"""Every character there is: the line's end and the 95 that ASCII prints. A character of the text is
known by its place here."""

WINDOW = 32
"""Characters that a network sees before it has said something about each of them."""

PLAIN = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "..."})


def read_python_docs(_: Path, __: Mapping[str, str]) -> list[Part]:
    """The manual as one part, in windows one after another: characters uint8 (N, 1, 1, T), and for
    each the one that follows it, uint8 (N, T)."""
    try:
        from pydoc_data import topics
    except ImportError:
        python = Path(sys.executable)
        raise Damaged(python, "carries no manual (the module pydoc_data.topics)") from None
    names = sorted(topics.topics)
    # Neighbours in the alphabet are often about the same; each stretch shall have something of all.
    order = stream(0, "split", "python-docs", "topics").permutation(len(names))
    return [windows("\n\n\n".join(without_repetitions(topics.topics[names[i]] for i in order)))]


def without_repetitions(texts: Iterable[str]) -> Iterator[str]:
    """The texts without the paragraphs that stood in an earlier one, wherever lines break.

    The manual repeats whole sections, a fifth of itself in Python 3.11. What a network is tested on
    must not have been in what it was trained on.
    """
    seen = set()
    for text in texts:
        new = []
        for paragraph in text.split("\n\n"):
            words = " ".join(paragraph.split())
            if words not in seen:
                seen.add(words)
                new.append(paragraph)
        yield "\n\n".join(new)


def windows(text: str) -> Part:
    """A text in windows of ``WINDOW`` characters, with the character that follows each."""
    tokens = encode(text)
    count = (len(tokens) - 1) // WINDOW
    now, following = (tokens[i : i + count * WINDOW].reshape(count, WINDOW) for i in (0, 1))
    return Part(np.ascontiguousarray(now)[:, None, None], np.ascontiguousarray(following))


def encode(text: str) -> np.ndarray:
    """The places of a text's characters in ``ALPHABET``, uint8 (length,); that of ``?`` for a
    character that is not in it."""
    places = {character: i for i, character in enumerate(ALPHABET)}
    strange = places["?"]
    return np.array([places.get(c, strange) for c in text.translate(PLAIN)], np.uint8)


def decode(tokens: Iterable[int]) -> str:
    """The text of characters that are given by their places in ``ALPHABET``."""
    return "".join(ALPHABET[int(token)] for token in tokens)
