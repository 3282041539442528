"""Times as people and programs write them in a query: ISO 8601, since 1970, or relative to now."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

EXPECTED = (
    "ISO 8601 (2026-03-01T06:00:00Z; no offset means UTC), seconds, ms, us or ns since 1970, "
    "'now', or relative: -90s, -15m, -1h, -7d"
)

_RELATIVE = re.compile(r"-(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d|w)", re.ASCII)
_NUMBER = re.compile(r"\d{1,20}(?:\.\d{1,9})?", re.ASCII)
_OFFSET_AS_SPACE = re.compile(r"(.*\d) (\d\d:?\d\d)")
_UNITS_NS = {
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
    "w": 7 * 86400 * 10**9,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_NS = 2**63 - 1


def parse_time(text: str, now_ns: int) -> int:
    """The time in ns since 1970; ValueError where it is none. Numbers tell their unit by size."""
    text = text.strip()
    if text == "now":
        return now_ns
    if relative := _RELATIVE.fullmatch(text):
        return _in_range(now_ns - int(Decimal(relative[1]) * _UNITS_NS[relative[2]]))
    if _NUMBER.fullmatch(text):
        number = Decimal(text)
        # in every unit, today is far from the bounds: s 1.8e9, ms 1.8e12, us 1.8e15, ns 1.8e18
        scale = next((s for below, s in ((11, 9), (14, 6), (17, 3)) if number < 10**below), 0)
        return _in_range(int(number * 10**scale))
    if (offset := _OFFSET_AS_SPACE.fullmatch(text)) and "T" in offset[1]:
        text = f"{offset[1]}+{offset[2]}"  # an unescaped + in a URL arrives as a space
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _in_range((moment - _EPOCH) // timedelta(microseconds=1) * 1000)


def _in_range(time_ns: int) -> int:
    if not 0 <= time_ns <= MAX_NS:
        raise ValueError("outside of 1970 to 2262")
    return time_ns
