"""One finding, and many questions asked at once, all within a bounded time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

State: TypeAlias = Literal["OK", "WARN", "FAIL"]


class Check(NamedTuple):
    """What was looked at, how it is, and what to do."""

    name: str
    state: State
    found: str
    todo: str = ""
    """What to do; empty where all is well."""


class Question(NamedTuple):
    """Something that may have to wait for an answer."""

    name: str
    ask: Callable[[], list[Check]]
    end: Callable[[], None] = lambda: None
    """Frees ``ask`` when its time is up. Never raises."""


def in_time(questions: Sequence[Question], within_s: float, workers: int = 32) -> Iterator[Check]:
    """The findings, in the order of the questions; FAIL for what has no answer in time.

    The threads are daemons: what cannot be freed does not keep the command from ending.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    answers: list[queue.SimpleQueue[list[Check]]] = [queue.SimpleQueue() for _ in questions]
    for number in range(len(questions)):
        waiting.put(number)

    def work() -> None:
        while True:
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            answers[number].put(_asked(questions[number]))

    for _ in range(min(workers, len(questions))):
        threading.Thread(target=work, daemon=True).start()
    until = time.monotonic() + within_s
    for question, answer in zip(questions, answers, strict=True):
        try:
            yield from answer.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            question.end()
            found = f"no answer within {within_s:g} s"
            yield Check(question.name, "FAIL", found, "ask it alone: `gateway read FILE DEVICE`")


def _asked(question: Question) -> list[Check]:
    try:
        return question.ask()
    except Exception as error:  # one bad check must not hide the others
        found = f"this is a bug in the gateway: {type(error).__name__}: {error}"
        return [Check(question.name, "FAIL", found, "report it; the other checks are unharmed")]
