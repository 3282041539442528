"""`gateway`, and `python -m gateway`, which is the same.

A service runs for years and has no use for what reads a command line, 2 MB and 0.2 s at its start:
`gateway run FILE`, as the unit says it, is known here. All else is known to `gateway.cli`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn


def main() -> NoReturn:
    """Do what the command line says; ends the process."""
    words = sys.argv[1:]
    is_plain = len(words) == 2 and words[0] == "run" and not words[1].startswith("-")
    if is_plain and "_GATEWAY_COMPLETE" not in os.environ:  # a shell asks so for words
        _run(Path(words[1]))
    from gateway.cli import main as command_line

    command_line()


def _run(file: Path) -> NoReturn:
    from gateway.commands.ending import conduct
    from gateway.commands.service import run_gateway

    conduct(lambda: run_gateway(file))


if __name__ == "__main__":
    main()
