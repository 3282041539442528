"""The PostgreSQL sink against a server that fails: every row once, whatever happens to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import SinkUnavailable
from gateway.sinks.postgres import PostgresSink
from tests.faults.disks import in_memory, remount
from tests.sims.commit_door import commit_door
from tests.sims.postgres_server import PostgresServer, postgres_server
from tests.sinks.postgreskit import (
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
)
from tests.support import until

__all__ = ["gateway", "plant", "server", "sink"]


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
    sink = PostgresSink("plant", plant.config(timeout_s=3.0), tmp_path)
    send(sink, row(TABLE, NOW, *VALUES))
    with own_server.stopped():
        for _ in range(2):  # within a batch, and for a new connection
            begun = time.monotonic()
            with pytest.raises(SinkUnavailable):
                send(sink, row(TABLE, NOW + 1, *VALUES))
            assert time.monotonic() - begun < 10.0
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


def test_a_commit_whose_answer_is_lost_counts_once(plant: Plant, tmp_path: Path) -> None:
    with commit_door(plant.server.port) as door:
        sink = PostgresSink("plant", plant.config(port=door.port, tls="off"), tmp_path)
        send(sink, row(TABLE, NOW, *VALUES))
        door.lose.set()
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
