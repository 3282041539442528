"""The `gateway` command: its subcommands, its manners and its exit codes.

0 good; 1 something is wrong with a device, a value, the running gateway or the output; 2 wrong
usage; 3 not running; 78 the configuration cannot be used; 130 stopped by Ctrl-C; 141 the reader of
the output has gone; 70 a bug.
"""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from gateway.commands import (
    alarms,
    config,
    db,
    device,
    doctor,
    importing,
    info,
    init,
    live,
    losses,
    reload,
    reprocess,
    run,
    send,
    serve,
    token,
    top,
    vibration,
    writer,
)
from gateway.commands.console import WrongUsage, out
from gateway.commands.ending import conduct
from gateway.commands.usage import Command

app = typer.Typer(
    name="gateway",
    help="Reads machines and delivers every row, or says what was lost and why. It never writes "
    "to a machine.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (
    init.init,
    doctor.doctor,
    run.run,
    config.check,
    config.plan,
    device.read,
    device.probe,
    live.status,
    live.tail,
    top.top,
    reload.reload,
    live.snapshot,
    send.send,
    losses.losses,
    vibration.spectrum,
    vibration.capture,
    vibration.features,
    reprocess.reprocess,
    run.sim,
    writer.writer,
    serve.serve,
    token.sign_in,
    info.drivers,
    config.schema,
):
    app.command(cls=Command)(command)
app.command("import")(importing.import_files)
app.add_typer(alarms.alarms)
app.add_typer(losses.dead_letters)
app.add_typer(db.db)
app.add_typer(token.tokens)


@app.callback(invoke_without_command=True)
def common(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --version: as JSON.")] = False,
) -> None:
    """Options of the command itself."""
    if version:
        info.version(as_json)
        raise typer.Exit
    if context.invoked_subcommand is None:
        if len(sys.argv) == 1:
            out(context.get_help())
            raise WrongUsage("missing command")
        context.fail("missing command; try 'gateway --help'")


def main() -> NoReturn:
    """Run the command line; ends the process."""
    conduct(_command)


def _command() -> int:
    app(prog_name="gateway")
    return 0
