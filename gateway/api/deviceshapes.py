"""The body of /v1/devices: devices with their groups, tables, tags and units."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.driver import Driver
from gateway.ingest.declared import SentDeviceConfig
from gateway.ingest.intake import Intake
from gateway.ingest.senders import by_device, interval_s
from gateway.model import Table


def devices_body(shown: list[tuple[str, Driver, dict[str, Any]]], intake: Intake | None) -> bytes:
    """Configured devices, each with its name and status; and those that other programs send."""
    pieces = [orjson.dumps(_shape(*each)) for each in shown]
    if intake is not None:
        states, declared = intake.status()["devices"], intake.config.devices
        for name, tables in by_device(intake.shapes.tables(), declared).items():
            if name in states:
                state = states[name]["state"]
                pieces.append(orjson.dumps(_sent_shape(name, state, tables, declared.get(name))))
    return b'{"devices":[' + b",".join(pieces) + b"]}"


def _shape(name: str, driver: Driver, status: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "driver": status.get("driver") or driver.config.driver,
        "state": status.get("state", "disabled"),
        "groups": [
            {
                "name": group.name,
                "interval_s": group.interval_s,
                "tables": [_table_shape(table) for table in group.tables],
            }
            for group in driver.groups
        ],
    }


def _sent_shape(
    name: str, state: str, tables: list[Table], declared: SentDeviceConfig | None
) -> dict[str, Any]:
    """A device of which other programs send rows; 0 s: nothing says when the next one comes."""
    groups: dict[float, list[dict[str, Any]]] = {}
    for table in tables:
        groups.setdefault(interval_s(declared, table), []).append(_table_shape(table))
    shapes = [
        {"name": "ingest", "interval_s": seconds, "tables": some}
        for seconds, some in groups.items()
    ]
    return {"name": name, "driver": "ingest", "state": state, "groups": shapes}


def _table_shape(table: Table) -> dict[str, Any]:
    columns = zip(table.columns, table.kinds, table.units, strict=True)
    return {
        "key": table.key,
        "name": table.name,
        "labels": dict(table.labels),
        "columns": [{"name": n, "kind": k, "unit": u} for n, k, u in columns],
    }
