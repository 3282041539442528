"""The servers that a document's files name, as real ones: its hosts become places of this PC."""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.docs.kit import written
from tests.sims.postgres_server import PostgresServer
from tests.support import free_port
from tests.system.cli_kit import environment


def file_of(page: str, first: str) -> str:
    """The text of the block of a page that begins with this line."""
    (text,) = (text for _, _, text in written(page) if text.startswith(first + "\n"))
    return text


def owned_database(server: PostgresServer, folder: Path, database: str, user: str) -> None:
    """A database of its own role, whose password stands in ``db.password``."""
    password = secrets.token_hex(8)
    secret = folder / "db.password"
    secret.write_text(password)
    secret.chmod(0o600)
    with server.connect("postgres") as db:
        db.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")
        db.execute(f"CREATE DATABASE {database} OWNER {user}")


def here(text: str, folder: Path, **ports: int) -> str:
    """A file of a page for this PC: ``ports`` of the hosts whose name begins with the key."""
    for name, port in ports.items():
        text, count = re.subn(
            rf"host: {name}\.plant\.example", f"host: 127.0.0.1, port: {port}", text
        )
        assert count, f"{name}: the page names no such host"
    text = re.sub(r"socket: /run/\S+?(?=[,}\s])", f"socket: {folder / 's'}", text)
    return re.sub(r"(?:0\.0\.0\.0|127\.0\.0\.1):\d+", lambda _: f"127.0.0.1:{free_port()}", text)


@contextmanager
def running(
    command: str, folder: Path, log: Path, code: int = 0
) -> Iterator[subprocess.Popen[bytes]]:
    """A command that goes on until SIGTERM, as a reader's shell starts it; then with this code."""
    path = f"{folder}/.venv/bin:/usr/local/bin:/usr/bin:/bin"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["sh", "-c", f"exec {command}"],
            cwd=folder,
            env=environment(PATH=path),
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    said = log.read_text("utf-8", "replace")
    assert process.returncode == code, f"{command}\n{said}"
    assert "Traceback" not in said, f"{command}\n{said}"
