"""A session that stands still with locks: others get past it, whatever it was doing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from gateway.errors import SinkUnavailable
from gateway.model import Column
from gateway.sinks.payload import TooSlow
from gateway.sinks.postgres import PostgresSink
from gateway.sinks.postgres.client import Connection, connect
from tests.sinks.postgreskit import Plant, plant, row, send, server, table_of
from tests.support import until

__all__ = ["plant", "server"]
T0 = 1_795_000_000_000_000_000


@pytest.fixture
def sink(plant: Plant, tmp_path: Path) -> Iterator[PostgresSink]:
    made = PostgresSink("quick", plant.config(timeout_s=2.0), tmp_path)
    yield made
    made.close()


@pytest.fixture
def other(plant: Plant) -> Iterator[Connection]:
    """Another gateway's session."""
    made = connect(plant.config(timeout_s=2.0), "edge-gateway other")
    yield made
    made.close()


def stored(sink: PostgresSink, plant: Plant, count: int, first: int = 0) -> None:
    """It stores in the end, however often it must try."""
    table = table_of(Column("force", "f8"))
    rows = [row(table, T0 + n, float(n)) for n in range(first, first + count)]

    def through() -> bool:
        try:
            send(sink, *rows)
        except SinkUnavailable:
            return False
        return True

    until(through, 30, "the rows to be stored")
    assert plant.one("SELECT count(*) FROM sample") == first + count


def test_one_that_stands_still_in_the_middle_of_a_copy(
    sink: PostgresSink, plant: Plant, other: Connection
) -> None:
    stored(sink, plant, 1)
    series = plant.one("SELECT id FROM series")
    # a plain generator of a COPY that is left open, as by a process that is stopped in it
    with pytest.raises(psycopg.Error), other.cursor().copy(
        "COPY sample (time_ns, series_id, f8) FROM STDIN"
    ) as copy:  # fmt: skip
        copy.write("".join(f"{T0 + n}\t{series}\t1\n" for n in range(1, 3000)))
        copy.write("".join(f"{T0 + n}\t{series}\t1\n" for n in range(3000, 60000)))
        until(_reads(plant), 10, "the server to wait for more")
        with pytest.raises(TooSlow):
            send(sink, row(table_of(Column("force", "f8")), T0 + 1, 1.0))
        stored(sink, plant, 5, first=1)
        copy.write("".join(f"{T0 + n}\t{series}\t1\n" for n in range(3000)))


def test_one_that_stands_still_between_two_statements(
    sink: PostgresSink, plant: Plant, other: Connection
) -> None:
    stored(sink, plant, 1)
    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout), other.transaction():
        other.execute(
            "INSERT INTO sample (time_ns, series_id, f8) SELECT %s, id, 1 FROM series", (T0 + 1,)
        )
        stored(sink, plant, 5, first=1)
        other.execute("SELECT 1")


def test_sessions_of_others_are_left_alone(sink: PostgresSink, plant: Plant) -> None:
    stored(sink, plant, 1)
    series = plant.one("SELECT id FROM series")
    text = "COPY gateway.sample (time_ns, series_id, f8) FROM STDIN"
    with (
        plant.server.connect(plant.database, application_name="report") as report,
        report.cursor().copy(text) as copy,
    ):
        copy.write("".join(f"{T0 + n}\t{series}\t1\n" for n in range(1, 60000)))
        until(_reads(plant), 10, "the server to wait for more")
        for _ in range(3):
            with pytest.raises(TooSlow):
                send(sink, row(table_of(Column("force", "f8")), T0 + 1, 1.0))
    assert plant.one("SELECT count(*) FROM sample") == 60_000


def test_a_lock_on_the_table_of_values_costs_one_wait_for_a_partition_and_not_one_each(
    sink: PostgresSink, plant: Plant
) -> None:
    """Else a batch's time goes for waits, and it is never stored."""
    week = 7 * 86_400 * 10**9
    table = table_of(Column("force", "f8"))
    # enough for one wait of 2 s and a slow machine, and not for the wait of each of five
    quick = PostgresSink("q", plant.config(timeout_s=7.0), sink.state_dir)
    with plant.server.connect(plant.database, autocommit=False) as db:
        for name in ("sample", "sample_other"):
            db.execute(f"LOCK TABLE gateway.{name} IN ROW EXCLUSIVE MODE")
        try:
            send(quick, *(row(table, T0 - n * week, 1.0) for n in range(5)))
        finally:
            quick.close()
        assert plant.one("SELECT count(*) FROM sample_other") == 5


def _reads(plant: Plant) -> Callable[[], bool]:
    text = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = %s"
    return lambda: bool(plant.one(text, "ClientRead"))
