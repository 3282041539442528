"""From the settings of streams and aggregates to their plans, when all devices are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from gateway.analysis.aggregates import AggregatePlan, plan_aggregate
from gateway.analysis.livetags import LiveTag, resolve
from gateway.analysis.plan import Average, Recipe, StreamPlan, feature_plan, sample_plan
from gateway.analysis.settings import AnalysisConfig, GeometryConfig, ZonesConfig
from gateway.analysis.states import UNKNOWN, StateRules
from gateway.config.maps import Labels, SourceMap
from gateway.config.streamreader import Streamed
from gateway.config.validation import nearest
from gateway.driver import Driver, StreamDriver
from gateway.errors import Fault, GatewayError, Place
from gateway.features.bearings import Geometry, find_bearing
from gateway.features.spec import Spec, fast_length
from gateway.features.table import Feature, features_of
from gateway.features.zones import Zones, find_zones
from gateway.model import Group, Table
from gateway.yamlfile.document import Path_

T = TypeVar("T")

SLOW_RPM = 600.0
"""Up to this speed vibration is judged from 2 Hz on (ISO 20816-3)."""

DEFAULT_AVERAGE_S = 10.0


@dataclass(slots=True)
class StreamRequest:
    """A device that streams, whose plan waits until every device is known."""

    driver: StreamDriver
    source: SourceMap
    stream: Streamed
    values: Mapping[str, object]
    labels: Labels


@dataclass(slots=True)
class Planner:
    """Makes the plans; the faults are placed in the maps."""

    faults: list[Fault]
    streams: dict[str, StreamPlan] = field(default_factory=dict)
    aggregates: list[AggregatePlan] = field(default_factory=list)

    def plan_aggregates(self, driver: Driver, source: SourceMap, labels: Labels) -> None:
        """The aggregates of one device's groups; their tables join the group's."""
        configs = {g.name: g for g in source.groups if g.aggregates}
        known = {t.key for g in driver.groups for t in g.tables}
        for group in driver.groups:
            for name, config in configs[group.name].aggregates if group.name in configs else ():
                path = ("groups", group.name, "aggregates", name)
                place = source.document.place(path, key=True)
                try:
                    plan = plan_aggregate(
                        group.tables,
                        config.tags,
                        name,
                        config.functions,
                        config.window_s,
                        config.every_s,
                    )
                except (GatewayError, ValueError) as error:
                    self.faults += [place.fault(line) for line in str(error).split("\n")]
                    continue
                for each in plan:
                    if each.target.key in known:
                        message = f"there is a table '{each.target.key}' already; rename it"
                        self.faults.append(place.fault(message))
                    known.add(each.target.key)
                self.aggregates += plan

    def plan_stream(self, request: StreamRequest, tables: Sequence[Table]) -> None:
        """The plan of one device that streams; ``tables`` are those of all polled devices."""
        driver, stream = request.driver, request.stream
        config = stream.config
        if stream.samples:
            plan = sample_plan(
                driver.name, driver.channels, config.rate_hz, config.measurement, request.labels
            )
        else:
            maker = _RecipeMaker(request, tables, self.faults)
            shared = stream.analysis_of(None, request.values)
            samples, hop = fast_length(config.rate_hz, shared.window_s, shared.hop_s)
            if shared.publish_every_s < shared.hop_s:
                maker.fault(None, "publish_every_s", "it is less than hop_s")
            plan = StreamPlan(
                driver.name,
                driver.channels,
                config.rate_hz,
                hop / config.rate_hz,
                samples / config.rate_hz,
                shared.publish_every_s,
                shared.history_s,
                states=maker.states(shared),
            )
            made = [maker.recipe(c.name, c.unit, samples, hop) for c in driver.channels]
            recipes = [recipe for recipe in made if recipe is not None]
            if not recipes or len(recipes) < len(made):
                return
            feature_plan(plan, recipes, config.measurement, request.labels)
        every_s = plan.tables[0].interval_s
        driver.groups = (Group(config.measurement, every_s, plan.tables),)
        self.streams[driver.name] = plan


class _Told(Exception):
    """There is a fault, and it has been told at its own place."""


class _RecipeMaker:
    """Makes the recipes of one device's channels; a fault is told once for each place."""

    def __init__(
        self, request: StreamRequest, tables: Sequence[Table], faults: list[Fault]
    ) -> None:
        self._request = request
        self._tables = tables
        self._faults = faults

    def fault(self, channel: str | None, key: str, message: str, *inner: str) -> None:
        """Note a fault at a key of the channel's settings."""
        stream = self._request.stream
        path: Path_ = (*stream.path_of(channel, key), *inner)
        place: Place = self._request.source.document.place(path)
        self._faults += [place.fault(line) for line in message.split("\n")]

    def _resolve(self, text: str) -> LiveTag:
        """The tag of that name; an open placeholder has been told already."""
        if "{" in text:
            raise _Told
        return resolve(text, self._tables)

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
        sound = True
        for name, text in config.states.items():
            rule = {name: text}
            made = self._try(
                lambda rule=rule: StateRules.make(  # type: ignore[misc]
                    rule, inputs, self._tables, config.otherwise, None, config.inputs_max_age_s
                ),
                None,
                "states",
                name,
            )
            sound = sound and made is not None
        if not sound:
            return None
        return StateRules.make(
            config.states,
            inputs,
            self._tables,
            config.otherwise,
            config.publish_in,
            config.inputs_max_age_s,
        )

    def recipe(self, channel: str, unit: str, samples: int, hop: int) -> Recipe | None:
        """What is computed of one channel; None where that cannot be told."""
        config = self._request.stream.analysis_of(channel, self._request.values)
        rate_hz = self._request.stream.config.rate_hz
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
            self.fault(channel, _key_of(str(error)), str(error))
            return None
        if spec.bearing and config.speed is None:
            message = "the lines of a bearing need the shaft's speed; add `speed:`"
            self.fault(channel, "bearing", message)
        known = {f.name: f for f in features_of(spec)}
        return Recipe(
            spec,
            self._features(channel, config, known),
            self._averages(channel, config, known),
            self._zones(channel, config, known),
            speed,
            config.speed_ratio,
            config.speed_max_age_s,
        )

    def _speed(self, channel: str, config: AnalysisConfig) -> float | LiveTag | None:
        speed = config.speed
        if isinstance(speed, str):
            return self._try(lambda: self._resolve(speed), channel, "speed")
        if speed is not None and not 0 < speed <= 1e6:
            self.fault(channel, "speed", f"{speed:g} rpm is out of range; expected more than 0")
        return speed

    def _band(
        self, channel: str, key: str, band: Sequence[float] | None, *inner: str
    ) -> tuple[float, float] | None:
        if band is None:
            return None
        low, high = band
        nyquist = self._request.stream.config.rate_hz / 2
        if not low < high:
            message = f"{low:g} Hz is not below {high:g} Hz; expected [low, high]"
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
            return Geometry(given.elements, given.ball_mm, given.pitch_mm, given.angle_deg)
        found = self._try(lambda: find_bearing(given), channel, "bearing")
        return found.geometry if found else None

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
        return self._try(lambda: find_zones(given), channel, "zones")

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
        if name not in known:
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


def _key_of(message: str) -> str:
    """The setting that a fault of a Spec is about."""
    keys = ("velocity_band_hz", "envelope_band_hz", "slip", "harmonics")
    if message.startswith("band "):
        return "bands_hz"
    return next((key for key in keys if key in message), "window_s")
