"""What a sink may be told of the gateway itself, besides its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable


class Facts(NamedTuple):
    """How the gateway and its alarms are; all of it may be called from any thread, without I/O."""

    name: str
    """The gateway's."""
    status: Callable[[], Mapping[str, Any]]
    """The status document, see `gateway.api.view`."""
    alarms: Callable[[], Sequence[Mapping[str, Any]]]
    """Alarms that are not normal, in the shape of `alarmschemas.ActiveAlarm`."""
    listen: Callable[[Callable[[Mapping[str, Any]], None]], Callable[[], None]]
    """Be told of every transition (`alarmschemas.AlarmTransition`); returns what ends it."""
    operate: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    """Do a command of `gateway.fleet`, and say what came of it; this one blocks."""


@runtime_checkable
class Tells(Protocol):
    """A sink that passes on how the gateway is."""

    def tell(self, facts: Facts) -> None:
        """Begin; ends with `close`."""
