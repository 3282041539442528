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

P = ParamSpec("P")
T = TypeVar("T")


class Blocking:
    """Runs blocking calls, few at once for each thing that is asked."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(THREADS)
        self._running: Counter[str] = Counter()

    async def call(
        self, asked: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The function's result; Problem where ``asked`` has enough to do already."""
        if self._running[asked] >= AT_ONCE:
            raise Problem(
                503,
                f"{asked} is still busy with {AT_ONCE} requests like this one",
                "try again when they are done",
                {"retry-after": "1"},
            )
        self._running[asked] += 1
        try:
            return await anyio.to_thread.run_sync(
                lambda: function(*args, **kwargs), limiter=self._limiter, abandon_on_cancel=True
            )
        finally:
            self._running[asked] -= 1
