"""Questions to check oneself, in plain HTML: they need neither a kernel nor a script."""

from __future__ import annotations

import hashlib
import html
import itertools
import re
from collections.abc import Mapping

from lth_utils.errors import InputError
from lth_utils.widgets._figure import source

MOST_ANSWERS = 6
_asked = itertools.count(1)


class Quiz:
    """What :func:`quiz` gives back; a notebook shows it as HTML."""

    def __init__(self, questions: tuple[Mapping, ...]):
        self.questions = questions
        # The contents too: a page may still show what an earlier kernel counted from one.
        digest = hashlib.sha256(repr(questions).encode()).hexdigest()[:8]
        self._id = f"quiz-{digest}-{next(_asked)}"

    def __repr__(self) -> str:
        return f"Quiz({len(self.questions)} questions)"

    def _repr_html_(self) -> str:
        asked = "".join(_question(f"{self._id}-{n}", q) for n, q in enumerate(self.questions, 1))
        style = source("shared.css", "quiz.css") + "\n" + _reveal()
        return f'<style>{style}</style><div class="lth lth-quiz" data-lth="quiz">{asked}</div>'


def quiz(*questions: Mapping) -> Quiz:
    """Multiple-choice questions; choosing an answer shows what to think of it.

    Args:
        questions: each has ``"ask"``, the question; ``"answers"``, from the text of each answer to
            the feedback on it; and ``"right"``, the text of the right one. In all of these
            backquotes make ```code``` and asterisks ``*emphasis*``.

    Raises:
        InputError: a part is missing or unknown, there are fewer than two answers or more than
            six, an answer has no feedback, or the right one is not among them.
    """
    if not questions:
        raise InputError("A quiz needs at least one question.")
    for number, question in enumerate(questions, start=1):
        _check(f"Question {number} of the quiz", question)
    return Quiz(questions)


def _check(where: str, question: Mapping) -> None:
    parts = {"ask", "answers", "right"}
    if not isinstance(question, Mapping) or set(question) != parts:
        raise InputError(f'{where} needs "ask", "answers" and "right", and nothing else.')
    answers, right = question["answers"], question["right"]
    if not isinstance(answers, Mapping) or len(answers) not in range(2, MOST_ANSWERS + 1):
        raise InputError(
            f"{where} needs 2 to {MOST_ANSWERS} answers, as a dictionary from text to feedback."
        )
    texts = [question["ask"], *answers.keys(), *answers.values()]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError(f"{where} has an empty text; each answer needs one, and a feedback.")
    if right not in answers:
        raise InputError(f"{where}: {right!r} is not one of its answers: {', '.join(answers)}.")


def _question(name: str, question: Mapping) -> str:
    choices, feedback = [], []
    for number, (answer, reply) in enumerate(question["answers"].items(), start=1):
        is_right = answer == question["right"]
        text, verdict = _text(answer), "✓ Right." if is_right else "✗ No."
        choices.append(
            f'<input type="radio" name="{name}" id="{name}-{number}">'
            f'<label for="{name}-{number}">{text}</label>'
        )
        feedback.append(
            f'<p class="{"right" if is_right else "wrong"}"><strong>{verdict}</strong> '
            f'<span class="lth-answer">{text}: </span>{_text(reply)}</p>'
        )
    return (
        f"<fieldset><legend>{_text(question['ask'])}</legend>{''.join(choices)}"
        f'<div role="status">{"".join(feedback)}</div></fieldset>'
    )


def _text(text: str) -> str:
    text = html.escape(text)
    pieces = re.split(r"`([^`]+)`", text)  # code at the odd places, where asterisks mean themselves
    pieces[::2] = [re.sub(r"\*(\S(?:[^*]*\S)?)\*", r"<em>\1</em>", p) for p in pieces[::2]]
    pieces[1::2] = [f"<code>{p}</code>" for p in pieces[1::2]]
    return "".join(pieces)


def _reveal() -> str:
    """Answer n shows feedback n: the one rule that CSS can't state without counting."""
    rules = (
        f".lth-quiz input:nth-of-type({n}):checked ~ [role=status] p:nth-of-type({n})"
        for n in range(1, MOST_ANSWERS + 1)
    )
    return f"@media screen {{\n{', '.join(rules)} {{ display: block; }}\n}}"
