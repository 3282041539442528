"""A Redis for each test, and a writer's file into a database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.faults.conftest import proof
from tests.fleet import kit
from tests.sims.redis_server import RedisPeer, redis_server
from tests.sinks.postgreskit import Plant, plant, server
from tests.support import CI, free_port

__all__ = ["plant", "proof", "server"]

# the long test runs in CI, and with the fault tests
collect_ignore = [] if CI or os.environ.get("GATEWAY_FAULTS") else ["test_chaos.py"]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[RedisPeer]:
    # it is killed by some, and is to come back to the same port
    with redis_server(tmp_path / "redis", port=free_port()) as made:
        yield made


@pytest.fixture
def client(peer: RedisPeer) -> Iterator[redis.Redis]:
    with peer.client() as made:
        yield made


@pytest.fixture
def file(peer: RedisPeer, plant: Plant, tmp_path: Path) -> Path:
    return kit.write_file(tmp_path, peer.port, kit.to_postgres(plant))
