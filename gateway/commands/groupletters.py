"""`gateway dead-letters ... --writer FILE`: those of a consumer group, in Redis."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from gateway.commands.console import WrongUsage, out, out_json, say, table
from gateway.errors import GatewayError
from gateway.terminal import count, size

_ID = re.compile(r"\d{1,19}-\d{1,19}")

WriterOption = Annotated[
    Path | None,
    typer.Option(
        "--writer",
        metavar="FILE",
        readable=False,
        help="Those in Redis of a `gateway writer` with this file, whether one runs or not.",
    ),
]


def list_group(file: Path, last: int, *, as_json: bool) -> None:
    """List them, newest first."""
    from gateway.relay.letters import letters_of
    from gateway.relay.loading import load_writer

    settings = load_writer(file)
    with letters_of(settings) as letters:
        found = letters.newest(last)
        kept, replayed = letters.counts()
    if as_json:
        for letter in found:
            out_json(letter.document())
        return
    if not found:
        say(f"no dead letters of group {settings.group}", "green")
    else:
        header = ("ID", "REFUSED", "STREAM", "ENTRY", "ROWS", "REASON")
        cells = [
            [x.id, x.refused.replace("T", " "), x.stream, x.entry, f"{x.rows:,}", x.reason]
            for x in found
        ]
        out(table(cells, header, right=(4,)))
    if kept > len(found):
        say(f"the newest {len(found)} of {count(kept, 'dead letter')}")
    if replayed:
        say(f"{count(replayed, 'letter')} on the way once more")


def export_group(file: Path, target: Path) -> None:
    """All of them into a new file, an object a line."""
    from gateway.relay.letters import letters_of
    from gateway.relay.loading import load_writer

    settings = load_writer(file)
    try:
        with target.open("xb") as made, letters_of(settings) as letters:
            try:
                for letter in letters.oldest():
                    made.write(orjson.dumps(letter.document()) + b"\n")
            except BaseException:
                target.unlink(missing_ok=True)
                raise
    except FileExistsError:
        raise WrongUsage(f"{target} exists; dead letters are written to a new file") from None
    except OSError as error:
        raise GatewayError(f"{target}: {error.strerror}") from error
    say(f"{target}: {size(target.stat().st_size)}")


def replay_group(file: Path, ids: list[str] | None, *, as_json: bool) -> None:
    """Try them once more."""
    from gateway.relay.letters import letters_of
    from gateway.relay.loading import load_writer

    for given in ids or ():
        if not _ID.fullmatch(given):
            raise WrongUsage(f"--id {given}: expected one of Redis, e.g. 1795669149595-0")
    with letters_of(load_writer(file)) as letters:
        moved = letters.replay(ids or None)
    line: dict[str, Any] = {"on_the_way": moved}
    if as_json:
        out_json(line)
    elif moved:
        say(f"{count(moved, 'letter')} on the way", "green")
    else:
        say("no dead letters", "green")
