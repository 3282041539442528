"""A fleet whose processes are killed at random: every row once, and what is lost is named."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress

import pytest
from redis.exceptions import RedisError

from gateway.model import Column, Row, Selected, Table, make_parts
from gateway.wire import encode_batch
from tests.faults import results
from tests.faults.conftest import Proof
from tests.faults.ledger import added
from tests.faults.rig import passed
from tests.fleet.rig import Fleet
from tests.support import until

SECONDS = results.size(60, 600)
VICTIMS = ("gateway", "gateway", "gateway", "writer", "writer", "writer", "redis", "postgres")


def _poison(fleet: Fleet, number: int) -> bool:
    """An entry that no store can take: damaged, or with a tag that is text now."""
    n = number % len(fleet.gateways)
    body = b"poison %d" % number
    if number % 2:
        labels = (("gateway", f"hall-{n}"), ("device", f"plc{n}"))
        table = Table("counts", f"plc{n}", [Column("n", "str")], labels, "counts")
        row = Row(table, time.time_ns(), make_parts(table, [f"poison {number}"]))
        body = encode_batch([Selected(row)])
    with suppress(RedisError, OSError), fleet.redis.client() as client:
        client.xadd(f"readings:hall-{n}", {"b": body, "n": 1})
        return True
    return False


@pytest.mark.timeout(SECONDS + 400)
def test_any_process_of_a_fleet_is_killed(proof: Proof) -> None:
    """8 gateways, Redis, 2 writers, PostgreSQL: SIGKILL of any at a random moment."""
    fleet = Fleet(proof.folder)
    proof.cleanups.append(fleet.close)
    fleet.start()
    kills: Counter[str] = Counter()
    poison = 0
    # the tag is a number before any poison says that it is text
    assert fleet.plant is not None
    plant = fleet.plant
    until(lambda: plant.one("SELECT count(DISTINCT series_id) FROM sample") == 8, 60)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        passed(proof.chance.uniform(0.5, 2.0))
        victim = proof.chance.choice(VICTIMS)
        kills[victim] += 1
        if victim in ("gateway", "writer"):
            process = proof.chance.choice(getattr(fleet, f"{victim}s"))
            process.kill()
            process.launch()
        elif victim == "redis":
            fleet.redis.kill()
            passed(proof.chance.uniform(0.0, 3.0))
            fleet.redis.start()
        else:
            (fleet.postgres.kill if proof.chance.random() < 0.7 else fleet.postgres.stop)()
            passed(proof.chance.uniform(0.0, 3.0))
            fleet.postgres.start()
        poison += _poison(fleet, poison)
    passed(1.0)
    fleet.settled()
    fleet.drained()
    fleet.stop()
    verdicts = fleet.verdicts()
    with fleet.redis.client() as client:
        letters = [fields for _, fields in client.xrange("dead:store")]
    words = Counter(fields[b"e"].decode() for fields in letters)
    whole = added(verdicts)
    proof.holds(
        sum(kills.values()),
        "kills",
        whole,
        may_lose={"unclean_stop"},
        kills=dict(kills),
        poison=poison,
        dead_letters=len(letters),
    )
    assert len(letters) == poison, (proof.seed, poison, words)
    bodies = {fields[b"b"] for fields in letters}
    assert len(bodies) == poison, "each of them once"
