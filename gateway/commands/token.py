"""`gateway token` and `gateway sign-in`: who may ask a gateway over TCP."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

from gateway.commands.client import client_for
from gateway.commands.console import (
    AsJson,
    ConfigFile,
    ConfigOption,
    SocketOption,
    WrongUsage,
    flush,
    nearest,
    out,
    out_json,
    say,
    table,
)
from gateway.errors import ConfigError, GatewayError

MAX_DAYS = 3650

tokens = typer.Typer(
    name="token",
    help="Make, list and revoke tokens of the API.",
    no_args_is_help=True,
)

TokenName = Annotated[
    str, typer.Argument(metavar="NAME", help="Of a person or program, e.g. prometheus.")
]


@tokens.command()
def add(
    file: ConfigFile,
    name: TokenName,
    role: Annotated[
        Literal["viewer", "operator", "ingest"],
        typer.Option(
            "--role",
            help="A viewer looks; an operator may acknowledge, shelve, disable, too; "
            "ingest only sends rows.",
        ),
    ] = "viewer",
    days: Annotated[
        int | None,
        typer.Option("--days", min=1, max=MAX_DAYS, help="Good for so many days; else for ever."),
    ] = None,
) -> None:
    """Make a token and print it, this once: the file keeps only its hash.

    The running gateway takes it within a second.
    """
    from gateway.api import tokens as api

    if fault := api.name_fault(name):
        raise WrongUsage(fault)
    path = tokens_file_of(file)
    today = api.today()
    expires = None if days is None else today + timedelta(days=days)
    made = api.new_token()
    with api.changing(path):
        known = api.read_tokens(path)
        if any(token.name == name for token in known):
            raise WrongUsage(
                f"{path} has a token '{name}' already; revoke it, or take another name"
            )
        if len(known) >= api.MAX_TOKENS:
            raise WrongUsage(f"{path} has {len(known)} tokens, which is the most")
        token = api.Token(name, role, api.digest_of(made), today, expires)
        api.write_tokens(path, [*known, token])
    out(made)
    flush()
    until = "" if expires is None else f", until {expires}"
    say(
        f"The token of '{name}' ({role}{until}); it is not shown again. Programs send it as\n"
        "  Authorization: Bearer TOKEN"
    )


@tokens.command("list")
def list_tokens(file: ConfigFile, as_json: AsJson = False) -> None:
    """Names and roles of all tokens."""
    from gateway.api import tokens as api

    path = tokens_file_of(file)
    known = api.read_tokens(path)
    today = api.today()
    if as_json:
        for token in known:
            out_json(
                {
                    "name": token.name,
                    "role": token.role,
                    "created": str(token.created),
                    "expires": token.expires and str(token.expires),
                    "good": token.is_good(today),
                }
            )
        return
    if not known:
        say(f"{path} has no tokens; `gateway token add` makes one")
        return
    rows = [[t.name, t.role, str(t.created), _until(t.expires, today)] for t in known]
    out(table(rows, ("NAME", "ROLE", "CREATED", "EXPIRES")))


def _until(expires: date | None, today: date) -> str:
    if expires is None:
        return "never"
    return str(expires) if today <= expires else f"{expires} (expired)"


@tokens.command()
def revoke(file: ConfigFile, name: TokenName) -> None:
    """Take a token back. The running gateway refuses it, and ends its sessions, within a second."""
    from gateway.api import tokens as api

    path = tokens_file_of(file)
    with api.changing(path):
        known = api.read_tokens(path)
        names = [token.name for token in known]
        if name not in names:
            raise WrongUsage(f"{path} has no token '{name}'; {nearest(name, names)}")
        api.write_tokens(path, [token for token in known if token.name != name])
    say(f"The token of '{name}' counts no more.")


def sign_in(
    socket: SocketOption = None, config: ConfigOption = None, as_json: AsJson = False
) -> None:
    """Print a code to sign in to the page with.

    For a browser at this machine, and one use within 10 minutes. Whoever may open the gateway's
    Unix socket may have one.
    """
    document = client_for(socket, config).post_json("/v1/session/codes")
    if as_json:
        out_json(document)
        return
    out(document["code"])
    flush()
    where = document["url"] or "the page of the gateway, in a browser at this machine"
    say(f"Sign in with it at {where} within 10 minutes; you act there as {document['who']}.")


def tokens_file_of(config: Path) -> Path:
    """``api.tokens_file`` of a configuration, which need not exist yet, nor the rest be right."""
    from gateway.yamlfile import read_yaml

    document = read_yaml(config)
    api = document.root.get("api")
    given = api.get("tokens_file") if isinstance(api, dict) else None
    if given is None:
        raise GatewayError(
            f"{config}: names no file for tokens; "
            "expected e.g. `api: {tokens_file: tokens, listen: ...}`"
        )
    if not isinstance(given, str):
        fault = document.place(("api", "tokens_file")).fault("not a path; expected text")
        raise ConfigError([fault])
    return (config.absolute().parent / given).resolve()
