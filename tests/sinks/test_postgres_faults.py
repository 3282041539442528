"""The PostgreSQL sink against a server that fails: every row once, whatever happens to it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gateway.errors import Rejected, SinkUnavailable
from gateway.model import Column
from gateway.sinks.postgres import PostgresSink
from gateway.sinks.postgres.schema import REVISION
from tests.faults.disks import in_memory, remount
from tests.sims.postgres_server import PostgresServer, postgres_server
from tests.sinks.postgreskit import (
    DAY_NS,
    Gateway,
    Plant,
    gateway,
    plant,
    row,
    send,
    server,
    sink,
    table_of,
)
from tests.support import until

__all__ = ["gateway", "plant", "server", "sink"]

NOW = time.time_ns()
TABLE = table_of(*(Column(f"c{i}", "f8") for i in range(20)))
VALUES = [float(i) for i in range(20)]


def rows_of(count: int, first: int = 0) -> list[tuple[int, list[float]]]:
    return [(NOW + first + i, VALUES) for i in range(count)]


def stored(plant: Plant) -> int:
    return int(plant.one("SELECT count(*) FROM sample"))


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    with postgres_server() as made:
        yield made


def copying(plant: Plant) -> bool:
    found = plant.ask(
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'COPY %%' AND state = 'active'"
    )
    return bool(found)


def test_killed_in_the_middle_of_a_copy(own_server: PostgresServer, tmp_path: Path) -> None:
    plant = Plant(own_server, tmp_path)
    plant.upgrade()
    gateway = Gateway(plant, tmp_path)
    gateway.start()
    try:
        gateway.publish(TABLE, rows_of(100))
        gateway.settled(100)
        with own_server.connect(plant.database, autocommit=False) as holder:
            holder.execute("LOCK TABLE gateway.sample IN EXCLUSIVE MODE")  # the COPY waits for it
            gateway.publish(TABLE, rows_of(500, 100))
            until(lambda: copying(plant), what="a COPY")
            own_server.kill()
            holder.close()
        gateway.publish(TABLE, rows_of(400, 600))
        own_server.start()
        gateway.settled(1000)
    finally:
        gateway.stop()
    assert stored(plant) == 1000 * 20
    assert not gateway.losses


def test_a_server_that_stops_answering(own_server: PostgresServer, tmp_path: Path) -> None:
    plant = Plant(own_server, tmp_path)
    plant.upgrade()
    sink = PostgresSink("plant", plant.config(timeout_s=1.0), tmp_path)
    send(sink, row(TABLE, NOW, *VALUES))
    with own_server.stopped():
        for _ in range(2):  # within a batch, and for a new connection
            begun = time.monotonic()
            with pytest.raises(SinkUnavailable):
                send(sink, row(TABLE, NOW + 1, *VALUES))
            assert time.monotonic() - begun < 5.0
    send(sink, row(TABLE, NOW + 1, *VALUES))
    assert stored(plant) == 40
    sink.close()


def test_closing_ends_what_a_stopped_server_keeps_waiting(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    plant = Plant(own_server, tmp_path)
    plant.upgrade()
    sink = PostgresSink("plant", plant.config(timeout_s=60.0), tmp_path)
    send(sink, row(TABLE, NOW, *VALUES))
    ended: list[BaseException] = []

    def deliver() -> None:
        try:
            send(sink, row(TABLE, NOW + 1, *VALUES))
        except SinkUnavailable as error:
            ended.append(error)

    with own_server.stopped():
        thread = threading.Thread(target=deliver)
        thread.start()
        until(lambda: sink._watch.is_busy)
        sink.close()
        thread.join(5)
        assert not thread.is_alive()
    assert len(ended) == 1
    with pytest.raises(SinkUnavailable, match="closed"):
        send(sink, row(TABLE, NOW + 1, *VALUES))


@contextmanager
def answers_lost(port: int) -> Iterator[tuple[int, threading.Event]]:
    """A way to the server that breaks after the next COMMIT went through, once it is armed."""
    listener = socket.create_server(("127.0.0.1", 0))
    armed = threading.Event()
    threads: list[threading.Thread] = []

    def serve(client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", port)) as upstream:
            back = threading.Thread(target=pump, args=(upstream, client, False))
            back.start()
            pump(client, upstream, True)
            back.join()

    def pump(source: socket.socket, target: socket.socket, to_server: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if to_server and armed.is_set() and b"COMMIT" in data:
                    armed.clear()
                    source.shutdown(socket.SHUT_RDWR)  # the client hears nothing any more
                    target.sendall(data)
                    target.shutdown(socket.SHUT_WR)
                    break
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                thread = threading.Thread(target=serve, args=(client,))
                threads.append(thread)
                thread.start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield listener.getsockname()[1], armed
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for thread in threads:
            thread.join()


def test_a_commit_whose_answer_is_lost_counts_once(plant: Plant, tmp_path: Path) -> None:
    with answers_lost(plant.server.port) as (port, armed):
        sink = PostgresSink("plant", plant.config(port=port, tls="off"), tmp_path)
        send(sink, row(TABLE, NOW, *VALUES))
        armed.set()
        with pytest.raises(SinkUnavailable):
            send(sink, row(TABLE, NOW + 1, *VALUES))
        until(lambda: stored(plant) == 40, what="the batch of which nobody knows")
        send(sink, row(TABLE, NOW + 1, *VALUES))
        assert stored(plant) == 40
        assert sink.status()["values_known_already"] == 20
        sink.close()


def test_a_wrong_password_blocks_until_it_is_right(gateway: Gateway, plant: Plant) -> None:
    right = plant.password.read_text()
    plant.password.write_text("wrong\n")
    gateway.start()
    gateway.publish(TABLE, rows_of(10))
    status = until(lambda: (s := gateway.writer.status())["state"] == "blocked" and s)
    assert "password authentication failed" in status["error"]
    assert right.strip() not in str(status)
    plant.password.write_text(right)
    gateway.settled(10)
    assert stored(plant) == 200


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


def test_a_server_that_only_reads(gateway: Gateway, plant: Plant) -> None:
    plant.ask(f"ALTER DATABASE {plant.database} SET default_transaction_read_only TO on")
    gateway.start()
    gateway.publish(TABLE, rows_of(5))
    status = until(lambda: (s := gateway.writer.status())["error"] and s)
    assert "read-only" in status["error"]
    with plant.server.connect("postgres") as db:
        db.execute(f"ALTER DATABASE {plant.database} RESET default_transaction_read_only")
    gateway.settled(5)
    assert stored(plant) == 100
    assert not gateway.letters()


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


def test_a_full_disk(own_server: PostgresServer, tmp_path: Path) -> None:
    plant = Plant(own_server, tmp_path)
    plant.upgrade()
    with in_memory(own_server.folder / "small", "size=2M,uid=0,mode=0777") as small:
        inside = small / "space"
        inside.mkdir(mode=0o700)
        import shutil

        shutil.chown(inside, "postgres", "postgres")
        plant.ask(f"CREATE TABLESPACE small LOCATION '{inside}'")
        plant.ask(f"ALTER DATABASE {plant.database} SET default_tablespace TO small")
        gateway = Gateway(plant, tmp_path)
        gateway.start()
        try:
            gateway.publish(TABLE, rows_of(4000))
            until(lambda: "No space" in str(gateway.writer.status()["error"]), 30)
            remount(small, "size=200M")
            gateway.settled(4000)
        finally:
            gateway.stop()
        assert stored(plant) == 4000 * 20
        assert not gateway.letters()
        own_server.stop()


def test_a_role_that_may_not_write_here_is_told(plant: Plant, tmp_path: Path) -> None:
    plant.ask("CREATE ROLE stranger LOGIN PASSWORD 'x'")
    password = tmp_path / "x"
    password.write_text("x")
    password.chmod(0o600)
    config = plant.config(user="stranger", password_file=password)
    sink = PostgresSink("plant", config, tmp_path)
    with pytest.raises(SinkUnavailable) as caught:
        send(sink, row(TABLE, NOW, *VALUES))
    assert caught.value.operator
    sink.close()


def test_a_database_that_is_not_there_is_told(plant: Plant, tmp_path: Path) -> None:
    sink = PostgresSink("plant", plant.config(database="nowhere"), tmp_path)
    with pytest.raises(SinkUnavailable, match="nowhere") as caught:
        send(sink, row(TABLE, NOW, *VALUES))
    assert caught.value.operator
    sink.close()


def test_a_name_that_is_too_long_for_an_index_is_refused_in_words(sink: PostgresSink) -> None:
    import random

    name = "".join(random.Random(1).choices("abcdefghij0123456789", k=60_000))
    with pytest.raises(Rejected, match="index row"):
        send(sink, row(table_of(Column(name, "f8")), NOW, 1.0))
