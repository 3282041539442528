"""The commented file of a gateway: what was found, and the options that most plants set next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.commands.firststeps.found import Found
from gateway.commands.firststeps.place import Home
from gateway.importers.render import number, scalar


class InfluxTo(NamedTuple):
    """An InfluxDB to deliver to."""

    url: str
    org: str
    bucket: str
    token_file: str


_COMMENTS = {
    "rack": "",
    "slot": "1 for S7-1200 and S7-1500, 2 for S7-300",
    "timeout_s": "longest wait for a connection or an answer",
    "port": "",
    "unit": "number of the unit, from 1 to 247",
    "baud": "bits per second, as set in the device",
    "parity": "none, even or odd",
    "map": "which tags are read",
    "grpc": "NI gRPC Device Server of the PC that has the card",
}


def file_text(name: str, home: Home, found: Sequence[Found], influx: InfluxTo | None) -> str:
    """The whole file."""
    lines = [
        "# Configuration of edge-gateway, made by `gateway init`. Change it freely, then:",
        "#   gateway check FILE             all faults, with their lines",
        "#   gateway doctor FILE            machines, disks, clock and servers",
        "#   gateway reload --config FILE   the running gateway takes the changes",
        "# Paths are relative to this file. All options: docs/reference-config.md",
        "",
        "gateway:",
        f"  name: {scalar(name)} # stands on every row, as the label `gateway`",
        "  # labels: {site: plant-1}",
        "",
        "# Data that waits for its server, history and alarm state",
        f"state_dir: {scalar(home.state_dir)}",
        "",
        "api:",
        f"  socket: {scalar(home.socket)} # for `gateway status` and other tools on this PC",
        '  # listen: "127.0.0.1:8080" # the live page, for browsers on this PC',
        "",
        "# What waits on disk for a server that is away; the oldest goes first, named as a loss",
        "spool: {max_bytes: 4GB, max_age_days: 30}",
        "",
        "sinks:",
        "  # the historian: a file in state_dir, read by the live page and by any SQLite tool",
        "  history: {type: sqlite, retention_days: 30, max_bytes: 2GB}",
        *_influx(influx),
    ]
    buses = {name: bus for each in found for name, bus in each.buses.items()}
    if buses:
        lines += ["", "# Lines and converters that several devices share", "buses:"]
        for bus, settings in buses.items():
            lines += [f"  {scalar(bus)}:", *_settings(settings)]
    lines += ["", "devices:"]
    for at, each in enumerate(found):
        if at:
            lines.append("")
        lines += [f"  # {each.where}: {said}" for said in each.said[:1]]
        if not each.answers:
            lines.append("  # It did not answer when this file was made; it is tried for ever.")
        for device in each.devices:
            lines += [f"  {scalar(device.name)}:", *_settings(device.settings)]
    lines += [
        "",
        "# Rules over live values: docs/alarms.md",
        "# alarms:",
        "#   rules:",
        "#     too_hot: {kind: limits, tag: plc_1.process.temperature, high: 80}",
    ]
    return "\n".join(_printable(lines)) + "\n"


def _printable(lines: Iterable[str]) -> Iterator[str]:
    """Nothing that a machine says may end a comment's line."""
    from gateway.terminal import printable

    return map(printable, lines)


def _influx(influx: InfluxTo | None) -> list[str]:
    if influx is None:
        return [
            "  # InfluxDB 2: write the token into a file, and take the # away",
            "  # influx:",
            "  #   type: influxdb",
            '  #   url: "http://localhost:8086"',
            "  #   org: plant",
            "  #   bucket: sensors",
            "  #   token_file: influx.token",
        ]
    return [
        "  influx:",
        "    type: influxdb",
        f"    url: {scalar(influx.url)}",
        f"    org: {scalar(influx.org)}",
        f"    bucket: {scalar(influx.bucket)}",
        f"    token_file: {scalar(influx.token_file)}",
    ]


def _settings(settings: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, value in settings.items():
        text = scalar(value) if isinstance(value, str) else number(value)
        comment = _COMMENTS.get(key)
        lines.append(f"    {key}: {text}" + (f" # {comment}" if comment else ""))
    return lines
