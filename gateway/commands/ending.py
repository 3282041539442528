"""How a command ends, whatever it did: its last words and its exit code."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from gateway.commands.printing import (
    EXIT_BAD,
    EXIT_BUG,
    EXIT_CONFIG,
    EXIT_INTERRUPTED,
    EXIT_NOT_RUNNING,
    EXIT_PIPE,
    EXIT_USAGE,
    OutputFailed,
    WrongUsage,
    complain,
    flush,
    say,
)
from gateway.errors import ConfigError, GatewayError
from gateway.terminal import count, printable

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def conduct(command: Callable[[], int]) -> NoReturn:
    """Run a command to its end, and the process with it.

    ``command`` returns the exit code, or raises: SystemExit, or what went wrong.
    """
    # whoever closed one (`>&-`) does not want to read it
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123 - until the end
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # what the terminal's encoding lacks is printed as \\u..., not as a traceback
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _run(command)
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


def _run(command: Callable[[], int]) -> int | str | None:
    stdout = sys.stdout
    try:
        return command()
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
