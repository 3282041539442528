"""Units as the device maps spell them, and the unit that a comment names in brackets."""

from __future__ import annotations

import re

_PLAIN = (
    "A mA kA V mV kV W kW MW GW VA kVA MVA var kvar Mvar Wh kWh MWh GWh VAh kVAh varh kvarh J kJ "
    "MJ Hz kHz MHz rpm 1/min 1/s degC degF K bar mbar Pa hPa kPa MPa psi m mm cm km um nm s ms us "
    "ns min h d kg g mg t N kN Nm kNm l l/s l/min l/h ml m3 m3/h m3/s m3/min kg/h kg/s t/h g/s "
    "m/s m/min mm/s mm/s2 m/s2 km/h ug/m3 mg/m3 g/m3 kg/m3 % ppm ppb %rH lx cd ohm kohm Mohm F uF "
    "S uS/cm mS/cm dB dBA rad deg rad/s deg/s W/m2 kW/m2 pH pcs"
)
_ALSO = {
    "°C": "degC", "°F": "degF", "°": "deg", "grdC": "degC", "GradC": "degC", "Grad": "deg",
    "U/min": "rpm", "1/Min": "1/min", "Ohm": "ohm", "Ω": "ohm", "kΩ": "kohm", "MΩ": "Mohm",
    "VAr": "var", "kVAr": "kvar", "kVar": "kvar", "kVARh": "kvarh", "kVArh": "kvarh",
    "Stk": "pcs", "Stück": "pcs", "sec": "s", "Sek": "s", "Std": "h",
    "Prozent": "%", "percent": "%",
    "L": "l",
}  # fmt: skip
_LETTERS = str.maketrans({"µ": "u", "μ": "u", "³": "3", "²": "2", "·": "", " ": ""})

KNOWN = {**{unit: unit for unit in _PLAIN.split()}, **_ALSO}

_DOUBTFUL = frozenset("dFtJLlg")
"""A letter in brackets in the middle of a comment may mean something else."""

_BRACKETS = re.compile(r"\[([^\[\]]{1,12})\]")


def known_unit(text: str) -> str | None:
    """The unit in the spelling of our maps; None where it is not one that we know."""
    plain = text.strip()
    return KNOWN.get(plain) or KNOWN.get(plain.translate(_LETTERS))


def unit_in(comment: str) -> str | None:
    """The unit that stands in square brackets, where exactly one does."""
    texts = [text for text in _BRACKETS.findall(comment) if text.strip() not in _DOUBTFUL]
    found = {unit for text in texts if (unit := known_unit(text))}
    return found.pop() if len(found) == 1 else None
