"""What happens to the gateway itself, as rows: steps of the clock, gaps in a stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from gateway.model import Column, Row, Table, make_parts


class EventLog:
    """Publishes each event as a row of table ``gateway_event``. From any thread."""

    def __init__(self, publish: Callable[[Row], None], gateway: str) -> None:
        self._publish = publish
        self._lock = threading.Lock()
        self._last_ns = 0
        columns = [Column(name, "str") for name in ("event", "about", "detail")]
        labels = (("gateway", gateway), ("device", "gateway"))
        self.table = Table("gateway_event", "gateway", columns, labels)

    def record(self, event: str, about: str, detail: str) -> None:
        """Note an event: a short word, the device or part it is about, and words for people."""
        with self._lock:
            self._last_ns = max(self._last_ns + 1, time.time_ns())  # one series: strictly rising
            row = Row(self.table, self._last_ns, make_parts(self.table, (event, about, detail)))
        self._publish(row)
