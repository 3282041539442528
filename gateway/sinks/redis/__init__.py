"""Sink ``redis``: rows as entries of Redis Streams."""

from gateway.sinks.redis.sink import RedisConfig, RedisSink

__all__ = ["RedisConfig", "RedisSink"]
