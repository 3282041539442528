"""${message}"""

from __future__ import annotations

from gateway.sinks.postgres.migrations.steps import run

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Go there."""


def downgrade() -> None:
    """Go back."""
