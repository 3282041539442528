"""Dead letters of a consumer group: listed, exported, and tried once more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis

from gateway.sinks.packing import compress
from gateway.wire import encode_batch
from tests.fleet import kit
from tests.sims.influx_peer import BUCKET, TOKEN, InfluxPeer
from tests.sims.redis_server import RedisPeer
from tests.sinks.postgreskit import Plant
from tests.support import until
from tests.system.cli_kit import called, objects


def _conflicting(client: redis.Redis, plant: Plant, file: Path) -> None:
    """Five rows of integers where the series has floats."""
    kit.add(client, kit.rows(kit.table(), 0, 10))
    kit.add(client, kit.rows(kit.table("hall-2"), 0, 5))
    with kit.running(file) as worker:
        kit.settled(worker, 15)
        kit.add(client, kit.rows(kit.table(kind="i8"), 10, 5))
        until(lambda: client.xlen("dead:store") == 5, what="five dead letters")


def test_listed_newest_first_and_exported(
    client: redis.Redis, plant: Plant, file: Path, tmp_path: Path
) -> None:
    _conflicting(client, plant, file)
    client.xadd(
        "dead:store", {"b": b"\xff\x00", "f": "entry", "e": "no rows", "s": "x", "i": "1-1"}
    )
    shown = called("dead-letters", "list", "--writer", file).stdout
    assert "no rows" in shown.splitlines()[1]
    assert "is a series of float, not of integer" in shown.splitlines()[2]
    letters = objects(called("dead-letters", "list", "--writer", file, "--json", "-n", 2).stdout)
    assert [letter["format"] for letter in letters] == ["entry", "rows+json1"]
    assert letters[0]["base64"] == "/wA="
    assert '"values":{"i8":[[14]]}' in letters[1]["line"]
    target = tmp_path / "letters.ndjson"
    called("dead-letters", "export", target, "--writer", file)
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert len(lines) == 6
    assert lines[0]["stream"] == "readings:hall-1"
    assert called("dead-letters", "export", target, "--writer", file, expect=2).stderr


def test_replayed_rows_are_stored_once_the_cause_is_mended(
    client: redis.Redis, plant: Plant, file: Path
) -> None:
    _conflicting(client, plant, file)
    first, *_ = client.xrange("dead:store")
    done = called("dead-letters", "replay", "--writer", file, "--id", first[0].decode())
    assert "1 letter on the way" in done.stderr
    with kit.running(file) as worker:
        # refused again: a dead letter once more, and not twice
        until(lambda: client.xlen("replay:store") == 0 and client.xlen("dead:store") == 5)
        assert worker.status()["sink"]["rows_rejected"] == 0  # it was counted before
        plant.ask("UPDATE series SET kind = 'integer' WHERE id IN (SELECT series.id FROM series"
                  " JOIN source ON source.id = source_id WHERE gateway = 'hall-1')")  # fmt: skip
        called("dead-letters", "replay", "--writer", file)
        until(lambda: plant.one("SELECT count(i8) FROM sample") == 5, what="five integers")
        until(lambda: client.xlen("replay:store") == 0)
    assert client.xlen("dead:store") == 0
    assert kit.pending(client, "replay:store") == 0
    assert "no dead letters" in called("dead-letters", "replay", "--writer", file).stderr


def test_a_whole_entry_that_was_buried_is_tried_as_it_came(
    client: redis.Redis, plant: Plant, file: Path
) -> None:
    body = compress(encode_batch(kit.rows(kit.table(), 0, 10)))
    client.xadd("dead:store", {"b": body, "f": "entry", "e": "5 workers", "n": 10})
    called("dead-letters", "replay", "--writer", file)
    with kit.running(file):
        until(lambda: client.xlen("replay:store") == 0)
    assert plant.one("SELECT count(*) FROM sample") == 10
    assert client.xlen("dead:store") == 0


def test_lines_of_another_sinks_format_go_to_that_sink(
    client: redis.Redis, peer: RedisPeer, tmp_path: Path
) -> None:
    """InfluxDB's dead letters are its own lines."""
    (tmp_path / "influxd").mkdir()
    influx = InfluxPeer(tmp_path / "influxd")
    influx.start()
    try:
        (tmp_path / "token").write_text(TOKEN)
        (tmp_path / "token").chmod(0o600)
        sink = (
            f"{{type: influxdb, url: '{influx.url}', org: o, bucket: {BUCKET}, token_file: token}}"
        )
        file = kit.write_file(tmp_path, peer.port, sink)
        kit.add(client, kit.rows(kit.table(), 0, 10))
        with kit.running(file) as worker:
            kit.settled(worker, 10)
            line = b"load,device=plc,gateway=hall-1 n0=7 1700000000000000000"
            client.xadd("dead:store", {"b": line, "f": "lp", "e": "was too old", "n": 1})
            client.xadd("dead:store", {"b": b"x", "f": "strange", "e": "?", "n": 1})
            called("dead-letters", "replay", "--writer", file)
            until(lambda: len(influx.rows("load")) == 11, what="eleven rows")
            until(lambda: client.xlen("dead:store") == 1)
        assert b"expected rows+json1 or lp" in client.xrange("dead:store")[0][1][b"e"]
    finally:
        influx.kill()


@pytest.mark.parametrize("given", ["0", "12", "1-x"])
def test_an_id_that_is_none_is_wrong_usage(file: Path, given: str) -> None:
    done = called("dead-letters", "replay", "--writer", file, "--id", given, expect=2)
    assert "expected one of Redis" in done.stderr
