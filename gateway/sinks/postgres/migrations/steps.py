"""What the migrations are written with: SQL text of the step's own file, run as it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import op

VERSIONS = Path(__file__).parent / "versions"


def connection() -> Any:
    """The DB-API connection under Alembic's: SQL goes to the server as it is written."""
    return op.get_bind().connection.driver_connection


def run(file: str, **words: str | int) -> None:
    """Run a file of SQL; ``:name:`` in it stands for a word that was given."""
    text = (VERSIONS / file).read_text("utf-8")
    for name, word in words.items():
        text = text.replace(f":{name}:", str(word))
    execute(text)


def execute(text: str) -> None:
    """Run SQL that asks nothing back."""
    connection().execute(text)


def ask(text: str) -> Any:
    """The first column of the first row."""
    row = connection().execute(text).fetchone()
    return None if row is None else row[0]


def settings() -> dict[str, int]:
    """What `gateway db` was configured with: ``partition_ns``."""
    config = op.get_context().config
    return {} if config is None else dict(config.attributes["settings"])


def has_timescale() -> bool:
    """Whether the extension TimescaleDB is in this database."""
    return ask("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'") is not None
