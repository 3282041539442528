"""InfluxDB 2 and what speaks its write API."""

from gateway.sinks.influxdb.sink import InfluxConfig, InfluxSink

__all__ = ["InfluxConfig", "InfluxSink"]
