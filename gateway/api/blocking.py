"""Calls that block (a read, a probe, a query) run in a few threads, so /healthz always answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread

from gateway.api.problems import Problem

THREADS = 8
AT_ONCE = 2
"""Most calls for one device or the historian at the same time; more would only queue there."""

WAITING = 8
"""Most heavy queries that wait for their turn, and how long each waits at most."""
WAIT_S = 5.0

P = ParamSpec("P")
T = TypeVar("T")


class Blocking:
    """Runs blocking calls, few at once for each thing that is asked; heavy ones in turn."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(THREADS)
        self._running: Counter[str] = Counter()
        self._turn = anyio.Lock()
        self._waiting = 0

    async def call(
        self, asked: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The function's result; Problem where ``asked`` has enough to do already."""
        if self._running[asked] >= AT_ONCE:
            raise _busy(f"{asked} is still busy with {AT_ONCE} requests like this one")
        self._running[asked] += 1
        try:
            return await self._run(lambda: function(*args, **kwargs))
        finally:
            self._running[asked] -= 1

    async def heavy(
        self, asked: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The function's result, that costs much: one such call at a time, whoever asks.

        Problem where too many wait, or the turn does not come within WAIT_S.
        """
        if self._waiting >= WAITING:
            raise _busy(f"{asked}: {WAITING} other queries wait already")
        self._waiting += 1
        try:
            with anyio.move_on_after(WAIT_S) as limit:
                await self._turn.acquire()
        finally:
            self._waiting -= 1
        if limit.cancelled_caught:
            raise _busy(f"{asked}: no turn within {WAIT_S:g} s, others are asking")
        try:
            return await self._run(lambda: function(*args, **kwargs))
        finally:
            self._turn.release()

    async def _run(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._limiter, abandon_on_cancel=True)


def _busy(what: str) -> Problem:
    return Problem(503, what, "try again when they are done", {"retry-after": "1"})
