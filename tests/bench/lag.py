"""How far the writers of a fleet fall behind when a region was cut off: a calculation in steps.

Nothing is random and nothing is measured here: the same numbers give the same table. What one
writer stores, what a row takes in Redis and what a gateway makes are measured: docs/scale.md. In
each step of a second

1. every gateway makes its rows; those of the region keep them in their spools while it is cut off;
2. afterwards they send what their line carries, new rows and backlog together (which of them goes
   first, `gateway.writer.lanes`, changes nothing in these sums);
3. Redis takes rows up to its memory, from all senders the same part; the rest waits in spools;
4. the writers store what they can, and every `trim_every_s` Redis gives back what is stored.

    python -m tests.bench.lag --gateways 1000 --region 200 --outage-s 3600 --writers 2
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

LONGEST_S = 30 * 86_400


@dataclass(frozen=True)
class Fleet:
    """What is there. A gateway is that of docs/scale.md: 10 rows of 10 REAL a second."""

    gateways: int = 1000
    region: int = 200
    """Gateways that are cut off at first."""
    outage_s: int = 3600
    rows_s: int = 10
    """Rows that a gateway makes in a second."""
    line_rows_s: int = 100
    """Rows that its line carries in a second."""
    writers: int = 2
    writer_rows_s: int = 11_900
    row_bytes: int = 103
    """Of Redis' memory."""
    redis_bytes: int = 4_000_000_000
    trim_every_s: int = 30


class Result(NamedTuple):
    """What came of it. Times count from the moment the region is back; None: not within 30 days."""

    rows: int
    """Made until the end."""
    stored: int
    peak_spool_rows: int
    """Of one gateway of the region."""
    peak_lag_rows: int
    """In Redis and not stored."""
    peak_lag_s: float
    """The same, in seconds of all that the writers can store."""
    peak_redis_bytes: int
    was_redis_full: bool
    spools_empty_s: int | None
    drained_s: int | None
    """Spools are empty and all rows are stored."""


def simulate(fleet: Fleet, longest_s: int = LONGEST_S) -> Result:
    """Run until every row is stored, or for ``longest_s`` after the outage.

    ValueError where the numbers make no fleet.
    """
    _check(fleet)
    others = fleet.gateways - fleet.region
    room, capacity = fleet.redis_bytes // fleet.row_bytes, fleet.writers * fleet.writer_rows_s
    region_spool = others_spool = lag = untrimmed = made = stored = 0
    peak_spool = peak_lag = peak_redis = 0
    was_full = False
    spools_empty_s: int | None = None
    drained_s: int | None = None
    for now_s in range(-fleet.outage_s, longest_s):
        made += fleet.gateways * fleet.rows_s
        region_spool += fleet.region * fleet.rows_s
        others_spool += others * fleet.rows_s
        peak_spool = max(peak_spool, region_spool)
        of_region = min(region_spool, fleet.region * fleet.line_rows_s) if now_s >= 0 else 0
        of_others = min(others_spool, others * fleet.line_rows_s)
        wanted, free = of_region + of_others, room - lag - untrimmed
        if wanted > free:
            was_full = True
            of_region, of_others = of_region * free // wanted, of_others * free // wanted
        region_spool -= of_region
        others_spool -= of_others
        lag += of_region + of_others
        peak_lag, peak_redis = max(peak_lag, lag), max(peak_redis, lag + untrimmed)
        done = min(lag, capacity)
        lag, untrimmed, stored = lag - done, untrimmed + done, stored + done
        if (now_s + 1) % fleet.trim_every_s == 0:
            untrimmed = 0
        if made != stored + lag + region_spool + others_spool:
            raise AssertionError(f"at {now_s} s a row was made of nothing, or was lost")
        if now_s >= 0 and not region_spool and not others_spool:
            spools_empty_s = now_s + 1 if spools_empty_s is None else spools_empty_s
            if not lag:
                drained_s = now_s + 1
                break
    return Result(
        made, stored, -(-peak_spool // max(1, fleet.region)), peak_lag, peak_lag / capacity,
        peak_redis * fleet.row_bytes, was_full, spools_empty_s, drained_s,
    )  # fmt: skip


def _check(fleet: Fleet) -> None:
    if not 0 <= fleet.region <= fleet.gateways:
        raise ValueError(f"region: {fleet.region}; expected 0 to {fleet.gateways} gateways")
    for field in fields(fleet):
        least = 0 if field.name in ("region", "outage_s") else 1
        if getattr(fleet, field.name) < least:
            raise ValueError(f"{field.name}: expected at least {least}")


SCENARIOS = (
    Fleet(gateways=10, region=5, writers=1),
    Fleet(gateways=1000, region=200, writers=1),
    Fleet(gateways=1000, region=200, writers=2),
    Fleet(gateways=1000, region=200, writers=4),
    Fleet(gateways=1000, region=200, outage_s=8 * 3600, writers=2),
    Fleet(gateways=1000, region=1000, writers=2),
    Fleet(gateways=1000, region=1000, outage_s=8 * 3600, writers=2),
    Fleet(gateways=1000, region=1000, outage_s=8 * 3600, writers=4),
    Fleet(gateways=1000, region=1000, outage_s=8 * 3600, writers=4, redis_bytes=1_000_000_000),
)


def table(scenarios: Sequence[Fleet] = SCENARIOS) -> list[str]:
    """The result as lines of a Markdown table."""
    out = [
        "| gateways, cut off, for | writers | Redis may have | spool of one gateway | peak lag "
        "| peak in Redis | spools empty after | all stored after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for fleet in scenarios:
        got = simulate(fleet)
        full = ", full" if got.was_redis_full else ""
        out.append(
            f"| {fleet.gateways:,}, {fleet.region:,}, {_time(fleet.outage_s)} | {fleet.writers} "
            f"| {fleet.redis_bytes / 1e9:g} GB | {got.peak_spool_rows:,} rows "
            f"| {got.peak_lag_rows:,} rows, {_time(round(got.peak_lag_s))} "
            f"| {got.peak_redis_bytes / 1e6:,.0f} MB{full} "
            f"| {_time(got.spools_empty_s)} | {_time(got.drained_s)} |"
        )
    return out


def _time(seconds: int | None) -> str:
    if seconds is None:
        return "never"
    if seconds < 100:
        return f"{seconds} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def main(arguments: Sequence[str] | None = None) -> None:
    """One fleet of one's own."""
    parser = argparse.ArgumentParser(description="Lag of a fleet after a regional outage.")
    for field in fields(Fleet):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=int, default=field.default)
    print("\n".join(table([Fleet(**vars(parser.parse_args(arguments)))])))


if __name__ == "__main__":
    main()
