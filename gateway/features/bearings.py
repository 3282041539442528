"""Rolling bearings: the frequencies of their parts, and the geometry of common ones by name."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LINES = ("ftf", "bpfo", "bpfi", "bsf2", "bsf")
"""The frequencies of a bearing, in the order of the columns.

Cage (fundamental train), ball pass outer race, ball pass inner race, twice the ball spin (a
defect of a ball strikes both races in a turn), ball spin.
"""

_FILE = Path(__file__).with_name("bearings.toml")
_GEOMETRY = "elements, ball diameter in mm, pitch diameter in mm, contact angle in degrees"


@dataclass(frozen=True, slots=True)
class Geometry:
    """What the frequencies of a bearing with a turning inner race depend on.

    ValueError where no bearing can have such numbers.
    """

    elements: int
    """Rolling elements in one row."""
    ball_mm: float
    """Diameter of a ball or roller."""
    pitch_mm: float
    """Diameter of the circle through the centres of the rolling elements."""
    angle_deg: float = 0.0
    """Contact angle."""

    def __post_init__(self) -> None:
        if self.elements < 3:
            raise ValueError(f"{self.elements} rolling elements; expected at least 3")
        if not 0.0 < self.ball_mm < self.pitch_mm < math.inf:
            raise ValueError(
                f"ball diameter {self.ball_mm:g} mm and pitch diameter {self.pitch_mm:g} mm; "
                "expected 0 < ball < pitch"
            )
        if not 0.0 <= self.angle_deg < 90.0:
            raise ValueError(f"contact angle {self.angle_deg:g} degrees; expected 0 to 90")
        # balls that overlap on their circle: the numbers are swapped or in different units
        if self.elements * math.asin(self.ball_mm / self.pitch_mm) > math.pi * 1.001:
            raise ValueError(
                f"{self.elements} elements of {self.ball_mm:g} mm do not fit on a circle of "
                f"{self.pitch_mm:g} mm"
            )

    def multiples(self) -> dict[str, float]:
        """Frequency of each of ``LINES`` per turn of the shaft, without slip.

        Kinematics of rolling without sliding; e.g. Randall and Antoni, Rolling element bearing
        diagnostics - a tutorial, MSSP 25 (2011) 485-520, equations 1 to 4.
        """
        part = self.ball_mm / self.pitch_mm * math.cos(math.radians(self.angle_deg))
        spin = self.pitch_mm / (2 * self.ball_mm) * (1 - part * part)
        return {
            "ftf": (1 - part) / 2,
            "bpfo": self.elements / 2 * (1 - part),
            "bpfi": self.elements / 2 * (1 + part),
            "bsf2": 2 * spin,
            "bsf": spin,
        }


@dataclass(frozen=True, slots=True)
class Bearing:
    """A bearing of the library."""

    name: str
    geometry: Geometry
    source: str
    """Where the numbers stand."""


@cache
def library() -> dict[str, Bearing]:
    """The bearings that are known by name."""
    import tomllib  # only what loads a configuration asks

    with _FILE.open("rb") as file:
        entries = tomllib.load(file)["bearing"]
    found: dict[str, Bearing] = {}
    for entry in entries:
        geometry = Geometry(
            entry["elements"], entry["ball_mm"], entry["pitch_mm"], entry.get("angle_deg", 0.0)
        )
        bearing = Bearing(entry["name"], geometry, entry["source"])
        for name in (entry["name"], *entry.get("also", ())):
            found[_plain(name)] = bearing
    return found


def find_bearing(designation: str | int) -> Bearing:
    """The bearing of that designation: ``6205``, ``SKF 6205-2RS``, ``6205 ZZ C3``...

    The maker before the number and what follows the basic designation (seals, clearance) do not
    count: they do not change the geometry that the library holds. ValueError names the nearest.
    """
    known = library()
    text = _plain(str(designation))
    if text in known:
        return known[text]
    basic = _basic(text)
    if basic in known:
        return known[basic]
    names = {_plain(b.name): b.name for b in known.values()}
    near = [names[n] for n in difflib.get_close_matches(basic, names, 3, 0.6)]
    hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(names.values())}"
    raise ValueError(
        f"no bearing '{designation}' in the library ({hint}); give its geometry: {_GEOMETRY}"
    )


def parse_geometry(text: str) -> Geometry:
    """The geometry written as ``9,7.94,39.04,0``; the angle may be left out. ValueError."""
    parts = [part.strip() for part in text.split(",")]
    expected = f"expected {_GEOMETRY}, such as 9,7.94,39.04,0"
    if len(parts) not in (3, 4):
        raise ValueError(f"geometry '{text}' has {len(parts)} numbers; {expected}")
    if not parts[0].isdecimal():
        raise ValueError(f"geometry '{text}': '{parts[0]}' is no number of elements; {expected}")
    try:
        rest = [float(part) for part in parts[1:]]
    except ValueError:
        raise ValueError(f"geometry '{text}' is not made of numbers; {expected}") from None
    return Geometry(int(parts[0]), *rest)


def _plain(text: str) -> str:
    return re.sub(r"[^0-9A-Z]", "", text.upper())


def _basic(text: str) -> str:
    """The designation of the library that a plain text holds (``SKF62052RSJEM``), or the text."""
    for known in sorted(library(), key=len, reverse=True):
        at = text.find(known)
        # not a piece of a longer number: 16205 and 62055 are other bearings, but 6205-2RS and
        # 6205-2Z are sealed and shielded ones
        if at < 0 or (at > 0 and known[0].isdigit() and text[at - 1].isdigit()):
            continue
        if re.match(r"(2?[A-Z]|$)", text[at + len(known) :]):
            return known
    return text
