"""`gateway losses` and `gateway dead-letters`: what was lost, and what a sink refused."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.commands.client import client_for, download
from gateway.commands.console import (
    AsJson,
    ConfigOption,
    SocketOption,
    WrongUsage,
    complain,
    out,
    out_json,
    say,
    table,
)
from gateway.commands.groupletters import WriterOption, export_group, list_group, replay_group
from gateway.terminal import count, size

IDS_AT_ONCE = 500
REPLAY_S = 120.0
EXPORT_S = 600.0

SinkOption = Annotated[
    str | None, typer.Option("--sink", metavar="NAME", help="Of this sink only.")
]

dead_letters = typer.Typer(
    name="dead-letters",
    help="List, export or send once more what a sink refused for good.",
    rich_markup_mode=None,
)


@dead_letters.callback(invoke_without_command=True)
def _group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        context.fail("missing command; expected list, export or replay")


def losses(
    since: Annotated[
        str,
        typer.Option("--since", metavar="TIME", help="-90s, -15m, -1h, -7d, or ISO 8601."),
    ] = "-1d",
    last: Annotated[
        int, typer.Option("-n", min=1, max=10_000, metavar="N", help="The newest N only.")
    ] = 1000,
    as_json: AsJson = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """List what was lost and why, newest first.

    Of this run, and of earlier ones where a historian has them. The socket is found as by
    `gateway status`.
    """
    document = _ask(socket, config, "/v1/losses", {"from": since, "max": last})
    for note in document["notes"]:
        complain(note, "note")
    if as_json:
        for loss in document["losses"]:
            out_json(loss)
        return
    found = document["losses"]
    if not found:
        say(f"nothing was lost since {since}", "green")
        return
    header = ("TOLD", "SINK", "DEVICE", "TABLE", "FROM", "TO", "ROWS", "CAUSE", "DETAIL")
    out(table([_loss_cells(loss) for loss in found], header, right=(6,)))
    say(f"{count(sum(loss['rows'] for loss in found), 'row')} in {count(len(found), 'range')}")


def _loss_cells(loss: Mapping[str, Any]) -> list[str]:
    return [
        _when(loss["time_ns"]),
        loss["sink"],
        loss["device"],
        loss["table"],
        _when(loss["first_ns"]),
        _when(loss["last_ns"]),
        f"{loss['rows']:,}",
        loss["cause"],
        loss["detail"],
    ]


@dead_letters.command("list")
def list_letters(
    sink: SinkOption = None,
    last: Annotated[
        int, typer.Option("-n", min=1, max=1000, metavar="N", help="The newest N only.")
    ] = 100,
    as_json: AsJson = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
    writer: WriterOption = None,
) -> None:
    """List refused lines with the server's words, newest first."""
    if writer is not None:
        list_group(writer, last, as_json=as_json)
        return
    document = _ask(socket, config, "/v1/dead-letters", {"sink": sink, "max": last})
    letters = document["letters"]
    if as_json:
        for letter in letters:
            out_json(letter)
        return
    if not letters:
        say("no dead letters", "green")
        return
    header = ("SINK", "ID", "REFUSED", "DEVICE", "TABLE", "TIME", "REASON")
    out(table([_letter_cells(letter) for letter in letters], header, right=(1,)))
    kept = sum(document["counts"].values())
    if kept > len(letters):
        say(f"the newest {len(letters)} of {count(kept, 'dead letter')}")


def _letter_cells(letter: Mapping[str, Any]) -> list[str]:
    words = letter["reason"]
    if letter["on_its_way"]:
        words = f"(on its way) {words}"
    where = letter["table"]
    return [
        letter["sink"],
        str(letter["id"]),
        letter["refused"].replace("T", " "),
        letter["device"],
        f"{where}:{letter['column']}" if letter["column"] else where,
        _when(letter["time_ns"]),
        words,
    ]


@dead_letters.command()
def export(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.ndjson", readable=False, help="File to write; it may not exist yet."
        ),
    ],
    sink: SinkOption = None,
    socket: SocketOption = None,
    config: ConfigOption = None,
    writer: WriterOption = None,
) -> None:
    """Write all refused lines into a file, an object a line; they stay here, too."""
    if writer is not None:
        export_group(writer, target)
        return
    client = client_for(socket, config)
    path, params = "/v1/dead-letters.ndjson", {"sink": sink}
    written = download(client, path, target, "dead letters are", params, timeout_s=EXPORT_S)
    say(f"{target}: {size(written)}")


@dead_letters.command()
def replay(
    sink: SinkOption = None,
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", metavar="N", help="Only this one; may come often."),
    ] = None,
    as_json: AsJson = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
    writer: WriterOption = None,
) -> None:
    """Send refused lines once more, after the cause was mended.

    They go into the spool of their sink. Each leaves the dead letters when the sink has stored it,
    and stays, with its new words, where it is refused again.
    """
    if writer is not None:
        replay_group(writer, ids, as_json=as_json)
        return
    if wrong := next((given for given in ids or () if not given.isdecimal() or given == "0"), None):
        raise WrongUsage(f"--id {wrong}: expected a number, as `gateway dead-letters list` has it")
    if ids and sink is None:
        raise WrongUsage("--id needs --sink: each sink counts its own letters")
    client = client_for(socket, config)
    total: dict[str, dict[str, int]] = {}
    chosen = ids or []
    for at in range(0, len(chosen), IDS_AT_ONCE) or (0,):
        some = ",".join(map(str, chosen[at : at + IDS_AT_ONCE])) or None
        answer = client.post_json(
            "/v1/dead-letters/replay", {"sink": sink, "ids": some}, timeout_s=REPLAY_S
        )
        for name, figures in answer["sinks"].items():
            known = total.setdefault(name, {})
            for key, number in figures.items():
                known[key] = known.get(key, 0) + number
    if as_json:
        out_json({"sinks": total})
        return
    if not total:
        say("no dead letters", "green")
    for name, figures in total.items():
        out(_replayed_line(name, figures))


def _replayed_line(sink: str, figures: Mapping[str, int]) -> str:
    text = f"{sink}: {count(figures['spooled'], 'letter')} on the way"
    if figures["already"]:
        text += f"; {figures['already']:,} more already were (--id sends them again)"
    if figures["not_whole"]:
        text += f"; {figures['not_whole']:,} cannot be sent: they were cut, or are not text"
    return text


def _ask(
    socket: Path | None, config: Path | None, path: str, params: Mapping[str, str | int | None]
) -> Any:
    from gateway.api.client import NotRunning

    client = client_for(socket, config)
    try:
        return client.get_json(path, params, timeout_s=30.0)
    except NotRunning as error:
        raise NotRunning(
            f"{error}; its files are its own, so only a running gateway tells what is in them"
        ) from error


def _when(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9).isoformat(" ", "milliseconds")
