"""`gateway send`: rows from a file or a pipe into a gateway, until they are on its disk."""

from __future__ import annotations

import importlib.util
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

import typer

from gateway.commands.console import EXIT_BAD, AsJson, WrongUsage, complain, out_json, say
from gateway.errors import GatewayError
from gateway.terminal import count, printable

if TYPE_CHECKING:
    from gateway.ingest.points import Faults
    from gateway.model import Row

GROUP_ROWS = 500
"""Rows of one message."""

PIECE = 65536


def send(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", readable=False, help="What to send; - for stdin.")
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="HOST:PORT", help="ingest.grpc.listen of the gateway.")
    ],
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            readable=False,
            help="A file with the token, and no more.",
        ),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            "--ca-file", metavar="FILE", readable=False, help="TLS: the CA of the gateway (PEM)."
        ),
    ] = None,
    certificate_file: Annotated[
        Path | None,
        typer.Option(
            "--certificate-file", metavar="FILE", readable=False, help="TLS: who we are (PEM)."
        ),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option("--key-file", metavar="FILE", readable=False, help="TLS: its key (PEM)."),
    ] = None,
    form: Annotated[
        Literal["lines", "ndjson"],
        typer.Option("--form", help="lines: InfluxDB's line protocol; ndjson: a JSON row a line."),
    ] = "lines",
    precision: Annotated[
        Literal["ns", "us", "ms", "s"],
        typer.Option("--precision", help="Unit of the times of line protocol."),
    ] = "ns",
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="Of rows that name none; else this host."),
    ] = None,
    give_up_s: Annotated[
        float,
        typer.Option(
            "--give-up-s", metavar="S", min=0, help="Longest wait for a gateway that is away."
        ),
    ] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Send rows to a gateway by gRPC, until they are on disk.

    What was not acknowledged when the connection breaks is sent again. Lines that are wrong are
    named and left out; then the exit code is 1.
    """
    if importlib.util.find_spec("grpc") is None:
        needed = "pip install 'edge-gateway[ingest]'"
        raise GatewayError(f"`gateway send` needs: {needed} (missing: grpc)")
    from gateway.ingest.client import Credentials, Sender
    from gateway.ingest.points import Faults
    from gateway.ingest.settings import listen_address

    try:
        listen_address(to)
    except ValueError as error:
        raise WrongUsage(f"--to: {error}") from error
    if ca_file is None and (certificate_file or key_file):
        raise WrongUsage("--certificate-file and --key-file need --ca-file")
    token = None if token_file is None else _token(token_file)
    credentials = Credentials(token, ca_file, certificate_file, key_file)
    faults = Faults()
    name = device or socket.gethostname()
    begun_s = time.monotonic()
    try:
        with sys.stdin.buffer if str(file) == "-" else file.open("rb") as source:
            groups = _groups(source, form, precision, name, faults)
            sent = Sender(to, credentials, give_up_s).send(groups)
    except OSError as error:
        raise GatewayError(f"{file}: {error.strerror}") from error
    took_s = time.monotonic() - begun_s
    for fault in faults.told:
        complain(f"{file}:{fault.line}:{fault.col}: {printable(fault.what)}")
    for words in sent.words:
        complain(f"{to}: {printable(words)}")
    stored = sent.rows - sent.refused
    if as_json:
        document = {"rows": stored, "refused": sent.refused, "faults": faults.count}
        out_json({**document, "took_s": round(took_s, 3)})
    else:
        say(f"{count(stored, 'row')} on the disk of {to}, in {took_s:.1f} s")
    if faults.count or sent.refused:
        if not as_json:
            complain(f"left out: {count(faults.count + sent.refused, 'line')}")
        raise typer.Exit(EXIT_BAD)


def _token(file: Path) -> str:
    try:
        text = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise GatewayError(f"{file}: {getattr(error, 'strerror', None) or error}") from error
    if not text or len(text) > 500 or not text.isprintable():
        raise GatewayError(f"{file}: no token; expected what `gateway token add` printed")
    return text


def _groups(
    source: BinaryIO, form: str, precision: str, device: str, faults: Faults
) -> Iterator[Sequence[Row]]:
    """The rows of a file, or of a pipe as they come, each with a time."""
    from gateway.ingest.jsonrows import JsonReader
    from gateway.ingest.lineprotocol import LineReader
    from gateway.ingest.points import Points
    from gateway.ingest.shapes import Shapes

    shapes = Shapes("", 1_000_000, 10_000, lambda _: False)
    lines = LineReader(shapes, device, precision)
    documents = JsonReader(shapes, device)
    points = Points()
    number, rest = 1, b""
    while True:
        piece = source.read1(PIECE) if hasattr(source, "read1") else source.read(PIECE)
        rest += piece
        end = rest.rfind(b"\n") + 1 if piece else len(rest)
        text, rest = rest[:end], rest[end:]
        now_ns = time.time_ns()
        if form == "lines":
            number += lines.read(text, number, points, faults, now_ns)
        else:
            number += documents.read_lines(text, number, points, faults, now_ns)
        rows = points.made(lambda _: time.time_ns())
        for at in range(0, len(rows), GROUP_ROWS):
            yield rows[at : at + GROUP_ROWS]
        if not piece:
            return
