"""The Redis and MQTT sinks with all that stands before them, as tests start and stop them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.hub import Hub
from gateway.losses import Loss
from gateway.model import Column, Row, Selected, Table, make_parts
from gateway.sinks import RemoteSink, find_sink
from gateway.spool import Spool, SpoolConfig
from gateway.wire import decode_batch
from gateway.writer import Writer, WriterConfig
from gateway.writer.deliver import Backoff
from tests.support import until

QUICK = Backoff(first_s=0.05, max_s=0.2, operator_s=0.1)
T0 = 1_700_000_000_000_000_000


def table_of(device: str = "press_1", name: str = "press", interval_s: float = 1.0) -> Table:
    columns = [Column("force", "f4", "kN"), Column("count", "u8"), Column("mode", "str")]
    labels = (("gateway", "hall-3"), ("device", device))
    return Table(name, device, columns, labels, "fast", interval_s)


def rows_of(table: Table, count: int, first: int = 0) -> list[Row]:
    return [Row(table, T0 + i, make_parts(table, [i / 8, i, "auto"]))
            for i in range(first, first + count)]  # fmt: skip


def selected(*rows: Row) -> list[Selected]:
    return [Selected(row) for row in rows]


class Chain:
    """Hub, writer and sink on one state folder; may be started again."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self.losses: list[Loss] = []
        self._kind = find_sink(kind)
        self._writer: Writer | None = None

    def start(self, **settings: Any) -> Writer:
        self.hub = Hub()
        config = self._kind.config_class.model_validate(settings)
        sink = self._kind("fleet", config, self.folder)
        assert isinstance(sink, RemoteSink)
        self.sink = sink
        spool = Spool(self.folder / "spool", SpoolConfig(), "fleet", self.losses.append)
        self._writer = Writer(
            "fleet",
            sink,
            self.hub.subscribe("fleet"),
            WriterConfig(flush_interval_s=0.02),
            spool,
            on_loss=self.losses.append,
            backoff=QUICK,
        )
        self._writer.start()
        return self._writer

    @property
    def writer(self) -> Writer:
        assert self._writer is not None
        return self._writer

    def stop(self) -> None:
        if self._writer is not None:
            assert self._writer.stop(5.0)
            self.sink.close()
            self._writer = None

    def publish(self, *rows: Row) -> None:
        for row in rows:
            self.hub.publish(row)

    def settled(self, rows: int) -> dict[str, Any]:
        """The status when so many rows were stored or refused since the start."""

        def status() -> dict[str, Any] | None:
            found = self.writer.status()
            return found if found["rows_stored"] + found["rows_rejected"] >= rows else None

        return until(status, 30, f"{rows} rows to be delivered; {self.writer.status()}")

    def state(self, state: str, words: str = "") -> None:
        """Wait until the sink is in that state, with these words."""

        def is_so() -> bool:
            found = self.writer.status()
            return found["state"] == state and words in (found["error"] or "")

        until(is_so, 20, f"state {state} with '{words}'")


def in_stream(client: Any, stream: str = "readings:hall-3") -> list[Row]:
    """All rows of a stream, in the order of its entries."""
    out = []
    for _, fields in client.xrange(stream):
        rows = decode_batch(fields[b"b"])
        assert len(rows) == int(fields[b"n"])
        out += [s.row for s in rows]
    return out
