"""The table of features: name, unit, what it is, how it is averaged, and who says so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from gateway.features.bearings import LINES
from gateway.features.spec import Spec

Average = Literal["power", "linear"]
Needs = Literal["", "acceleration", "bands", "envelope", "speed", "bearing"]


@dataclass(frozen=True, slots=True)
class Feature:
    """A named number that is computed from a window.

    In the table a name may hold ``{band}``, ``{line}`` or ``{h}`` (a harmonic) and a unit
    ``{unit}``, the channel's own; in what ``features_of`` gives they are filled in.
    """

    name: str
    unit: str
    what: str
    source: str
    average: Average = "linear"
    """``power``: windows are averaged as squares, like an RMS; ``linear``: as they are."""
    needs: Needs = ""
    """Without it, the feature is no column."""


_ISO_18431 = "ISO 18431-2 (Hann window, amplitude and energy scaling)"
_CONDITION = "ISO 13373-2, time domain"
_RANDALL = "Randall and Antoni 2011, MSSP 25:485-520"
_OURS = "choice of this project"

FEATURES: tuple[Feature, ...] = (
    Feature("mean", "{unit}", "mean of the window: bias of the sensor", _CONDITION),
    Feature("rms", "{unit}", "square root of the mean square about the mean", _CONDITION, "power"),
    Feature("peak", "{unit}", "largest distance from the mean (true peak)", _CONDITION),
    Feature("peak_to_peak", "{unit}", "largest less smallest sample", _CONDITION),
    Feature("crest", "", "peak / rms; sine 1.414", _CONDITION),
    Feature("kurtosis", "", "m4 / m2^2 (Pearson: Gaussian 3, sine 1.5); population moments",
            "Dyer and Stewart 1978, J. Mech. Design 100:229-235"),
    Feature("skewness", "", "m3 / m2^1.5; population moments", _CONDITION),
    Feature("shape", "", "rms / mean of |x|; sine 1.111", _CONDITION),
    Feature("impulse", "", "peak / mean of |x|; sine 1.571", _CONDITION),
    Feature("clearance", "", "peak / (mean of sqrt |x|)^2; sine 1.719", _CONDITION),
    Feature("velocity_rms", "mm/s",
            "RMS of the velocity in velocity_band_hz (10 to 1000 Hz), integrated in the spectrum",
            "ISO 20816-3 and ISO 2954 (quantity and band); " + _ISO_18431, "power", "acceleration"),
    Feature("displacement_rms", "um",
            "RMS of the displacement in the same band, integrated twice in the spectrum",
            "ISO 20816-3 (quantity and band); " + _ISO_18431, "power", "acceleration"),
    Feature("band_{band}", "{unit}", "RMS within the band, both ends included", _ISO_18431,
            "power", "bands"),
    Feature("dominant_hz", "Hz",
            "frequency of the largest line from the third on, interpolated between lines",
            "Grandke 1983, IEEE Trans. Instrum. Meas. 32:350-355"),
    Feature("dominant_amplitude", "{unit}", "its amplitude (peak), interpolated likewise",
            "Grandke 1983", "power"),
    Feature("centroid_hz", "Hz", "mean frequency from the third line on, weighted by power",
            "ISO 13373-2, frequency domain"),
    Feature("envelope_rms", "{unit}",
            "RMS of the envelope in envelope_band_hz (all above 500 Hz)", _RANDALL,
            "power", "envelope"),
    Feature("envelope_peak", "{unit}",
            "largest sample of that envelope, whose reduced rate may miss a tenth of a peak of "
            "noise", _RANDALL, "linear", "envelope"),
    Feature("speed_hz", "Hz", "turns of the shaft per second that orders and lines are based on",
            "given by the configuration or a live tag", "linear", "speed"),
    Feature("order_{h}", "{unit}",
            "amplitude of the largest peak within 2 lines or 1 % of that multiple of the speed, "
            "whichever is more; where there is none, of the line next to it; none where orders are "
            "less than 3 lines apart", "ISO 13373-2, frequency domain", "power", "speed"),
    Feature("{line}_hz", "Hz",
            "frequency of the largest peak of the squared envelope's spectrum within `slip` "
            "(2 %, at least 2 lines) of the calculated one, interpolated; where there is no "
            "peak, or only the flank of one outside, the line next to the calculated frequency",
            f"{_RANDALL} (slip 1 to 2 %); Grandke 1983", "linear", "bearing"),
    Feature("{line}_amplitude", "{unit}^2", "its amplitude, interpolated likewise", _RANDALL,
            "power", "bearing"),
    Feature("{line}_ratio", "",
            "that line / median of its neighbourhood: 15 % on both sides (at least 8 lines), "
            "without the tolerance and the window's main lobe", _OURS, "linear", "bearing"),
    Feature("{line}_{h}x_amplitude", "{unit}^2", "the same of a harmonic", _RANDALL,
            "power", "bearing"),
    Feature("{line}_{h}x_ratio", "", "the same of a harmonic", _OURS, "linear", "bearing"),
    Feature("{line}_harmonics", "",
            "harmonics in a row, from the first, that are peaks with a ratio of at least "
            "`threshold` (8)",
            _OURS, "linear", "bearing"),
)  # fmt: skip
"""All features, in the order of the columns."""

ORDERS = (1, 2, 3)

_LINE_NAMES = {
    "ftf": "cage",
    "bpfo": "outer race",
    "bpfi": "inner race",
    "bsf2": "ball, both strikes",
    "bsf": "ball spin",
}


def harmonics_of(line: str, spec: Spec) -> int:
    """How many harmonics of a line are looked at: the ball's spin has one, its second is bsf2."""
    return 1 if line == "bsf" else spec.harmonics


def features_of(spec: Spec) -> tuple[Feature, ...]:
    """The columns for a spec, in order."""
    columns: list[Feature] = []
    lined = [f for f in FEATURES if f.needs == "bearing"]
    for feature in FEATURES:
        if feature.needs == "bands":
            columns += [
                _named(feature, f"{feature.what}: {low:g} to {high:g} Hz", band=band)
                for band, low, high in spec.bands_hz
            ]
        elif feature.needs == "speed" and "{h}" in feature.name:
            columns += [_named(feature, h=h) for h in ORDERS if spec.has_speed]
        elif feature.needs != "bearing" and _has(spec, feature.needs):
            columns.append(feature)
    if _has(spec, "bearing"):
        for line in LINES:
            columns += _line_columns(lined, line, harmonics_of(line, spec))
    return tuple(replace(c, unit=c.unit.format(unit=spec.unit)) for c in columns)


def _has(spec: Spec, needs: Needs) -> bool:
    return {
        "": True,
        "bands": bool(spec.bands_hz),
        "acceleration": spec.is_acceleration,
        "envelope": spec.envelope_hz is not None,
        "speed": spec.has_speed,
        "bearing": spec.has_speed and spec.bearing is not None and spec.envelope_hz is not None,
    }[needs]


def _line_columns(lined: list[Feature], line: str, harmonics: int) -> list[Feature]:
    hz, amplitude, ratio, amplitude_h, ratio_h, count = lined
    higher = [
        _named(feature, line=line, h=h)
        for h in range(2, harmonics + 1)
        for feature in (amplitude_h, ratio_h)
    ]
    first = [_named(feature, line=line) for feature in (hz, amplitude, ratio)]
    return [*first, *higher, _named(count, line=line)]


def _named(feature: Feature, what: str = "", **names: str | int) -> Feature:
    return replace(feature, name=feature.name.format(**names), what=what or feature.what)


def markdown() -> str:
    """The table for the documentation."""
    lines = [
        "| feature | unit | what | average | needs | source |",
        "|---|---|---|---|---|---|",
    ]
    for f in FEATURES:
        name = f.name.format(band="NAME", line="LINE", h="N")
        unit = f.unit.format(unit="channel's") if f.unit else "-"
        what = f.what.replace("|x|", "abs x")  # a bar would end the cell
        lines.append(
            f"| `{name}` | {unit} | {what} | {f.average} | {f.needs or '-'} | {f.source} |"
        )
    named = ", ".join(f"`{line}` ({_LINE_NAMES[line]})" for line in LINES)
    return "\n".join([*lines, "", f"LINE is one of {named}.", ""])
