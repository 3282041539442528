"""Features by name, for tests."""

from __future__ import annotations

from gateway.features.engine import Engine
from gateway.features.spec import Spec
from gateway.features.whole import windows
from gateway.model import Array


def analyse(x: Array, spec: Spec, speed_hz: float | None = None) -> list[dict[str, float]]:
    """The features by name of every window of one channel."""
    engine = Engine(spec, 1)
    found = windows(x, engine, speed_hz)
    return [dict(zip(engine.names, row.tolist(), strict=True)) for row in found]
