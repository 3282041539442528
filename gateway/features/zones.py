"""Evaluation zones of machine vibration: A (as new) to D (damage is likely)."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from gateway.model import Array

ZONES = ("A", "B", "C", "D")

_FILE = Path(__file__).with_name("zones.toml")


@dataclass(frozen=True, slots=True)
class Zones:
    """The boundaries of one kind of machine, in mm/s RMS: A/B, B/C and C/D."""

    boundaries: tuple[float, float, float]
    what: str
    """The machines that it is for."""
    provenance: str
    """Where the numbers come from, and what is not certain about them."""


@cache
def tables() -> dict[str, Zones]:
    """The zones that are known by name, ``iso_20816_3_group_2_rigid`` and the like."""
    import tomllib  # only what loads a configuration asks

    with _FILE.open("rb") as file:
        entries = tomllib.load(file)
    return {
        name: Zones(boundaries(e["boundaries"]), e["what"], e["provenance"].strip())
        for name, e in entries.items()
    }


def find_zones(name: str) -> Zones:
    """The zones of that name; ValueError names the nearest."""
    known = tables()
    if name not in known:
        near = difflib.get_close_matches(name.lower().replace("-", "_"), known, 2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        raise ValueError(f"no zones '{name}'; {hint} or give three boundaries in mm/s")
    return known[name]


def boundaries(numbers: Sequence[float]) -> tuple[float, float, float]:
    """Three boundaries in mm/s RMS, checked; ValueError in words."""
    if len(numbers) != 3 or not 0 < numbers[0] < numbers[1] < numbers[2]:
        listed = ", ".join(f"{n:g}" for n in numbers)
        raise ValueError(
            f"zone boundaries [{listed}]; expected three rising velocities in mm/s: A/B, B/C, C/D"
        )
    return float(numbers[0]), float(numbers[1]), float(numbers[2])


def zones(velocity_rms: Array, limits: Sequence[float]) -> list[str]:
    """The zones of the velocities [C] in mm/s RMS of C channels.

    One on a boundary is in the better zone: standards leave it open, and programs differ. NaN is
    in none, which "" stands for.
    """
    at = np.searchsorted(np.asarray(limits), velocity_rms, side="left")
    return ["" if v != v else ZONES[i] for v, i in zip(velocity_rms, at, strict=True)]
