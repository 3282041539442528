"""Clients of the status socket that behave, while others do not."""

from __future__ import annotations

import threading
import time

from gateway.api.client import Client
from tests.faults.rig import Rig


class Newcomers:
    """Ask again and again over new connections, in threads of their own."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.took_s: list[float] = []
        self.faults: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(tcp,)) for tcp in (False, True)]

    def _ask(self, tcp: bool) -> None:
        client = Client(self._rig.tcp if tcp else self._rig.folder / "s")
        while not self._stop.wait(0.05):
            begun = time.monotonic()
            try:
                client.get_json("/v1/status")
            except Exception as error:
                self.faults.append(repr(error))
            self.took_s.append(time.monotonic() - begun)

    def __enter__(self) -> Newcomers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
