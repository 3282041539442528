"""`gateway status` and `gateway tail`: what a running gateway does, through its socket."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Generator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from gateway.commands.client import client_for, download
from gateway.commands.console import (
    EXIT_BAD,
    AsJson,
    ConfigOption,
    SocketOption,
    coloured,
    flush,
    out,
    out_json,
    say,
    state_colour,
    table,
)
from gateway.commands.silence import Silence
from gateway.commands.values import quality, shown
from gateway.terminal import count, duration, number, printable, size, wants_colour

WATCH_S = 2.0

_ORDER = {
    "lost": 0,
    "blocked": 0,
    "stale": 0,
    "degraded": 1,
    "retrying": 1,
    "connecting": 2,
    "good": 3,
}


def status(
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every 2 s, until Ctrl-C.")] = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Show how the running gateway does.

    Exit 0 good, 1 degraded, 3 not running. The socket is that of --socket, of --config, of
    GATEWAY_SOCKET, or /run/gateway.sock.
    """
    client = client_for(socket, config)
    while True:
        document = client.get_json("/v1/status")
        if as_json:
            out_json(document)
        else:
            lines = status_lines(document)
            if watch and wants_colour(sys.stdout):
                lines[0] = f"\x1b[H\x1b[J{lines[0]}"
            out(lines)
            flush()
        if not watch:
            break
        time.sleep(WATCH_S)
    if document["state"] != "good":
        raise typer.Exit(EXIT_BAD)


def status_lines(document: Mapping[str, Any]) -> list[str]:
    """The status document for people: problems first, then devices and sinks, the worst first."""
    about, state = document["gateway"], document["state"]
    lines = [
        f"{printable(about['name'])}: {_state(state)}, running for {duration(about['uptime_s'])} "
        f"(version {about['version']}, pid {about['pid']}, {printable(about['config'])})"
    ]
    lines += [f"  {coloured('!', 'red')} {printable(text)}" for text in document["problems"]]
    reload = document.get("reload")
    if reload and not reload["ok"]:
        first = printable(reload["faults"][0]) if reload["faults"] else "?"
        said = f"the last reload was refused, {count(len(reload['faults']), 'fault')}: {first}"
        lines.append(f"  {coloured('!', 'yellow')} {said}")
    if document["devices"]:
        lines += ["", *_device_lines(document["devices"])]
        if streams := _stream_lines(document["devices"]):
            lines += ["", *streams]
    if sent := (document.get("ingest") or {}).get("devices"):
        lines += ["", *_sent_lines(sent)]
    if document["sinks"]:
        lines += ["", *_sink_lines(document["sinks"])]
    lines += _letter_lines(document["sinks"])
    lost = {cause: rows for cause, rows in document["losses"].items() if rows}
    if lost:
        said = ", ".join(f"{count(rows, 'row')} by {cause}" for cause, rows in lost.items())
        lines += ["", coloured(f"Lost since the start: {said}", "red")]
    return lines


def _state(state: str) -> str:
    return coloured(printable(state), state_colour(state))


def worst_first(items: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Devices or sinks by state, the worst first, then by name."""
    return sorted(items.items(), key=lambda item: (_ORDER.get(item[1]["state"], 4), item[0]))


def _device_lines(devices: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, device in worst_first(devices):
        bad = device["tags_bad"]
        rows.append(
            [
                name,
                f"{device['state']}: {device['reason']}" if device["reason"] else device["state"],
                device["driver"],
                device["endpoint"] or "-",
                f"{device['tags']:,}",
                f"{bad:,}" if bad else "-",
                f"{device['polls']:,}",
                f"{device['errors']:,}" if device["errors"] else "-",
                number(device["read_ms"]["p50"], 3),
                number(device["lateness_ms"]["p99"], 3),
                "-" if device["since_s"] is None else duration(device["since_s"]),
            ]
        )
    header = ("DEVICE", "STATE", "DRIVER", "ENDPOINT", "TAGS", "BAD", "POLLS", "ERRORS",
              "READ MS", "LATE MS", "SINCE")  # fmt: skip
    return table(rows, header, right=range(4, 11), states=1)


def _sent_lines(devices: Mapping[str, Any]) -> list[str]:
    """Devices of which other programs send rows."""
    rows = []
    for name, device in worst_first(devices):
        state, bad, age_s = device["state"], device["tags_bad"], device["newest_s"]
        ahead = " ahead" if age_s is not None and age_s < 0 else ""
        rows.append(
            [
                name,
                f"{state}: {device['reason']}" if device["reason"] else state,
                f"{device['tags']:,}",
                f"{bad:,}" if bad else "-",
                "-" if age_s is None else f"{duration(abs(age_s))}{ahead}",
            ]
        )
    return table(rows, ("SENT DEVICE", "STATE", "TAGS", "BAD", "NEWEST"), right=(2, 3, 4), states=1)


def _stream_lines(devices: Mapping[str, Any]) -> list[str]:
    """What is computed of the devices that stream; nothing where there are none."""
    rows = []
    for name, device in devices.items():
        stream = device["facts"].get("stream")
        if stream is None:
            continue
        latency_ms = stream["latency_ms"]["p99"] if stream.get("hops") else None
        rows.append(
            [
                name,
                f"{stream['channels']:,}",
                f"{number(stream['rate_hz'])} Hz",
                stream.get("state") or "-",
                f"{stream['gaps']:,}" if stream["gaps"] else "-",
                duration(stream["missing_s"]) if stream.get("missing_s") else "-",
                "-" if latency_ms is None else number(latency_ms, 3),
                f"{number(stream['clock_drift_ppm'], 3)} ppm",
            ]
        )
    header = ("STREAM", "CHANNELS", "RATE", "OPERATING", "GAPS", "MISSING", "LATENCY MS", "DRIFT")
    return table(rows, header, right=(1, 2, 4, 5, 6, 7)) if rows else []


def _sink_lines(sinks: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, sink in worst_first(sinks):
        waiting = count(sink["pending_rows"], "row")
        if sink["spool_bytes"]:
            waiting += f", {size(sink['spool_bytes'])}"
        if sink["spool_age_s"]:
            waiting += f", {duration(sink['spool_age_s'])} old"
        stored_s = sink["last_stored_s"]
        rows.append(
            [
                name,
                f"{sink['state']}: {sink['error']}" if sink["error"] else sink["state"],
                sink["type"],
                f"{sink['rows_stored']:,}",
                f"{sink['values_stored']:,}",
                waiting if sink["pending_rows"] else "-",
                f"{sink['rows_rejected']:,}" if sink["rows_rejected"] else "-",
                f"{sink['rows_lost']:,}" if sink["rows_lost"] else "-",
                "never" if stored_s is None else f"{duration(stored_s)} ago",
            ]
        )
    header = ("SINK", "STATE", "TYPE", "ROWS", "VALUES", "WAITING", "REJECTED", "LOST", "STORED")
    return table(rows, header, right=(3, 4, 6, 7, 8), states=1)


def _letter_lines(sinks: Mapping[str, Any]) -> list[str]:
    """Where there are dead letters, how many, and what shows them."""
    kept = {name: sink.get("dead_letters") for name, sink in sinks.items()}
    said = [f"{count(n, 'dead letter')} of sink {printable(name)}" for name, n in kept.items() if n]
    text = f"Refused and kept: {', '.join(said)} (see gateway dead-letters list)"
    return ["", coloured(text, "yellow")] if said else []


def tail(
    last: Annotated[
        int | None, typer.Option("-n", min=1, metavar="N", help="End after N lines.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="DEVICE", help="Of this device only.")
    ] = None,
    as_json: AsJson = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Follow the values as they come.

    One line a value, until Ctrl-C. The socket is found as by `gateway status`.
    """
    from gateway.api.client import NotRunning

    client = client_for(socket, config)
    stream = cast("Generator[bytes]", client.stream_lines("/v1/tail", {"device": device}))
    shown_lines = 0
    with Silence(client, device) as silence, contextlib.closing(stream):
        for line in stream:
            silence.broken()
            if as_json:
                out(line.decode())
            value = json.loads(line)
            if "dropped_rows" in value:
                say(f"(too slow: {count(value['dropped_rows'], 'row')} left out)", "yellow")
                continue
            if not as_json:
                out(value_line(value))
            flush()
            shown_lines += 1
            if shown_lines == last:
                return
    raise NotRunning("the gateway stopped")


def snapshot(
    target: Annotated[
        Path, typer.Argument(readable=False, help="File to write; it may not exist yet.")
    ],
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Copy the history of the running gateway into a file."""
    client = client_for(socket, config)
    path = "/v1/history.db"
    written = download(client, path, target, "a copy is", timeout_s=600.0)
    say(f"{target}: {size(written)}, e.g. sqlite3 {target} 'select * from history limit 5'")


def value_line(value: Mapping[str, Any]) -> str:
    """One value for people: ``10:31:02.123 press_1/process force 12.5 kN``."""
    labels = value["labels"]
    where = "/".join(
        part
        for part in (
            labels.get("device"),
            value["table"],
            labels.get("module") or labels.get("channel"),
        )
        if part
    )
    when = datetime.fromtimestamp(value["time_ns"] / 1e9).strftime("%H:%M:%S.%f")[:-3]
    text = f"{when} {printable(where)} {printable(value['tag'])} {shown(value['value'])}"
    if value["unit"]:
        text += f" {printable(value['unit'])}"
    mark = quality(value)
    return f"{text} {mark}" if value["quality"] != "GOOD" else text
