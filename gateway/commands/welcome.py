"""The first message of a gateway: what runs, where the data goes, what to type next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.terminal import aligned, count, duration

if TYPE_CHECKING:
    from gateway.config import Plant
    from gateway.driver import Driver
    from gateway.sinks import SinkConfig

SHOWN_DEVICES = 12


def welcome(plant: Plant, file: Path, *, invented: bool = False, code: str | None = None) -> str:
    """The message, in plain words. ``invented``: the values are a mock's or a simulator's.

    ``code`` signs in to the page, once.
    """
    drivers = [d for d in plant.devices.values() if d.config.enabled]
    tags = sum(len(t.columns) for d in drivers for g in d.groups for t in g.tables)
    lines = [
        f"Gateway {plant.name} is running: {count(len(drivers), 'device')}, "
        f"{count(tags, 'tag')}. Ctrl-C stops it.",
        "",
        *_indented(aligned([_device_row(d, invented) for d in drivers[:SHOWN_DEVICES]])),
    ]
    if len(drivers) > SHOWN_DEVICES:
        lines.append(f"  and {count(len(drivers) - SHOWN_DEVICES, 'more device')}")
    lines += ["", "The data goes to", *_indented(aligned(_sink_rows(plant)))]
    if not plant.sinks:
        lines.append("  nowhere: the configuration names no sinks")
    if invented and plant.sinks:
        lines.append("  INVENTED VALUES are stored there, as if the machines had sent them!")
    lines += ["", "It answers at", *_indented(aligned(_address_rows(plant)))]
    if plant.api.address is not None and plant.api.address.is_loopback:
        again = f"{typed_command()} sign-in --config {shlex.quote(str(file))}"
        if code is None:
            lines.append(f"  To acknowledge alarms in the page, sign in with a code: {again}")
        else:
            lines.append(f"  To acknowledge alarms in the page, sign in with the code {code}")
            lines.append(f"  (for one use within 12 hours; another one: {again})")
    lines += ["", "Next, in another terminal", *_indented(aligned(_next_rows(plant, file)))]
    return "\n".join(lines) + "\n"


def _indented(lines: list[str]) -> list[str]:
    return ["  " + line for line in lines]


def _device_row(driver: Driver, invented: bool) -> list[str]:
    tags = sum(len(table.columns) for group in driver.groups for table in group.tables)
    groups = [f"{group.name} every {duration(group.interval_s)}" for group in driver.groups[:4]]
    if len(driver.groups) > 4:
        groups.append("...")
    endpoint = str(driver.status().get("endpoint") or "")
    if not endpoint and not invented:
        endpoint = str(getattr(driver.config, "host", ""))
    return [driver.name, driver.config.driver, endpoint, count(tags, "tag"), ", ".join(groups)]


def _sink_rows(plant: Plant) -> list[list[str]]:
    rows = []
    for name, config in plant.sinks.items():
        target = sink_target(plant.state_dir, name, config)
        rows.append([name, config.type, target])
    return rows


def sink_target(state_dir: Path, name: str, config: SinkConfig) -> str:
    """Where a sink's data lies or goes, for people."""
    url = getattr(config, "url", None) or getattr(config, "host", None)
    if url is None:
        return short(getattr(config, "path", None) or state_dir / f"{name}.db")
    bucket = getattr(config, "bucket", None)
    where = f"{url}, bucket {bucket}" if bucket else str(url)
    return f"{where}; until it is stored there: {short(state_dir / 'spool' / name)}"


def short(path: Path) -> str:
    """The path for people: without `..`, and relative to the current folder where it is below."""
    clean = os.path.normpath(path)
    relative = os.path.relpath(clean)
    return clean if relative.startswith("..") else relative


def _address_rows(plant: Plant) -> list[list[str]]:
    rows = [["socket", short(plant.api.socket)]]
    if plant.api.address is not None:
        rows.append(["web", _url(plant)])
    return rows


def _next_rows(plant: Plant, file: Path) -> list[list[str]]:
    name, gateway = shlex.quote(str(file)), typed_command()
    rows = [
        [f"{gateway} status --config {name}", "how everything is"],
        [f"{gateway} tail --config {name}", "values as they come"],
    ]
    first = next((d.name for d in plant.devices.values() if d.config.enabled), None)
    if first is not None:
        rows.append([f"{gateway} read {name} {shlex.quote(first)}", "one read of one device"])
    if plant.api.address is not None:
        rows.append([f"curl {_url(plant)}/v1/status", "the same for programs"])
    return rows


def _url(plant: Plant) -> str:
    scheme = "http" if plant.api.tls is None else "https"
    return f"{scheme}://{plant.api.address}"


def typed_command() -> str:
    """How to type it here: `gateway`, or its path where that is not on PATH."""
    typed = Path(sys.argv[0])
    hidden = typed.name == "gateway" and shutil.which("gateway") is None
    return shlex.quote(short(typed)) if hidden else "gateway"
