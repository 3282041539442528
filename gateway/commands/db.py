"""`gateway db`: the schema of PostgreSQL sinks, brought up and down; never by a running gateway.

FILE is a gateway's configuration, or that of `gateway writer`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.console import (
    EXIT_BAD,
    AsJson,
    ConfigFile,
    WrongUsage,
    complain,
    nearest,
    out,
    out_json,
    say,
)
from gateway.errors import GatewayError
from gateway.terminal import count

if TYPE_CHECKING:
    from gateway.sinks.postgres import PostgresConfig

db = typer.Typer(
    name="db",
    help="Make, check and change the tables of PostgreSQL sinks.",
    no_args_is_help=True,
)

SinkOption = Annotated[
    str | None, typer.Option("--sink", metavar="NAME", help="This sink, where there are several.")
]
UserOption = Annotated[
    str | None,
    typer.Option(
        "--user", metavar="ROLE", help="Do it as this role; the sink's own gets rights to write."
    ),
]
PasswordOption = Annotated[
    Path | None,
    typer.Option("--password-file", metavar="FILE", help="With --user: file of its password."),
]


@db.command()
def upgrade(
    file: ConfigFile,
    to: Annotated[
        str, typer.Option("--to", metavar="VERSION", help="Up to this version only.")
    ] = "head",
    sink: SinkOption = None,
    user: UserOption = None,
    password_file: PasswordOption = None,
    as_json: AsJson = False,
) -> None:
    """Make the tables, or bring them up to this gateway's version; rows stay.

    Where TimescaleDB is in the database, its policies are set as the sink is configured now.
    """
    from gateway.sinks.postgres import migrate

    name, config = _chosen(file, sink)
    acting = _as_role(config, user, password_file)
    before = migrate.state(acting)
    migrate.upgrade(acting, config.user, to)
    _done(name, config, before, migrate.state(acting), as_json=as_json)


@db.command()
def downgrade(
    file: ConfigFile,
    to: Annotated[
        str, typer.Option("--to", metavar="VERSION", help="Down to it; base: nothing is left.")
    ],
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask: what that version does not know is deleted.")
    ] = False,
    sink: SinkOption = None,
    user: UserOption = None,
    password_file: PasswordOption = None,
    as_json: AsJson = False,
) -> None:
    """Take the tables down to an older version; what it does not know is deleted."""
    from gateway.sinks.postgres import migrate

    name, config = _chosen(file, sink)
    acting = _as_role(config, user, password_file)
    before = migrate.state(acting)
    if not yes:
        what = "all tables and their rows" if to == "base" else f"what version {to} does not know"
        text = f"{config.url}, schema {config.schema_}: delete {what}?"
        if not typer.confirm(text, err=True):
            raise GatewayError("nothing was changed")
    migrate.downgrade(acting, to)
    _done(name, config, before, migrate.state(acting), as_json=as_json)


@db.command()
def history(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", readable=False, help="Also: which of them is there."),
    ] = None,
    sink: SinkOption = None,
    as_json: AsJson = False,
) -> None:
    """List the versions of the schema, oldest first."""
    _needs_extra()
    from gateway.sinks.postgres import migrate

    found = None if file is None else migrate.state(_chosen(file, sink)[1])
    if as_json:
        for step in migrate.steps():
            line: dict[str, Any] = step._asdict()
            out_json(line if file is None else {**line, "is_there": step.revision == found})
        return
    for step in migrate.steps():
        out(f"{step.revision}  {step.what}{'  (this one is there)' * (step.revision == found)}")


@db.command()
def check(file: ConfigFile, sink: SinkOption = None, as_json: AsJson = False) -> None:
    """Say whether the tables are those that this gateway writes to; else exit 1."""
    from gateway.sinks.postgres import migrate
    from gateway.sinks.postgres.schema import REVISION

    name, config = _chosen(file, sink)
    found = migrate.state(config)
    gone = migrate.missing(config) if found == REVISION else []
    is_good = found == REVISION and not gone
    where = f"schema {config.schema_} of {config.url}"
    if as_json:
        line = {"sink": name, "version": found, "expected": REVISION, "missing": gone}
        out_json({**line, "ok": is_good})
    elif is_good:
        out(f"{name}: good, version {found} in {where}")
    elif gone:
        complain(f"{name}: {', '.join(gone)} missing in {where}; expected a restored backup")
    elif found is None:
        complain(f"{name}: no tables in {where}; run `gateway db upgrade`")
    else:
        hint = "run `gateway db upgrade`" if found < REVISION else "update the gateway"
        complain(f"{name}: version {found} in {where}, expected {REVISION}; {hint}")
    if not is_good:
        raise typer.Exit(EXIT_BAD)


@db.command()
def windows(
    file: ConfigFile,
    captures: Annotated[
        list[Path],
        typer.Argument(metavar="CAPTURE...", readable=False, help="Files of `gateway capture`."),
    ],
    gateway: Annotated[
        str | None,
        typer.Option("--gateway", metavar="NAME", help="Of this gateway; else of that file's."),
    ] = None,
    sink: SinkOption = None,
    as_json: AsJson = False,
) -> None:
    """Store waveforms in table raw_window: files of `gateway capture`, or of alarms.

    What is there already stays as it is.
    """
    _needs_extra()
    from gateway.config import load
    from gateway.relay.loading import is_writer_file
    from gateway.sinks.postgres.windows import read_window, store_windows

    _, config = _chosen(file, sink)
    if gateway is None:
        if is_writer_file(file):
            raise WrongUsage(f"{file} is no gateway's; say by --gateway whose waveforms they are")
        gateway = load(file).name
    new = store_windows(config, gateway, map(read_window, captures))
    if as_json:
        out_json({"windows": len(captures), "new": new})
    else:
        say(f"{count(len(captures), 'window')}, {new} new, in {config.url}", "green")


def _done(
    name: str, config: PostgresConfig, before: str | None, after: str | None, *, as_json: bool
) -> None:
    if as_json:
        out_json({"sink": name, "before": before, "after": after})
    elif before == after:
        say(f"{name}: version {after or 'base'} already, in {config.url}", "green")
    else:
        text = f"{name}: from {before or 'nothing'} to {after or 'nothing'}, in {config.url}"
        say(f"{text}, schema {config.schema_}", "green")


def _needs_extra() -> None:
    from gateway.sinks import find_sink

    find_sink("postgres")  # says what to install where the libraries are missing


def _chosen(file: Path, sink: str | None) -> tuple[str, PostgresConfig]:
    _needs_extra()
    from gateway.config import load
    from gateway.relay.loading import is_writer_file, load_writer
    from gateway.sinks.postgres import PostgresConfig

    given = {"sink": load_writer(file).sink} if is_writer_file(file) else load(file).sinks
    sinks = {n: c for n, c in given.items() if isinstance(c, PostgresConfig)}
    if sink is not None:
        if sink not in sinks:
            raise WrongUsage(f"no PostgreSQL sink '{sink}'; {nearest(sink, sinks)}")
        return sink, sinks[sink]
    if len(sinks) != 1:
        names = f": {', '.join(sinks)}" if sinks else ""
        found = count(len(sinks), "sink")
        hint = "choose one by --sink" if sinks else "expected one"
        raise WrongUsage(f"{file} has {found} of type postgres{names}; {hint}")
    return next(iter(sinks.items()))


def _as_role(
    config: PostgresConfig, user: str | None, password_file: Path | None
) -> PostgresConfig:
    if user is None:
        if password_file is not None:
            raise WrongUsage("--password-file needs --user")
        return config
    return config.model_copy(
        update={"user": user, "password_file": password_file, "password_credential": None}
    )
