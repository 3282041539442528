"""When there are more new alarms than a person can follow (ISA-18.2: alarm flood).

A flood is an alarm itself, ``gateway/flood``: while it lasts, notifiers are told of it and of what
is urgent. Everything else is recorded, published and shown as ever.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from gateway.alarms.conditions import Verdict, View
from gateway.alarms.model import ORDER, Severity
from gateway.alarms.rules import Rule
from gateway.alarms.settings import FloodConfig
from gateway.alarms.words import Template
from gateway.analysis.livetags import LiveTag

DEVICE = "gateway"
NAME = "flood"


class Flood:
    """Counts new alarms. All times are of the monotonic clock."""

    def __init__(self, config: FloodConfig) -> None:
        self.is_on = False
        self.held_back = 0
        """Transitions that notifiers were not told of, since the flood began."""
        self._config = config
        self._times: deque[float] = deque(maxlen=config.alarms + 1)

    def configure(self, config: FloodConfig) -> None:
        """Count by these numbers from now on."""
        if config != self._config:
            self._config = config
            self._times = deque(self._times, maxlen=config.alarms + 1)

    @property
    def new_alarms(self) -> int:
        """New alarms in the window; no more than the first too many are counted."""
        return len(self._times)

    def raised(self, now_s: float) -> bool:
        """One more; whether with it a flood begins."""
        self._times.append(now_s)
        self.look(now_s)
        if self.is_on or len(self._times) <= self._config.alarms:
            return False
        self.is_on, self.held_back = True, 0
        return True

    def look(self, now_s: float) -> None:
        """Forget what is over, and end the flood where it is."""
        while self._times and self._times[0] + self._config.window_s <= now_s:
            self._times.popleft()
        if self.is_on and len(self._times) < self._config.ends_below:
            self.is_on = False

    def look_at_s(self) -> float | None:
        """When it ends if no more come; None where there is none."""
        if not self.is_on:
            return None
        return self._times[-min(self._config.ends_below, len(self._times))] + self._config.window_s

    def holds_back(self, severity: Severity) -> bool:
        """Whether notifiers are not told of it now; counted."""
        if not self.is_on or ORDER[severity] >= ORDER[Severity(self._config.push)]:
            return False
        self.held_back += 1
        return True


@dataclass(slots=True, frozen=True)
class Flooded:
    """The condition of ``gateway/flood``."""

    flood: Flood
    limit: float
    word: str = "flood"

    @property
    def tags(self) -> tuple[LiveTag, ...]:
        """It reads none."""
        return ()

    def begin(self) -> Any:
        """The flood itself remembers."""
        return None

    def look_at_s(self, memory: Any) -> float | None:
        """When it ends."""
        return self.flood.look_at_s()

    def judge(self, view: View, memory: Any, *, active: bool) -> Verdict:
        """Whether there is one."""
        self.flood.look(view.now_s)
        return Verdict(self.flood.is_on, float(self.flood.new_alarms), self.limit)


def flood_rule(flood: Flood, config: FloodConfig) -> Rule:
    """The alarm of a flood."""
    window = f"{config.window_s:g} s"
    return Rule(
        DEVICE,
        NAME,
        Severity.HIGH,
        Flooded(flood, float(config.alarms)),
        Template(
            (
                f"alarm flood: more than {config.alarms} new alarms in {window}; until it ends, "
                f"notifiers are told only of alarms that are at least {config.push}",
            )
        ),
        f"more than {config.alarms} new alarms in {window}, "
        f"returns when there are fewer than {config.ends_below}",
        "flood",
    )
