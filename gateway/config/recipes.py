"""What is computed of a channel: from its settings to a recipe, the faults at their places."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from gateway.analysis.livetags import LiveTag, resolve
from gateway.analysis.plan import Average, Recipe
from gateway.analysis.settings import AnalysisConfig, GeometryConfig, ZonesConfig
from gateway.analysis.states import UNKNOWN, StateRules
from gateway.config.shaftspeed import check_tag, check_text
from gateway.config.streamreader import PATH
from gateway.config.validation import nearest
from gateway.errors import Fault, GatewayError, Place
from gateway.features.bearings import Geometry, find_bearing
from gateway.features.spec import Spec
from gateway.features.table import Feature, features_of
from gateway.features.zones import Zones, find_zones
from gateway.model import Table
from gateway.yamlfile.document import Path_

if TYPE_CHECKING:
    from gateway.config.streams import StreamRequest

T = TypeVar("T")

SLOW_RPM = 600.0
"""Up to this speed vibration is judged from 2 Hz on (ISO 20816-3)."""

DEFAULT_AVERAGE_S = 10.0

_GEOMETRY = "{elements: 9, ball_mm: 7.94, pitch_mm: 39.04, angle_deg: 0}"
_ANY_BEARING = Geometry(9, 7.94, 39.04)
_BOUNDARIES = "{boundaries_mm_s: [1.4, 2.8, 4.5], provenance: ...}"


class _Told(Exception):
    """There is a fault, and it has been told at its own place."""


class RecipeMaker:
    """Makes the recipes of one device's channels; a fault is told once for each place."""

    def __init__(
        self,
        request: StreamRequest,
        tables: Sequence[Table],
        faults: list[Fault],
        broken: Set[str] = frozenset(),
        streaming: Set[str] = frozenset(),
    ) -> None:
        self._request = request
        self._tables = tables
        self._faults = faults
        self._broken = broken
        self._streaming = streaming
        self._turning: Set[str] = frozenset()
        """Features of the channel at hand that it has not for want of a speed or a bearing."""

    def fault(self, channel: str | None, key: str, message: str, *inner: str) -> None:
        """Note a fault at a key of the channel's settings."""
        stream = self._request.stream
        path: Path_ = (*stream.path_of(channel, key), *inner)
        place: Place = self._request.source.document.place(path)
        self._faults += [place.fault(line) for line in message.split("\n")]

    def _resolve(self, text: str) -> LiveTag:
        """The tag of that name; an open placeholder has been told already."""
        self._check_devices(text)
        return resolve(text, self._tables)

    def _check_devices(self, text: str) -> None:
        """_Told where a device of the text could not be made; ValueError where one streams."""
        if "{" in text or _named(self._broken, text):
            raise _Told
        if streaming := _named(self._streaming, text):
            message = f"'{streaming}' streams; expected tags of devices that are polled"
            raise ValueError(message)

    def _try(self, work: Callable[[], T], channel: str | None, key: str, *inner: str) -> T | None:
        try:
            return work()
        except _Told:
            return None
        except (GatewayError, ValueError) as error:
            self.fault(channel, key, str(error), *inner)
            return None

    def states(self, config: AnalysisConfig) -> StateRules | None:
        """The operating states; None where there are none."""
        if config.publish_in and not config.states:
            self.fault(None, "publish_in", "there are no states; add `states:`")
            return None
        known = {*config.states, config.otherwise, UNKNOWN}
        for name in config.publish_in or ():
            if name not in known:
                message = f"unknown state '{name}'; {nearest(name, known, 'states')}"
                self.fault(None, "publish_in", message)
                return None
        inputs: dict[str, LiveTag] = {}
        for name, text in config.inputs.items():
            tag = self._try(lambda text=text: self._resolve(text), None, "inputs", name)  # type: ignore[misc]
            if tag is not None:
                inputs[name] = tag
        if len(inputs) < len(config.inputs):
            return None
        if not config.states:
            return None
        made = [self._rule(name, text, inputs, config) for name, text in config.states.items()]
        if None in made:
            return None
        return StateRules.make(
            config.states,
            inputs,
            self._tables,
            config.otherwise,
            config.publish_in,
            config.inputs_max_age_s,
        )

    def _rule(
        self, name: str, text: str, inputs: Mapping[str, LiveTag], config: AnalysisConfig
    ) -> StateRules | None:
        """One rule by itself, so that its faults stand at its place."""

        def make() -> StateRules:
            self._check_devices(text)
            return StateRules.make(
                {name: text}, inputs, self._tables, config.otherwise, None, config.inputs_max_age_s
            )

        return self._try(make, None, "states", name)

    def recipe(self, channel: str, unit: str, samples: int, hop: int) -> Recipe | None:
        """What is computed of one channel; None where that cannot be told."""
        config = self._request.stream.analysis_of(channel, self._request.values)
        rate_hz = self._request.stream.rate_hz
        speed = self._speed(channel, config)
        low_hz = 2.0 if isinstance(speed, float) and speed <= SLOW_RPM else 10.0
        # up to the anti-alias filter's edge only, where the rate is low
        default = (low_hz, min(1000.0, 0.4 * rate_hz))
        velocity = self._band(channel, "velocity_band_hz", config.velocity_band_hz) or default
        envelope = self._band(channel, "envelope_band_hz", config.envelope_band_hz)
        bands = tuple(
            (name, *band)
            for name, given in config.bands_hz.items()
            if (band := self._band(channel, "bands_hz", given, name))
        )
        bearing = self._bearing(channel, config)
        try:
            spec = Spec(
                rate_hz=rate_hz,
                samples=samples,
                hop=hop,
                unit=unit,
                velocity_band_hz=velocity,
                bands_hz=bands,
                envelope_band_hz=envelope,
                has_speed=speed is not None,
                bearing=bearing,
                slip=config.slip,
                harmonics=config.harmonics,
                threshold=config.line_threshold,
            )
        except ValueError as error:
            self._spec_fault(channel, str(error))
            return None
        if spec.bearing and config.speed is None and not self._tells_speed(channel):
            message = "the lines of a bearing need the shaft's speed; add `speed:`"
            self.fault(channel, "bearing", message)
        known = {f.name: f for f in features_of(spec)}
        whole = replace(spec, has_speed=True, bearing=bearing or _ANY_BEARING)
        self._turning = {f.name for f in features_of(whole)} - known.keys()
        if speed is None and (config.speed is not None or self._tells_speed(channel)):
            config = _without(config, self._turning)  # why they are missing has been told
        elif bearing is None and config.bearing is not None:
            config = _without(config, self._turning)
        return Recipe(
            spec,
            self._features(channel, config, known),
            self._averages(channel, config, known),
            self._zones(channel, config, known),
            speed,
            config.speed_ratio,
            config.speed_max_age_s,
        )

    def _spec_fault(self, channel: str, message: str) -> None:
        """A fault of a Spec, at the setting that it is about."""
        if found := re.match(r"band (\w+) ", message):
            self.fault(channel, "bands_hz", message, found[1])
            return
        keys = ("velocity_band_hz", "envelope_band_hz", "slip", "harmonics")
        key = next((key for key in keys if key in message), "window_s")
        if key == "window_s":
            message += f" (rate_hz: {self._request.stream.rate_hz:g})"
        self.fault(channel, key, message)

    def _tells_speed(self, channel: str) -> bool:
        """Whether the file has a speed that is not usable, which has been told."""
        document = self._request.source.document
        for path in ((*PATH, "analysis"), (*PATH, "channels", channel, "analysis")):
            outer = document.value(path[:-1])
            given = outer.get("analysis", {})
            if not isinstance(given, Mapping) or any("speed" in key for key in given):
                return True
        return False

    def _speed(self, channel: str, config: AnalysisConfig) -> float | LiveTag | None:
        speed = config.speed
        if isinstance(speed, str):
            return self._try(lambda: self._speed_tag(speed, config), channel, "speed")
        if speed is not None and not 0 < speed <= 1e6:
            self.fault(channel, "speed", f"{speed:g} rpm is out of range; expected more than 0")
        return speed

    def _speed_tag(self, text: str, config: AnalysisConfig) -> LiveTag:
        check_text(text)
        tag = self._resolve(text)
        check_tag(tag, config.speed_ratio)
        return tag

    def _band(
        self, channel: str, key: str, band: Sequence[float] | None, *inner: str
    ) -> tuple[float, float] | None:
        if band is None:
            return None
        low, high = band
        nyquist = self._request.stream.rate_hz / 2
        if not low < high:
            message = f"{low:g} Hz is not below {high:g} Hz; expected [low, high]"
        elif not low:
            message = "it begins at 0 Hz, which is the bias; expected [low, high] above 0"
        elif high > nyquist:
            message = f"{high:g} Hz is above half the rate; expected at most {nyquist:g} Hz"
        else:
            return low, high
        self.fault(channel, key, message, *inner)
        return None

    def _bearing(self, channel: str, config: AnalysisConfig) -> Geometry | None:
        given = config.bearing
        if given is None:
            return None
        if isinstance(given, GeometryConfig):
            numbers = (given.elements, given.ball_mm, given.pitch_mm, given.angle_deg)
            return self._try(lambda: Geometry(*numbers), channel, "bearing")
        try:
            return find_bearing(given).geometry
        except ValueError as error:
            self.fault(channel, "bearing", f"{error}, as {_GEOMETRY}")
            return None

    def _zones(
        self, channel: str, config: AnalysisConfig, known: Mapping[str, Feature]
    ) -> Zones | None:
        given = config.zones
        if given is None:
            return None
        if "velocity_rms" not in known:
            unit = "g or m/s2"
            self.fault(channel, "zones", f"zones need a velocity; expected a channel in {unit}")
        if isinstance(given, ZonesConfig):
            low, middle, high = given.boundaries_mm_s
            return Zones((low, middle, high), "own", given.provenance)
        try:
            return find_zones(given)
        except ValueError as error:
            self.fault(channel, "zones", f"{error}, as {_BOUNDARIES}")
            return None

    def _features(
        self, channel: str, config: AnalysisConfig, known: Mapping[str, Feature]
    ) -> tuple[str, ...]:
        if config.features is None:
            return tuple(known)
        for name in config.features:
            self._check_feature(channel, "features", name, known)
        return tuple(name for name in known if name in config.features)

    def _check_feature(
        self, channel: str, key: str, name: str, known: Mapping[str, Feature], *inner: str
    ) -> None:
        if name in self._turning:
            message = f"'{name}' needs `speed:`, and a line of a bearing `bearing:`"
            self.fault(channel, key, message, *inner)
        elif name not in known:
            message = f"unknown feature '{name}'; {nearest(name, known, 'features here')}"
            self.fault(channel, key, message, *inner)

    def _averages(
        self, channel: str, config: AnalysisConfig, known: Mapping[str, Feature]
    ) -> tuple[Average, ...]:
        if config.averages is None:
            wanted = known if config.features is None else config.features
            lines = [n for n in known if n.endswith("_ratio") and "x_" not in n and n in wanted]
            return tuple(
                Average(
                    name,
                    "exponential" if name == "velocity_rms" else "linear",
                    DEFAULT_AVERAGE_S,
                    known[name].average == "power",
                )
                for name in ("velocity_rms", *lines)
                if name in known and name in wanted
            )
        for name in config.averages:
            self._check_feature(channel, "averages", name, known, name)
        return tuple(
            Average(name, a.mode, a.over_s, known[name].average == "power")
            for name, a in config.averages.items()
            if name in known
        )


def _named(devices: Set[str], text: str) -> str | None:
    """The first of the devices that a tag or a rule names."""
    return next((d for d in devices if re.search(rf"(?<![\w.-]){re.escape(d)}`?\.", text)), None)


def _without(config: AnalysisConfig, names: Set[str]) -> AnalysisConfig:
    """The settings without some features."""
    features = None if config.features is None else [n for n in config.features if n not in names]
    averages = config.averages and {n: a for n, a in config.averages.items() if n not in names}
    return config.model_copy(update={"features": features, "averages": averages})
