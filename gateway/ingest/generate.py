"""Compiles ``proto/telemetry.proto``: ``python -m gateway.ingest.generate --write|--check``.

What is kept is the description that protoc makes of it, not generated code: code would only work
with the release of protobuf for which it was made.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from gateway.ingest.messages import DESCRIPTION

SOURCE = Path(__file__).parents[2] / "proto" / "telemetry.proto"


def compiled() -> bytes:
    """The description as protoc makes it now; needs grpcio-tools."""
    from grpc_tools import protoc  # type: ignore[import-untyped]

    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made"
        told = protoc.main(
            ["protoc", f"-I{SOURCE.parent}", f"--descriptor_set_out={made}", SOURCE.name]
        )
        if told != 0:
            raise SystemExit(f"{SOURCE}: protoc failed")
        return made.read_bytes()


def main(arguments: list[str]) -> int:
    """Write or compare; the exit code."""
    if arguments == ["--write"]:
        DESCRIPTION.write_bytes(compiled())
        return 0
    if arguments != ["--check"]:
        sys.stderr.write("usage: python -m gateway.ingest.generate --write|--check\n")
        return 2
    if not DESCRIPTION.exists() or DESCRIPTION.read_bytes() != compiled():
        command = "python -m gateway.ingest.generate --write"
        sys.stderr.write(f"{DESCRIPTION}: not as {SOURCE} says; run `{command}`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
