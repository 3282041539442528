"""`gateway import`: a device map from what other tools export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gateway.commands.console import WrongUsage, complain, out, say
from gateway.terminal import count, printable

if TYPE_CHECKING:
    from gateway.importers.convert import Imported

MAX_SHOWN = 50
"""Most messages of one kind."""


def import_files(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", readable=False, help="Exports of one device."),
    ],
    db: Annotated[
        int | None, typer.Option("--db", min=1, max=65535, help="Number of the data block.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the group.")
    ] = None,
    interval: Annotated[
        float, typer.Option("--interval", min=0.005, max=86400, help="Seconds between two polls.")
    ] = 1.0,
    base: Annotated[
        int | None,
        typer.Option(
            "--base", min=0, max=1, help="Register lists: do addresses count from 0 or 1?"
        ),
    ] = None,
    order: Annotated[
        Literal["ABCD", "DCBA", "BADC", "CDAB"] | None,
        typer.Option("--order", help="Register lists: byte and word order where none is said."),
    ] = None,
    table: Annotated[
        Literal["holding", "input", "coil", "discrete"] | None,
        typer.Option("--table", help="Register lists: the table where none is said."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="MAP.yaml", readable=False, help="Write there, not to stdout."
        ),
    ] = None,
) -> None:
    """Make a device map from a TIA Portal export or register list.

    From TIA Portal and STEP 7: sources of data blocks and types (.db, .udt, .scl, .awl), tag tables
    (XML, CSV, .sdf). For Modbus: register lists (CSV). What cannot be read is listed with its line,
    never guessed.
    """
    from gateway.importers.convert import Options, convert

    if output is not None and output.exists():
        raise WrongUsage(f"{output} exists already; remove it, or choose another name")
    made = convert(files, Options(db, name, interval, base, order, table))
    _check(made)
    if output is None:
        out(made.text.rstrip("\n"))
    else:
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(made.text)
        except OSError as error:
            raise WrongUsage(f"{output} cannot be written: {error.strerror}") from error
    _tell(made, output)


def _check(made: Imported) -> None:
    """The map must pass what `gateway check` asks of any map; anything else is a bug of ours."""
    import tempfile

    from gateway.config import load
    from gateway.driver import installed_drivers
    from gateway.errors import ConfigError

    driver = made.made.driver
    if driver not in installed_drivers():
        return
    fill = ", ".join(f"{name}: {n}" for n, name in enumerate(made.made.placeholders, 1))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "map.yaml").write_text(made.text, "utf-8")
        (root / "gateway.yaml").write_text(
            "gateway: {name: import}\nstate_dir: state\napi: {socket: s}\n"
            "sinks: {history: {type: sqlite}}\n"
            f"devices:\n  d: {{driver: {driver}, host: 127.0.0.1, map: map.yaml, "
            f"with: {{{fill}}}}}\n",
            "utf-8",
        )
        try:
            load(root / "gateway.yaml")
        except ConfigError as error:
            first = error.faults[0]
            message = f"the map that was made does not pass the check: {first.message}"
            raise AssertionError(f"{message} (line {first.place.line})") from None


def _tell(made: Imported, output: Path | None) -> None:
    from gateway.importers.files import sort_faults

    report = made.report
    for label, faults in (
        ("renamed", report.renamed), ("warning", report.warnings), ("left out", report.omitted),
    ):  # fmt: skip
        for fault in sort_faults(faults)[:MAX_SHOWN]:
            complain(printable(str(fault)), label)
        if len(faults) > MAX_SHOWN:
            complain(f"{len(faults) - MAX_SHOWN} more of these", label)
    left = f"; {len(report.omitted)} left out" if report.omitted else ""
    groups = count(len(made.made.groups), "group")
    say(f"{count(made.made.tags, 'tag')} in {groups}{left}", "yellow" if left else "green")
    fill = ", ".join(f"{name}: NUMBER" for name in made.made.placeholders)
    with_ = f", with: {{{fill}}}" if fill else ""
    name = "MAP.yaml" if output is None else str(output)
    say(
        f"next, in gateway.yaml under devices:  NAME: {{driver: {made.made.driver}, "
        f"host: ADDRESS, map: {printable(name)}{with_}}}  and then: gateway check gateway.yaml"
    )
