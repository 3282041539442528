"""A thread of its own that looks at Redis again and again, with a connection of its own."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from gateway.sinks.redis.client import RedisClient


class Polling(ABC):
    """Its subclass gives ``_run``, which ends soon after ``_over`` is set."""

    def __init__(self, client: RedisClient, name: str) -> None:
        self._client = client
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def _run(self) -> None:
        """What the thread does."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def interrupt(self) -> None:
        """What is under way is to end. Never raises."""
        self._over.set()
        self._client.close()

    def stop(self) -> None:
        """End, at once. Never raises."""
        self.interrupt()
        if self._thread.ident is not None:
            self._thread.join(5.0)

    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()
