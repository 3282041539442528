"""The `gateway` command: its subcommands, its manners and its exit codes.

0 good; 1 something is wrong with a device, a value, the running gateway or the output; 2 wrong
usage; 3 not running; 78 the configuration cannot be used; 130 stopped by Ctrl-C; 141 the reader of
the output has gone; 70 a bug.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
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
    run,
    send,
    serve,
    token,
    top,
    vibration,
    writer,
)
from gateway.commands.console import (
    EXIT_BAD,
    EXIT_CONFIG,
    EXIT_NOT_RUNNING,
    EXIT_USAGE,
    OutputFailed,
    WrongUsage,
    complain,
    flush,
    out,
    say,
)
from gateway.errors import ConfigError, GatewayError
from gateway.terminal import count, printable

EXIT_BUG = 70
"""EX_SOFTWARE of sysexits.h."""
EXIT_PIPE = 141
"""What a shell calls the end of a program whose reader has gone (128 + SIGPIPE)."""
EXIT_INTERRUPTED = 130

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

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
    run.sim,
    writer.writer,
    serve.serve,
    token.sign_in,
    info.drivers,
    config.schema,
):
    app.command()(command)
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
    # whoever closed one (`>&-`) does not want to read it
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123 - until the end
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # what the terminal's encoding lacks is printed as \\u..., not as a traceback
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _run()
        flush()
    except OutputFailed as error:
        _silence(1)
        status = EXIT_PIPE
        if not error.reader_gone:  # else (`gateway tail | head`) nothing is left to say
            complain(str(error))
            status = EXIT_BAD
    try:
        sys.stderr.flush()
    except OSError:
        _silence(2)
    sys.exit(status)


def _silence(stream: int) -> None:
    """What is still to be written goes nowhere, without a fault when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


def _run() -> int | str | None:
    stdout = sys.stdout
    try:
        app(prog_name="gateway")
    except SystemExit as end:
        if sys.stdout is not stdout:  # so typer ends its help where the reader has gone
            raise OutputFailed(BrokenPipeError(errno.EPIPE, "")) from end
        return end.code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OutputFailed:
        raise
    except OSError as error:
        flush()  # fails again where it was the output that failed
        if error.errno in _FULL:
            complain(f"cannot write: {error.strerror}")
            return EXIT_BAD
        return _failed(error)
    except BaseExceptionGroup as group:
        ours = group.subgroup(GatewayError)
        return _failed(_first(ours or group))
    except Exception as error:
        return _failed(error)
    return 0


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _failed(error: BaseException) -> int:
    if os.environ.get("GATEWAY_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, ConfigError):
        for fault in error.faults:
            say(printable(str(fault)))
        say(f"{count(len(error.faults), 'fault')}; nothing was started", "red")
        return EXIT_CONFIG
    if isinstance(error, GatewayError):
        from gateway.api.client import NotRunning, RequestFailed

        complain(printable(str(error)))
        if isinstance(error, NotRunning):
            return EXIT_NOT_RUNNING
        wrong = isinstance(error, RequestFailed) and error.status in (400, 404)
        return EXIT_USAGE if wrong or isinstance(error, WrongUsage) else EXIT_BAD
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "?"
    complain(
        f"this is a bug in the gateway, not yours: {type(error).__name__}: "
        f"{printable(str(error))}; at {where}, GATEWAY_DEBUG=1 shows more"
    )
    return EXIT_BUG
