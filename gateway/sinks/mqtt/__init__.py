"""Sink ``mqtt``: rows as JSON messages."""

from gateway.sinks.mqtt.settings import MqttConfig
from gateway.sinks.mqtt.sink import MqttSink

__all__ = ["MqttConfig", "MqttSink"]
