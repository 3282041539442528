"""What the stores give back: the counts of the machines, and the loss ledger."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from tests.faults.ledger import GivenUp, LossRange, StoredRow
from tests.sims.influx_peer import InfluxPeer, VictoriaPeer


def in_influx(peer: InfluxPeer, database: str) -> list[StoredRow]:
    """All counts that the Influx engine has in a database."""
    series = peer.query("SELECT n FROM counts GROUP BY device", database)
    return [
        StoredRow(one["tags"]["device"], number, time_ns)
        for one in series
        for time_ns, number in one["values"]
    ]


def in_history(path: Path) -> list[StoredRow]:
    """All counts that a historian has."""
    with sqlite3.connect(path) as store:
        rows = store.execute(
            "select device, value, time_ns from history"
            " where table_name='counts' and tag='n' and value is not null"
        ).fetchall()
    store.close()
    return [StoredRow(*row) for row in rows]


def given_up(peer: InfluxPeer, database: str) -> list[GivenUp]:
    """Rows of the Influx engine that say that a machine did not answer in time."""
    series = peer.query("SELECT _quality FROM counts GROUP BY device", database)
    return [
        GivenUp(one["tags"]["device"], time_ns)
        for one in series
        for time_ns, quality in one["values"]
        if quality and "BAD:timeout" in quality
    ]


def given_up_in_history(path: Path) -> list[GivenUp]:
    """Rows of a historian that say that a machine did not answer in time."""
    with sqlite3.connect(path) as store:
        rows = store.execute(
            "select device, time_ns from history"
            " where table_name='counts' and tag='n' and quality='BAD:timeout'"
        ).fetchall()
    store.close()
    return [GivenUp(*row) for row in rows]


def in_victoria(peer: VictoriaPeer) -> list[StoredRow]:
    """All counts that VictoriaMetrics shows; it keeps milliseconds."""
    return [
        StoredRow(label.removeprefix("device="), int(value), time_ms * 1_000_000)
        for (_, *labels), values in peer.export('{__name__="counts_n"}').items()
        for label in labels
        if label.startswith("device=")
        for time_ms, value in values.items()
    ]


def losses(influx: InfluxPeer | None, history: Path) -> list[LossRange]:
    """The loss ledger, as the Influx engine and the historian have it."""
    names = ("sink", "device_lost", "table_lost", "first_ns", "last_ns", "rows", "cause")
    rows: list[dict[str, Any]] = influx.rows("gateway_loss") if influx is not None else []
    if history.exists():
        with sqlite3.connect(history) as store:
            told = store.execute(
                "select time_ns, tag, value from history where table_name='gateway_loss'"
            ).fetchall()
        store.close()
        by_time: dict[int, dict[str, Any]] = {}
        for time_ns, tag, value in told:
            by_time.setdefault(time_ns, {})[tag] = value
        rows += by_time.values()
    return [LossRange(*place) for place in {tuple(row[name] for name in names) for row in rows}]
