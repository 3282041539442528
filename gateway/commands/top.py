"""`gateway top`: the running gateway's devices, values, alarms and sinks in a terminal."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.client import client_for, socket_path
from gateway.commands.console import (
    EXIT_BAD,
    AsJson,
    ConfigOption,
    SocketOption,
    WrongUsage,
    coloured,
    flush,
    out,
    out_json,
    say,
    table,
)
from gateway.commands.live import status_lines
from gateway.errors import GatewayError
from gateway.terminal import count, printable

if TYPE_CHECKING:
    from gateway.api.client import Client
    from gateway.commands.topfeed import Frame, Line

MOST_BAD = 20
"""Bad tags that the plain page lists."""


def top(
    once: Annotated[bool, typer.Option("--once", help="Print it once and end.")] = False,
    as_json: AsJson = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="A page of plain text, even if textual is installed.")
    ] = False,
    interval_s: Annotated[
        float,
        typer.Option(
            "--interval", min=0.2, max=60.0, metavar="S", help="Seconds between two looks."
        ),
    ] = 1.0,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Watch devices, values, alarms and sinks in the terminal.

    Keys: 1 to 4 for the pages, / to search, Enter for a device's values, a to acknowledge an
    alarm, q to quit. --once prints one look and ends as `gateway status` does: 0 good, 1 degraded,
    3 not running. The socket is found as by `gateway status`.
    """
    from gateway.commands import topfeed

    client = client_for(socket, config)
    if once:
        frame = topfeed.ask(client, None)
        if as_json:
            out_json(_document(frame))
        else:
            out(_page(frame))
        if frame.status["state"] != "good":
            raise typer.Exit(EXIT_BAD)
        return
    if as_json:
        raise WrongUsage("--json goes with --once; to follow the values: gateway tail --json")
    if not sys.stdout.isatty():
        raise WrongUsage("this is not a terminal; --once prints the page once")
    if not plain and importlib.util.find_spec("textual") is not None:
        from gateway.commands.toptui import Top

        Top(client, str(socket_path(socket, config)), interval_s).run(mouse=False)
        return
    if not plain:
        say("(plain page; for the full one: pip install 'edge-gateway[tui]')", "yellow")
    _repeat(client, interval_s)


def _document(frame: Frame) -> dict[str, Any]:
    return {"status": frame.status, "values": frame.values, "alarms": frame.alarms}


def _repeat(client: Client, interval_s: float) -> None:
    """The plain page in its place, until Ctrl-C."""
    from gateway.commands import topfeed

    in_place = os.environ.get("TERM", "dumb") != "dumb"
    lines: list[str] = []
    try:
        while True:
            try:
                lines = [time.strftime("%H:%M:%S"), *_page(topfeed.ask(client, None))]
            except GatewayError as error:
                away = f"NOT CONNECTED, trying again: {printable(str(error))}"
                lines = [coloured(away, "red"), *lines[1:]]  # what is below is old
            out(_fitting(lines) if in_place else lines)
            flush()
            time.sleep(interval_s)
    finally:
        if in_place:
            out(WRAP)


NO_WRAP, WRAP, CLEAR = "\x1b[?7l", "\x1b[?7h", "\x1b[H\x1b[J"
"""DEC private mode 7, and CUP with ED: a long line ends at the edge, so that the page has room."""


def _fitting(lines: list[str]) -> list[str]:
    """The lines from the top of the screen on, as many as it has."""
    room = max(shutil.get_terminal_size().lines - 2, 1)
    more = len(lines) - room
    end = [f"({count(more, 'line')} more; gateway top --once)"] if more > 0 else []
    return [f"{NO_WRAP}{CLEAR}{lines[0]}", *lines[1:room], *end]


def _page(frame: Frame) -> Iterator[str]:
    """The status, the alarms, and the bad tags with their reasons."""
    from gateway.commands import topfeed

    yield from status_lines(frame.status)
    if frame.alarms:
        yield from ("", *_table(topfeed.alarm_lines(frame.alarms), topfeed.ALARM_COLUMNS, 0))
    bad = [v for v in frame.values if v["quality"] == "BAD"]
    if bad:
        lines, _ = topfeed.value_lines(bad, "", MOST_BAD)
        yield from ("", *_table(lines, topfeed.VALUE_COLUMNS, 3))
        if len(bad) > MOST_BAD:
            yield f"and {count(len(bad) - MOST_BAD, 'bad value')} more"


def _table(lines: Iterable[Line], columns: Sequence[str], states: int) -> list[str]:
    return table([[cell.text for cell in line.cells] for line in lines], columns, states=states)
