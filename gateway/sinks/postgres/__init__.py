"""PostgreSQL, with or without TimescaleDB."""

from gateway.sinks.postgres.settings import PostgresConfig
from gateway.sinks.postgres.sink import PostgresSink

__all__ = ["PostgresConfig", "PostgresSink"]
