"""Prints the manual page gateway(1), made from the help of the commands themselves."""

from __future__ import annotations

import re
from typing import Any

import typer.main

from gateway import __version__
from gateway.cli import app


def escaped(text: str) -> str:
    """Text for roff."""
    text = re.sub(r"[\x08\f]", "", text).replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line[:1] in ".'" else line for line in text.splitlines())


def usage(command: Any, path: str) -> list[str]:
    """One command: its words, arguments and options."""
    lines = [f".SS {escaped(path)}", escaped((command.help or "").strip())]
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        if parameter.param_type_name == "argument":
            names = parameter.metavar or parameter.name.upper()
        else:
            names = ", ".join((*parameter.opts, *parameter.secondary_opts))
        lines += [".TP", f"\\fB{escaped(names)}\\fR", escaped(getattr(parameter, "help", "") or "")]
    return lines


def commands(command: Any, path: str) -> list[str]:
    """All commands below this one."""
    children = getattr(command, "commands", None)
    if not children:
        return usage(command, path)
    return [line for name in children for line in commands(children[name], f"{path} {name}")]


def main() -> None:
    """Print the page."""
    root = typer.main.get_command(app)
    print(
        "\n".join(
            [
                f'.TH GATEWAY 1 "" "edge-gateway {__version__}"',
                ".SH NAME",
                "gateway \\- reads PLCs and DAQ cards and delivers every row",
                ".SH SYNOPSIS",
                "\\fBgateway\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR] [\\fIFILE\\fR]",
                ".SH DESCRIPTION",
                escaped((root.help or "").strip()),
                ".SH COMMANDS",
                *commands(root, "gateway"),
                ".SH FILES",
                ".TP\n/etc/edge\\-gateway/gateway.yaml\nThe configuration of the service.",
                ".TP\n/var/lib/edge\\-gateway\nWhat waits to be delivered, the historian, alarms.",
                ".TP\n/run/gateway.sock\nThe status socket, for the group edge\\-gateway.",
                ".SH EXIT STATUS",
                ".TP\n0\nAll is well.\n.TP\n1\nA device or a server is at fault.",
                ".TP\n2\nThe command line is at fault.\n.TP\n3\nThe gateway is not running.",
                ".TP\n78\nThe configuration is at fault; the text says where.",
            ]
        )
    )


if __name__ == "__main__":
    main()
