"""The loss ledger: every discarded range of rows, with its cause, as a row of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

from gateway.model import Column, Row, Table, make_parts

log = logging.getLogger("gateway.losses")

SAY_EVERY_S = 60.0
"""At most one line in the log for each cause in so many seconds; the rows have it all."""

Cause: TypeAlias = Literal[
    "hub_overflow",
    "spool_bound",
    "spool_age",
    "rejected",
    "encode_fault",
    "corrupt_segment",
    "spool_unwritable",
    "unclean_stop",
]


class Loss(NamedTuple):
    """Rows of one table that will never reach one sink; times are of the first and last row, ns."""

    sink: str
    device: str
    table: str
    first_ns: int
    last_ns: int
    rows: int
    cause: Cause
    detail: str = ""


class LossLedger:
    """Counts losses by cause and publishes each as a row of table ``gateway_loss``."""

    def __init__(self, publish: Callable[[Row], None], gateway: str) -> None:
        self.rows_by_cause: Counter[str] = Counter()
        self.recent: deque[Loss] = deque(maxlen=200)
        self._publish = publish
        self._lock = threading.Lock()
        columns = [Column(name, "str") for name in ("sink", "device_lost", "table_lost")]
        columns += [Column(name, "i8") for name in ("first_ns", "last_ns", "rows")]
        columns += [Column("cause", "str"), Column("detail", "str")]
        stored_int = [c._replace(store_int=c.kind == "i8") for c in columns]
        labels = (("gateway", gateway), ("device", "gateway"))
        self.table = Table("gateway_loss", "gateway", stored_int, labels)
        self._last_ns = 0
        self._said_s: dict[str, float] = {}

    def record(self, loss: Loss) -> None:
        """Note a loss. From any thread; never raises."""
        with self._lock:
            self.rows_by_cause[loss.cause] += loss.rows
            self.recent.append(loss)
            said_s = self._said_s.get(loss.cause)
            say = said_s is None or time.monotonic() - said_s > SAY_EVERY_S
            if say:
                self._said_s[loss.cause] = time.monotonic()
            self._last_ns = max(self._last_ns + 1, time.time_ns())  # one series: strictly rising
            row = Row(self.table, self._last_ns, make_parts(self.table, loss))
        if say:
            log.error(
                "rows are lost",
                extra={
                    "cause": loss.cause,
                    "sink": loss.sink,
                    "device": loss.device,
                    "table": loss.table,
                    "rows": self.rows_by_cause[loss.cause],
                },
            )
        self._publish(row)

    def status(self) -> dict[str, Any]:
        """Rows lost by cause."""
        return dict(self.rows_by_cause)
