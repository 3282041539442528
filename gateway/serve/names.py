"""Names of devices among those of all gateways: ``gateway:device``, as two may have one name."""

from __future__ import annotations

from collections.abc import Iterable

MARK = ":"
MOST_NAMED = 10


def fleet_name(gateway: str, name: str) -> str:
    """The name of a device, a sink, an alarm... of one gateway."""
    return f"{gateway}{MARK}{name}"


def own_name(name: str, gateways: Iterable[str]) -> tuple[str, str] | None:
    """The gateway, and the name that it has there; None where no gateway fits."""
    fitting = [g for g in gateways if name.startswith(f"{g}{MARK}")]
    gateway = max(fitting, key=len, default=None)
    return None if gateway is None else (gateway, name[len(gateway) + 1 :])


def ask_the(gateways: Iterable[str]) -> str:
    """Where what only a gateway has is to be asked for."""
    names = sorted(gateways)
    more = ", ..." if len(names) > MOST_NAMED else ""
    return f"this node shows many gateways: ask {', '.join(names[:MOST_NAMED]) or 'them'}{more}"
