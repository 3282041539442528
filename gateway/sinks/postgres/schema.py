"""What the sink expects of the database: the schema's version, and how it is cut in pieces."""

from __future__ import annotations

from gateway.errors import SinkUnavailable
from gateway.sinks.postgres.client import Connection

REVISION = "0001"
"""The version of the schema that this code reads and writes: the newest of `migrations/`."""

TABLES = (
    *("layout", "source", "series", "quality", "sample", "raw_window"),
    *("gateway_alarm", "gateway_loss", "gateway_event", "gateway_audit"),
)

DAY_NS = 86_400_000_000_000


def version_of(db: Connection) -> str | None:
    """The version of the schema; None where there is none."""
    there = db.execute("SELECT to_regclass('schema_version')").fetchone()
    if there is None or there[0] is None:
        return None
    found = db.execute("SELECT version_num FROM schema_version").fetchone()
    return None if found is None else str(found[0])


def missing_tables(db: Connection) -> list[str]:
    """Tables that somebody has dropped."""
    rows = db.execute(
        "SELECT t FROM unnest(%s::text[]) AS t WHERE to_regclass(t) IS NULL", (list(TABLES),)
    )
    return [str(name) for (name,) in rows]


def expect_schema(db: Connection) -> None:
    """SinkUnavailable, with what to run, where the schema is not the one that is written here."""
    found = version_of(db)
    if found == REVISION:
        return
    if found is None:
        text = "the database has none of the gateway's tables; run `gateway db upgrade`"
    elif found < REVISION:
        text = f"the schema is version {found}, expected {REVISION}; run `gateway db upgrade`"
    else:
        text = f"the schema is version {found}, newer than this gateway's {REVISION}; update it"
    raise SinkUnavailable(text, operator=True)
