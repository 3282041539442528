"""The embedded SQLite historian: a durable sink that any technician can query."""

from gateway.sinks.historian.sink import (
    HistorianConfig,
    HistorianSink,
    days_that_fit,
    minute_days_that_fit,
)

__all__ = ["HistorianConfig", "HistorianSink", "days_that_fit", "minute_days_that_fit"]
