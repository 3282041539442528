"""Physical channels as NI writes them: ``cDAQ1Mod1/ai0``."""

from __future__ import annotations

import re
from typing import NamedTuple

EXPECTED = "expected a device and an input, e.g. cDAQ1Mod1/ai0, Dev1/ai3 or PXI1Slot2/ai0"

_CHANNEL = re.compile(r"([A-Z][A-Z0-9_-]*)/ai([0-9]{1,4})", re.ASCII | re.IGNORECASE)
_SEVERAL = re.compile(r"(.+/ai[0-9]+)\s*[:,-]\s*\S.*", re.ASCII | re.IGNORECASE)
_OTHER = re.compile(r".+/(ao|port|line|ctr|freqout|pfi)[0-9]*(/.*)?", re.ASCII | re.IGNORECASE)
_LIKE = re.compile(r"([A-Z][A-Z0-9_-]*?)(?:[/\\.:\s_-]*AI?[\s_]*|[/\\.:\s]+)([0-9]{1,4})", re.ASCII)


class Address(NamedTuple):
    """One analogue input of one device (a card, or a module of a chassis)."""

    device: str
    number: int

    def __str__(self) -> str:
        return f"{self.device}/ai{self.number}"

    @property
    def key(self) -> str:
        """For comparison: NI does not tell capitals from small letters."""
        return str(self).lower()


def parse(text: str) -> Address:
    """The physical channel of that name.

    Raises:
        ValueError: what is wrong, and the nearest spelling or what was expected.
    """
    plain = text.strip()
    if not plain:
        raise ValueError(f"the address is missing; {EXPECTED}")
    if found := _CHANNEL.fullmatch(plain):
        return Address(found[1], int(found[2]))
    if found := _SEVERAL.fullmatch(plain.lstrip("/")):
        raise ValueError(
            f"'{text}' names several inputs; each channel has one, did you mean '{found[1]}'?"
        )
    if found := _OTHER.fullmatch(plain):
        raise ValueError(f"'{text}' is no analogue input, and nothing else is read; {EXPECTED}")
    raise ValueError(f"'{text}' is not a physical channel; {_nearest(plain)}")


def _nearest(plain: str) -> str:
    """The channel that was probably meant: other separators, a missing ``ai``, a chassis path."""
    joined = re.sub(r"(?i)/(?=(mod|slot)[0-9])", "", plain.strip("/\\"))
    found = _LIKE.fullmatch(joined.upper())
    if found is None:
        return EXPECTED
    device = joined[: found.end(1)]
    return f"did you mean '{device}/ai{int(found[2])}'?"
