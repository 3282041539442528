"""A server refuses a column: the rest of its row is stored, the column kept and named."""

from __future__ import annotations

import random
import re
import time
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from gateway.losses import Loss
from gateway.model import Column, Row, Table, bad, make_parts
from gateway.sinks import Selected
from gateway.sinks.influxdb import lineprotocol as lp
from gateway.sinks.payload import plain_body
from tests.sims import http_faults as hf
from tests.sims.influx_peer import BUCKET, InfluxPeer, influx
from tests.sims.row_pump import START_NS
from tests.sinks.influxkit import Gateway, gateway
from tests.support import until

__all__ = ["gateway", "influx"]

OLD_NS = START_NS - 1_000_000


def table(name: str, columns: int, device: str = "d", **more: Any) -> Table:
    made = [Column(f"c{i}", "f8", **more) for i in range(columns)]
    return Table(name, device, made, [("device", device)])


def numbers(rows: int, columns: int) -> list[list[float]]:
    values: list[list[float]] = np.random.default_rng(3).uniform(1, 99, (rows, columns)).tolist()
    return values


def exists(peer: InfluxPeer, measurement: str, *fields: str) -> None:
    """Let the engine know fields, by a point of long ago."""
    line = f"{measurement},device=before {','.join(fields)} {OLD_NS}\n"
    status, answer = peer.write(BUCKET, "ns", None, line.encode())
    assert status == 204, answer


def stored(peer: InfluxPeer, measurement: str, device: str = "d") -> dict[int, dict[str, Any]]:
    """Fields by time."""
    return {
        row.pop("time"): {k: v for k, v in row.items() if v is not None and k[0] == "c"}
        for row in peer.rows(measurement)
        if row.pop("device") == device
    }


def ledger(losses: list[Loss]) -> dict[tuple[str, str], int]:
    """(table, words before the server's) -> rows."""
    found: dict[tuple[str, str], int] = {}
    for loss in losses:
        assert loss.cause == "rejected"
        key = (loss.table, re.split(r": 4\d\d |4\d\d ", loss.detail)[0])
        found[key] = found.get(key, 0) + loss.rows
    return found


@pytest.mark.servers
@pytest.mark.parametrize("bad_columns", [[3], [0, 7, 8, 9, 199]])
def test_a_type_conflict_costs_only_its_column(
    gateway: Gateway,
    influx: InfluxPeer,
    bad_columns: list[int],
) -> None:
    exists(influx, "clash", *(f"c{i}=1i" for i in bad_columns))
    clash, good = table("clash", 200), table("good", 200)
    values = numbers(400, 200)
    gateway.start(influx.url)
    for n, row in enumerate(values):
        gateway.hub.publish(Row(clash, START_NS + n, make_parts(clash, row)))
        gateway.hub.publish(Row(good, START_NS + n, make_parts(good, row)))
    status = gateway.settled(800)
    refused = len(bad_columns) * 400
    assert (status["rows_stored"], status["rows_rejected"]) == (400, 400)
    assert status["values_stored"] == 2 * 400 * 200 - refused
    assert stored(influx, "good") == {
        START_NS + n: {f"c{i}": v for i, v in enumerate(row)} for n, row in enumerate(values)
    }
    assert stored(influx, "clash") == {
        START_NS + n: {f"c{i}": v for i, v in enumerate(row) if i not in bad_columns}
        for n, row in enumerate(values)
    }
    named = "column c3" if len(bad_columns) == 1 else "columns c0, c199, c7, c8, c9"
    gateway.stop()
    assert ledger(gateway.losses) == {("clash", named): 400}
    ranges = sorted((loss.first_ns, loss.last_ns) for loss in gateway.losses)
    assert (ranges[0][0], ranges[-1][1]) == (START_NS, START_NS + 399)
    assert all(a[1] < b[0] for a, b in pairwise(ranges))
    letters = gateway.letters()
    assert sorted(line for line, _ in letters) == sorted(
        f"clash,device=d c{i}={row[i]} {START_NS + n}\n"
        for n, row in enumerate(values)
        for i in bad_columns
    )
    assert all("field type conflict" in words for _, words in letters)
    assert len(influx.bodies) < 60, "every line was asked for on its own"


@pytest.mark.servers
def test_a_refused_column_goes_apart_until_it_is_taken(
    gateway: Gateway,
    influx: InfluxPeer,
) -> None:
    exists(influx, "clash", "c1=1i")
    clash = table("clash", 3)
    gateway.start(influx.url)
    gateway.publish(clash, START_NS, *numbers(5, 3))
    gateway.settled(5)
    assert gateway.sink.status()["columns_refused"] == ["clash.c1 as float"]
    gateway.publish(clash, START_NS + 50, [1.0, 2.0, 3.0])  # with an empty _quality, for the loss
    gateway.settled(6)
    asked = len(influx.bodies)
    gateway.publish(clash, START_NS + 100, [1.0, 2.0, 3.0])
    gateway.settled(7)
    bodies = [zlib.decompress(body, wbits=47) for body in influx.bodies[asked:]]
    at = START_NS + 100
    assert bodies == [
        b"clash,device=d c0=1.0,c2=3.0 %d\n" % at,
        b"clash,device=d c1=2.0 %d\n" % at,
    ]
    row = Selected(Row(clash, 7, make_parts(clash, [1.0, 2.0, 3.0])))

    def encoded() -> bytes:
        return b"".join(plain_body(p.body, p.format) for p in gateway.sink.encode([row]))

    assert encoded().splitlines() == [
        b"clash,device=d c0=1.0,c2=3.0 7",
        b"clash,device=d c1=2.0 7",
    ]
    influx.query("DROP MEASUREMENT clash")
    gateway.publish(clash, START_NS + 200, [4.0, 5.0, 6.0])
    until(lambda: gateway.writer.status()["rows_stored"] == 1)
    assert gateway.sink.status()["columns_refused"] == []
    assert encoded().splitlines() == [b"clash,device=d c0=1.0,c1=2.0,c2=3.0 7"]
    assert stored(influx, "clash") == {START_NS + 200: {"c0": 4.0, "c1": 5.0, "c2": 6.0}}
    assert gateway.writer.status()["rows_rejected"] == 7


@pytest.mark.servers
def test_a_device_whose_type_is_right_is_not_refused_with_another(
    gateway: Gateway,
    influx: InfluxPeer,
) -> None:
    exists(influx, "shared", "c0=1i")
    right = Table("shared", "a", [Column("c0", "i8", store_int=True)], [("device", "a")])
    wrong = table("shared", 2, "b")
    gateway.start(influx.url)
    for n in range(200):
        gateway.hub.publish(Row(right, START_NS + n, make_parts(right, [n])))
        gateway.hub.publish(Row(wrong, START_NS + n, make_parts(wrong, [0.5, n / 4])))
    status = gateway.settled(400)
    assert (status["rows_stored"], status["rows_rejected"]) == (200, 200)
    assert stored(influx, "shared", "a") == {START_NS + n: {"c0": n} for n in range(200)}
    assert stored(influx, "shared", "b") == {START_NS + n: {"c1": n / 4} for n in range(200)}
    gateway.stop()
    assert {loss.device for loss in gateway.losses} == {"b"}
    assert len(influx.bodies) < 30


@pytest.mark.servers
def test_rows_beyond_the_retention_are_refused_whole(
    gateway: Gateway,
    influx: InfluxPeer,
) -> None:
    policy = "CREATE RETENTION POLICY short ON sensors DURATION 1h REPLICATION 1 DEFAULT"
    influx.query(policy)
    wide = table("m", 50)
    now = time.time_ns()
    values = numbers(12, 50)
    gateway.start(influx.url)
    for n, row in enumerate(values):
        gateway.hub.publish(Row(wide, now - 86_400 * 10**9 + n, make_parts(wide, row)))
        gateway.hub.publish(Row(wide, now + n, make_parts(wide, row)))
    status = gateway.settled(24)
    assert (status["rows_stored"], status["rows_rejected"]) == (12, 12)
    assert status["values_stored"] == 12 * 50
    assert list(stored(influx, "m")) == [now + n for n in range(12)]
    gateway.stop()
    assert ledger(gateway.losses) == {("m", ""): 12}
    assert [line.count("c") for line, _ in gateway.letters()] == [51] * 12
    assert gateway.sink.status()["columns_refused"] == []
    assert len(influx.bodies) < 60


@pytest.mark.servers
def test_a_refused_quality_takes_no_value_with_it(
    gateway: Gateway,
    influx: InfluxPeer,
) -> None:
    exists(influx, "m", "_quality=1i")
    small = table("m", 2)
    gateway.start(influx.url)
    for n in range(2):
        row = Row(small, START_NS + n, make_parts(small, [n, 2.0]), {1: bad("timeout")})
        gateway.hub.publish(row)
        status = gateway.settled(n + 1)
    assert status["values_stored"] == 2
    assert stored(influx, "m") == {START_NS + n: {"c0": n} for n in range(2)}
    gateway.stop()
    assert ledger(gateway.losses) == {("m", "column _quality"): 2}
    assert gateway.letters()[-1][0] == f'm,device=d _quality="c1=BAD:timeout" {START_NS + 1}\n'


@pytest.mark.servers
def test_a_row_of_several_lines_is_refused_once(
    gateway: Gateway,
    influx: InfluxPeer,
) -> None:
    exists(influx, "m_2", "c2=1i")
    exists(influx, "m_3", "c4=1i")
    gateway.start(influx.url, max_columns=2)
    gateway.publish(table("m", 6), START_NS, *numbers(10, 6))
    status = gateway.settled(10)
    assert (status["rows_stored"], status["rows_rejected"]) == (0, 10)
    assert status["values_stored"] == 40
    gateway.stop()
    assert ledger(gateway.losses) == {("m", "columns c2, c4"): 10}


@pytest.mark.servers
def test_narrow_a_refused_field_leaves_the_others(
    gateway: Gateway,
    influx: InfluxPeer,
) -> None:
    exists(influx, "m", "value=1i")
    columns = [Column("a", "f4"), Column("b", "f4"), Column("on", "b1")]
    mixed = Table("m", "d", columns, [("device", "d")])
    gateway.start(influx.url, layout="narrow")
    for n in range(3):
        gateway.publish(mixed, START_NS + n, [1.5, 2.5, True])
        status = gateway.settled(n + 1)
    assert (status["rows_stored"], status["rows_rejected"]) == (0, 3)
    assert status["values_stored"] == 3
    assert influx.count("m", "state") == 3
    gateway.stop()
    assert ledger(gateway.losses) == {("m", "columns a, b"): 3}


@pytest.mark.servers
@pytest.mark.parametrize("seed", range(4))
def test_every_value_is_either_stored_or_a_dead_letter(
    gateway: Gateway,
    influx: InfluxPeer,
    seed: int,
) -> None:
    chance = random.Random(seed)
    kinds = {"f8": "0.5", "b1": "true", "str": '"x"'}
    tables = []
    for n in range(6):
        columns = [Column(f"c{i}", chance.choice(list(kinds))) for i in range(7)]  # type: ignore[arg-type]
        labels = [("device", f"d{n}"), ("module", "a b")][: 1 + n % 2]
        tables.append(Table(f"m{n % 3}", f"d{n}", columns, labels))
    for name in ("m0", "m1", "m0_2"):
        clash = [f"c{i}={chance.choice(list(kinds.values()))}" for i in chance.sample(range(7), 3)]
        exists(influx, name, *clash)
    gateway.start(influx.url, max_columns=chance.choice([0, 4]))
    published: dict[tuple[str, int, str], Any] = {}
    rows = 300
    for n in range(rows):
        chosen = chance.choice(tables)
        made = {"f8": n / 4, "b1": n % 2 == 0, "str": f"t,{n}"}
        values = [made[kind] for _, kind in chosen_columns(chosen)]
        gateway.hub.publish(Row(chosen, START_NS + n, make_parts(chosen, values)))
        for i, value in enumerate(values):
            published[chosen.device, START_NS + n, f"c{i}"] = value
        if n % 100 == 99:
            status = gateway.settled(n + 1)
    found: list[tuple[str, int, str]] = []
    for name in ("m0", "m1", "m2", "m0_2", "m1_2", "m2_2"):
        for row in influx.rows(name):
            for key, value in row.items():
                if key[0] == "c" and value is not None and row["time"] != OLD_NS:
                    found.append((row["device"], row["time"], key))
                    assert published[found[-1]] == value
    engine = len(found)
    for text, _ in gateway.letters():
        line = lp.parse(text.encode())
        assert line is not None
        device = lp.identity(text.encode())[1]["device"]
        found += [(device, int(line.time), key.decode()) for key, _ in line.fields]
    assert sorted(found) == sorted(published)
    assert status["values_stored"] == engine < len(published)
    gateway.stop()
    assert sum(loss.rows for loss in gateway.losses) == status["rows_rejected"]
    assert status["rows_stored"] + status["rows_rejected"] == rows
    told = {(loss.device, loss.table) for loss in gateway.losses}
    assert told <= {(t.device, t.key) for t in tables}


def chosen_columns(table: Table) -> list[tuple[str, str]]:
    """(name, kind) of each column, in order."""
    kinds = {c: part.kind for part in table.parts for c in part.columns}
    return [(name, kinds[c]) for c, name in enumerate(table.columns)]


class Strict:
    """A server that takes a body whole or not at all, and does not say why."""

    def __init__(self, refuses: Callable[[bytes, bytes], bool], flaky: bool) -> None:
        self.refuses = refuses
        self.stored: dict[int, dict[str, float]] = {}
        self.asked = 0
        self._flaky = flaky

    def judge(self, body: bytes) -> bytes:
        self.asked += 1
        if self._flaky and self.asked % 5 == 0:
            return hf.said("503 Busy", b'{"message":"later"}')
        lines = [lp.parse(line) for line in zlib.decompress(body, wbits=47).splitlines()]
        if any(self.refuses(*field) for line in lines if line for field in line.fields):
            return hf.said("400 Bad", b'{"message":"no"}')
        for line in lines:
            assert line is not None
            values = {k.decode(): float(v) for k, v in line.fields if k != b"_quality"}
            self.stored.setdefault(int(line.time), {}).update(values)
        return hf.STORED


@pytest.mark.parametrize("flaky", [False, True])
def test_without_a_word_of_which_the_column_is_found_by_halves(
    gateway: Gateway,
    flaky: bool,
) -> None:
    server = Strict(lambda key, _: key == b"c7", flaky)
    wide = table("m", 50)
    values = numbers(300, 50)
    with hf.faults(judge=server.judge) as faulty:
        gateway.start(faulty.url)
        gateway.publish(wide, START_NS, *values[:200])
        status = gateway.settled(200)
        assert (status["rows_stored"], status["rows_rejected"]) == (0, 200)
        assert server.asked < 250, "each line was divided anew"
        before = server.asked
        gateway.publish(wide, START_NS + 200, *values[200:])
        status = gateway.settled(300)
        assert server.asked - before < 20
        gateway.stop()
    assert status["values_stored"] == 300 * 49
    assert ledger(gateway.losses) == {("m", "column c7"): 300}
    assert sum(1 for line, _ in gateway.letters() if " c7=" in line) == 300
    assert server.stored == {
        START_NS + n: {f"c{i}": v for i, v in enumerate(row) if i != 7}
        for n, row in enumerate(values)
    }


def test_one_refused_value_does_not_take_the_column_of_other_rows(
    gateway: Gateway,
) -> None:
    server = Strict(lambda key, value: key == b"c2" and float(value) > 1000, flaky=False)
    wide = table("m", 5)
    values = numbers(100, 5)
    for n in (0, 50, 51):
        values[n][2] = 5000.0 + n
    with hf.faults(judge=server.judge) as faulty:
        gateway.start(faulty.url)
        gateway.publish(wide, START_NS, *values)
        status = gateway.settled(100)
        gateway.stop()
    assert (status["rows_stored"], status["rows_rejected"]) == (97, 3)
    assert ledger(gateway.losses) == {("m", "column c2"): 3}
    assert server.stored == {
        START_NS + n: {f"c{i}": v for i, v in enumerate(row) if v < 1000}
        for n, row in enumerate(values)
    }
