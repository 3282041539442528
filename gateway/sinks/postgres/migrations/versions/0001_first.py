"""Sources, series, samples, the gateway's own tables, and the views."""

from __future__ import annotations

from gateway.sinks.postgres.migrations.steps import execute, has_timescale, run, settings

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make everything."""
    native = not has_timescale()
    run("0001_tables.sql", partitioned="PARTITION BY RANGE (time_ns)" if native else "")
    run("0001_upkeep.sql")
    run("0001_views.sql")
    width_ns = settings()["partition_ns"]
    kind = "native" if native else "timescale"
    execute(f"INSERT INTO layout (kind, partition_ns) VALUES ('{kind}', {width_ns})")
    if native:
        execute("CREATE TABLE sample_other PARTITION OF sample DEFAULT")
    else:
        run("0001_timescale.sql", partition_ns=width_ns)


def downgrade() -> None:
    """Drop everything; the rows go with it."""
    run("0001_drop.sql")
