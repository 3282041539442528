"""Rows of others into a hub whose queue the test itself empties, or a real writer does."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.hub import Hub, Subscription
from gateway.ingest.bodies import Form, Taken, take_body
from gateway.ingest.intake import Intake
from gateway.ingest.settings import IngestConfig
from gateway.model import Row

NOW_NS = 1_772_000_000_123_456_789


class Line:
    """An intake before a hub with one queue."""

    def __init__(self, *, max_tables: int = 100, max_columns: int = 50) -> None:
        self.hub = Hub()
        self.queue: Subscription = self.hub.subscribe("sink")
        self.configured = {"press_1"}
        config = IngestConfig(http=True, max_tables=max_tables, max_columns=max_columns)
        self.intake = Intake(self.hub, "hall-3", config, lambda name: name in self.configured)

    def take(
        self, text: str | bytes, form: Form = "lines", *, is_gzip: bool = False,
        precision: str = "ns", timeout_s: float = 5.0,
    ) -> Taken:  # fmt: skip
        body = text if isinstance(text, bytes) else text.encode()
        return take_body(
            self.intake, "me", body, form=form, is_gzip=is_gzip, precision=precision,
            timeout_s=timeout_s,
        )  # fmt: skip

    def rows(self) -> list[Row]:
        """What was published since the last call; it counts as stored."""
        rows = self.queue.drain()
        self.queue.settle(self.queue.drained, lost=False)
        return rows

    def one(self, text: str | bytes, form: Form = "lines") -> Row:
        """The row that this makes."""
        assert self.take(text, form).faults.told == []
        (row,) = self.rows()
        return row

    def faults(self, text: str | bytes, form: Form = "lines") -> list[tuple[int, int, str]]:
        """What is refused of it."""
        found = self.take(text, form).faults
        assert found.count >= len(found.told)
        return [tuple(fault) for fault in found.told]


def values(row: Row) -> dict[str, object]:
    return dict(zip(row.table.columns, row.values(), strict=True))


def labels(row: Row) -> dict[str, str]:
    return dict(row.table.labels)


def times(rows: Sequence[Row]) -> list[int]:
    return [row.time_ns for row in rows]
