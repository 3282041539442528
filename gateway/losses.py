"""The loss ledger: every discarded range of rows, with its cause, as a row of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

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
    "stream_gap",
    "dead_letter_bound",
    "dead_letter_age",
    "dead_letter_lost",
]
CAUSES: tuple[Cause, ...] = get_args(Cause)

COUNTED_APART: frozenset[Cause] = frozenset(
    {"rejected", "dead_letter_bound", "dead_letter_age", "dead_letter_lost"}
)
"""Rows that count as refused, not as lost on the way. Those of a dead letter that is given up were
told as ``rejected`` before: now the line is gone, too."""

KEPT = 1000
"""Losses that are listed without a historian: the last ones."""


class Loss(NamedTuple):
    """Rows of one table that will never reach one sink; times are of the first and last row, ns.

    ``sink`` is empty where no sink gets them: their samples were never read (``stream_gap``).
    """

    sink: str
    device: str
    table: str
    first_ns: int
    last_ns: int
    rows: int
    cause: Cause
    detail: str = ""


_NUMBERS = ("first_ns", "last_ns", "rows")
_COLUMNS = ("sink", "device_lost", "table_lost", *_NUMBERS, "cause", "detail")
"""As the fields of `Loss`, in their order."""


class Told(NamedTuple):
    """A loss, and when it was told: the time of its row, ns, of which no two are equal."""

    time_ns: int
    loss: Loss


def loss_of(stored: Mapping[str, Any]) -> Loss:
    """A loss from the columns of its row; what a damaged row lacks is empty or 0."""
    fields: list[Any] = [stored.get(name) or (0 if name in _NUMBERS else "") for name in _COLUMNS]
    return Loss._make(fields)


class LossLedger:
    """Counts losses by cause and publishes each as a row of table ``gateway_loss``."""

    def __init__(self, publish: Callable[[Row], None], gateway: str) -> None:
        self.rows_by_cause: Counter[str] = Counter()
        self._told: deque[Told] = deque(maxlen=KEPT)
        self._publish = publish
        self._lock = threading.Lock()
        columns = [Column(name, "i8" if name in _NUMBERS else "str") for name in _COLUMNS]
        stored_int = [c._replace(store_int=c.kind == "i8") for c in columns]
        labels = (("gateway", gateway), ("device", "gateway"))
        self.table = Table("gateway_loss", "gateway", stored_int, labels)
        self._last_ns = 0
        self._said_s: dict[str, float] = {}

    def record(self, loss: Loss) -> None:
        """Note a loss. From any thread; never raises."""
        with self._lock:
            self.rows_by_cause[loss.cause] += loss.rows
            said_s = self._said_s.get(loss.cause)
            say = said_s is None or time.monotonic() - said_s > SAY_EVERY_S
            if say:
                self._said_s[loss.cause] = time.monotonic()
            row = self._row(loss)
            self._told.append(Told(row.time_ns, loss))
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

    def row_again(self, loss: Loss) -> Row:
        """A row for a sink that has lost the first one, of a loss that was counted before."""
        with self._lock:
            return self._row(loss)

    def _row(self, loss: Loss) -> Row:
        self._last_ns = max(self._last_ns + 1, time.time_ns())  # one series: strictly rising
        return Row(self.table, self._last_ns, make_parts(self.table, loss))

    def told(self) -> list[Told]:
        """The last losses since the start, oldest first."""
        with self._lock:
            return list(self._told)

    def status(self) -> dict[str, Any]:
        """Rows lost by cause."""
        return dict(self.rows_by_cause)
