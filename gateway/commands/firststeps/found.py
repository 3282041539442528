"""What probing found, and what is to be written of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class FoundDevice:
    """A device to write: its settings in the order of the file."""

    name: str
    settings: dict[str, Any]


@dataclass(slots=True)
class Found:
    """One machine, or one line with its units: all its devices share the map."""

    where: str
    answers: bool
    said: list[str]
    """What was found, for people."""
    faults: list[str] = field(default_factory=list)
    """What was found and should be otherwise."""
    hints: list[str] = field(default_factory=list)
    """What to look at where it does not answer as it should."""
    devices: list[FoundDevice] = field(default_factory=list)
    buses: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    map_text: str = ""
