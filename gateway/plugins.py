"""Finds an installed driver or sink by the name of its entry point."""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from gateway.errors import GatewayError


def _registered(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"gateway.{group}")}


def installed(group: str) -> list[str]:
    """Names of what is installed in that group (``drivers``, ``sinks``)."""
    return sorted(_registered(group))


def find(group: str, what: str, name: str) -> Any:
    """The class of that name; only now its module is imported.

    ``what`` it is called in a message. GatewayError says what to install or the nearest name.
    """
    points = _registered(group)
    if name not in points:
        near = difflib.get_close_matches(name.lower(), points, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"installed: {', '.join(sorted(points))}"
        raise GatewayError(f"unknown {what} '{name}'; {hint}")
    try:
        return points[name].load()
    except ModuleNotFoundError as error:
        raise GatewayError(
            f"{what} '{name}' needs: pip install 'edge-gateway[{name}]' (missing: {error.name})"
        ) from error
