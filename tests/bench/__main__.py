"""`make bench`: prints the tables that the README quotes."""

from __future__ import annotations

import sys
import time

from tests.bench import (
    alarms,
    delivery,
    fleet_sinks,
    fleet_writer,
    footprint,
    ingest,
    lag,
    live,
    loads,
    postgres,
    read_path,
    redis_memory,
    vibration,
)
from tests.bench.measure import machine

TABLES = {
    "read": read_path.table,
    "loads": loads.table,
    "delivery": delivery.table,
    "vibration": vibration.table,
    "live": live.table,
    "fleet_sinks": fleet_sinks.table,
    "postgres": postgres.table,
    "fleet_writer": fleet_writer.table,
    "alarms": alarms.table,
    "footprint": footprint.table,
    "ingest": ingest.table,
    "redis_memory": redis_memory.table,
    "lag": lag.table,
}


def main(names: list[str]) -> None:
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}, Python {sys.version.split()[0]}\n")
    for name in names or TABLES:
        print("\n".join(TABLES[name]()), flush=True)
        print()


if __name__ == "__main__":
    main(sys.argv[1:])
