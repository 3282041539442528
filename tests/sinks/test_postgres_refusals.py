"""Tables, columns, values and times that PostgreSQL or its schema does not take."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from gateway.errors import Rejected, SinkUnavailable
from gateway.model import Column
from gateway.sinks.postgres import PostgresSink
from gateway.sinks.postgres.schema import REVISION
from tests.sims.postgres_server import PostgresServer
from tests.sinks.postgreskit import (
    DAY_NS,
    NOW,
    TABLE,
    VALUES,
    Gateway,
    Plant,
    gateway,
    plant,
    row,
    rows_of,
    send,
    server,
    sink,
    stored,
    table_of,
)
from tests.support import until

__all__ = ["gateway", "plant", "server", "sink"]


def test_a_schema_that_is_not_there_or_another_one(server: PostgresServer, tmp_path: Path) -> None:
    plant = Plant(server, tmp_path)
    gateway = Gateway(plant, tmp_path)
    gateway.start()
    try:
        gateway.publish(TABLE, rows_of(10))
        status = until(lambda: (s := gateway.writer.status())["state"] == "blocked" and s)
        assert "run `gateway db upgrade`" in status["error"]
        plant.upgrade()
        gateway.settled(10)
    finally:
        gateway.stop()
    for version, hint in (("0000", "run `gateway db upgrade`"), ("9999", "update it")):
        plant.ask("UPDATE schema_version SET version_num = %s", version)
        sink = PostgresSink("plant", plant.config(), tmp_path)
        with pytest.raises(SinkUnavailable, match=hint) as caught:
            send(sink, row(TABLE, NOW, *VALUES))
        assert caught.value.operator
        assert version in str(caught.value)
        assert REVISION in str(caught.value)
        sink.close()


def test_a_dropped_table_and_a_restored_one(gateway: Gateway, plant: Plant) -> None:
    gateway.start()
    gateway.publish(TABLE, rows_of(5))
    gateway.settled(5)
    plant.ask("ALTER TABLE sample RENAME TO elsewhere")
    gateway.publish(TABLE, rows_of(5, 5))
    status = until(lambda: (s := gateway.writer.status())["state"] == "blocked" and s)
    assert "gateway db check" in status["error"]
    plant.ask("ALTER TABLE elsewhere RENAME TO sample")
    gateway.settled(10)
    assert stored(plant) == 200


def test_tables_that_are_made_anew_under_a_running_sink(sink: PostgresSink, plant: Plant) -> None:
    from gateway.sinks.postgres import migrate

    other = table_of(Column("x", "f8"), device="press_2")
    send(sink, row(other, NOW, 1.0), row(TABLE, NOW, *VALUES))
    migrate.downgrade(plant.config(), "base")
    plant.upgrade()
    send_patiently(sink, TABLE, NOW + 1)
    found = plant.ask("SELECT DISTINCT device FROM history")
    assert found == [("press_1",)]
    assert stored(plant) == 20


def send_patiently(sink: PostgresSink, table: object, time_ns: int) -> None:
    with suppress(SinkUnavailable):
        send(sink, row(TABLE, time_ns, *VALUES))
        return
    send(sink, row(TABLE, time_ns, *VALUES))


def test_a_column_that_changes_its_type(gateway: Gateway, plant: Plant) -> None:
    gateway.start()
    gateway.publish(table_of(Column("a", "f8"), Column("b", "i8")), [(NOW, (1.5, 2))])
    gateway.settled(1)
    changed = table_of(Column("a", "f8"), Column("b", "str"))
    gateway.publish(changed, [(NOW + i, (1.5, "two")) for i in range(1, 4)])
    status = gateway.settled(4)
    assert status["rows_rejected"] == 3
    assert gateway.sink.status()["columns_refused"] == [
        "press_1/press.b is a series of integer, not of text"
    ]
    assert plant.ask("SELECT tag, count(*) FROM history GROUP BY tag ORDER BY tag") == [
        ("a", 4),
        ("b", 1),
    ]
    letters = gateway.letters()
    assert len(letters) == 3
    assert all("series of integer, not of text" in words for _, words in letters)
    until(lambda: gateway.losses, what="the loss to be told")
    assert {(loss.table, loss.cause) for loss in gateway.losses} == {("press", "rejected")}
    assert "column b:" in gateway.losses[0].detail
    # the operator agrees with the new type, and sends the letters once more
    plant.ask("UPDATE series SET kind = 'text' WHERE tag = 'b'")
    box = gateway.writer.letters
    assert box is not None
    assert box.replay().spooled == 3
    until(lambda: box.count == 0, 20, "the letters to be stored")
    assert plant.ask("SELECT text FROM history WHERE tag = 'b' ORDER BY time_ns") == [
        ("2",),
        ("two",),
        ("two",),
        ("two",),
    ]


def test_a_value_that_the_server_refuses_takes_no_other_with_it(
    gateway: Gateway, plant: Plant
) -> None:
    plant.ask("ALTER TABLE sample ADD CONSTRAINT hot CHECK (f8 < 90)")
    gateway.start()
    values = [(NOW + i, [91.0 if (i, c) == (7, 3) else 1.0 for c in range(20)]) for i in range(20)]
    gateway.publish(TABLE, values)
    status = gateway.settled(20)
    assert (status["rows_rejected"], status["values_rejected"]) == (1, 1)
    assert stored(plant) == 20 * 20 - 1
    ((_, words),) = gateway.letters()
    assert "hot" in words


def test_rows_older_than_the_retention(gateway: Gateway, plant: Plant) -> None:
    old = NOW - 40 * DAY_NS
    send_all = PostgresSink("first", plant.config(), gateway.folder)
    send(send_all, row(TABLE, old, *VALUES), row(TABLE, NOW - 20 * DAY_NS, *VALUES))
    send(send_all, row(TABLE, NOW, *VALUES))
    send_all.close()
    gateway.start(retention_days=30)
    gateway.publish(TABLE, [(old + 1, VALUES), (NOW + 1, VALUES)])
    status = gateway.settled(2)
    assert status["rows_rejected"] == 1
    assert "retention_days: 30" in gateway.letters()[0][1]
    times = {t for (t,) in plant.ask("SELECT DISTINCT time_ns FROM sample")}
    assert times == {NOW - 20 * DAY_NS, NOW, NOW + 1}
    assert len(gateway.sink.status()["partitions_dropped"]) == 1


def test_a_clock_that_is_far_ahead_deletes_nothing(plant: Plant, tmp_path: Path) -> None:
    sink = PostgresSink("plant", plant.config(), tmp_path)
    send(sink, row(TABLE, NOW - 5 * DAY_NS, *VALUES))
    far = table_of(Column("v", "f8"), device="without_a_battery")
    send(sink, row(far, NOW + 9000 * DAY_NS, 1.0))
    sink.close()
    again = PostgresSink("plant", plant.config(retention_days=30), tmp_path)
    send(again, row(TABLE, NOW, *VALUES))
    again.close()
    assert stored(plant) == 41


def test_a_partition_that_cannot_be_made_now_is_made_later(plant: Plant, tmp_path: Path) -> None:
    old = NOW - 100 * DAY_NS
    sink = PostgresSink("plant", plant.config(), tmp_path)
    send(sink, row(TABLE, NOW, *VALUES))
    with plant.server.connect(plant.database, autocommit=False) as reader:
        reader.execute("SELECT count(*) FROM gateway.sample")  # a long query holds its locks
        send(sink, row(TABLE, old, *VALUES))
    assert plant.one("SELECT count(*) FROM sample_other") == 20
    sink.close()
    again = PostgresSink("plant", plant.config(), tmp_path)  # or an hour later
    send(again, row(TABLE, NOW + 1, *VALUES))
    again.close()
    assert plant.one("SELECT count(*) FROM sample_other") == 0
    assert stored(plant) == 60


def test_a_name_that_is_too_long_for_an_index_is_refused_in_words(sink: PostgresSink) -> None:
    import random

    name = "".join(random.Random(1).choices("abcdefghij0123456789", k=60_000))
    with pytest.raises(Rejected, match="index row"):
        send(sink, row(table_of(Column(name, "f8")), NOW, 1.0))
