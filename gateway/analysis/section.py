"""One section of a stream: channels with one recipe, from samples to the rows of a hop."""

from __future__ import annotations

import numpy as np

from gateway.analysis.averages import Averages
from gateway.analysis.livetags import LiveTag
from gateway.analysis.plan import Recipe, Section
from gateway.analysis.sensors import CLIPPED, Sensors
from gateway.features.engine import Engine
from gateway.features.moments import Moments
from gateway.features.spec import Spec
from gateway.features.table import features_of
from gateway.features.zones import zones
from gateway.latest import Latest
from gateway.model import ALL, Array, Channel, Mark, Quality, Row, bad, bad_row

ON_PEAKS = frozenset(
    ("peak", "peak_to_peak", "crest", "kurtosis", "skewness", "shape", "impulse", "clearance")
)
"""Features that a clipped sample makes meaningless."""


class SectionAnalysis:
    """Computes the rows of a section at each hop."""

    def __init__(
        self, section: Section, spec: Spec, channels: list[Channel], setups: list[str]
    ) -> None:
        recipe = section.recipe
        self.recipe: Recipe = recipe
        self.section = section
        self.spec = spec
        """The recipe's, at the rate that the sample clock really has."""
        self._setups = setups
        count = len(channels)
        self.engine = Engine(spec, count)
        self.moments = Moments(spec, count)
        self.sensors = Sensors(channels)
        names = list(self.engine.names)
        self.averages = Averages(recipe.averages, names, count, spec.hop / spec.rate_hz)
        hop_s = spec.hop / spec.rate_hz
        self._lasts = [(len(recipe.features) + i, a.over_s / hop_s)
                       for i, a in enumerate(recipe.averages)]  # fmt: skip
        """Column of each average, and for how many hops a window counts in it."""
        self._hops = 0
        self._doubts: dict[int, tuple[int, Mark]] = {}
        """Channel -> hop of its last window that was UNCERTAIN, and why."""
        self._picked = [names.index(name) for name in recipe.features]
        columns = (*recipe.features, *(a.feature for a in recipe.averages))
        needs = {f.name: f.needs for f in features_of(spec)}
        self._on_speed = np.array([needs[name] in ("speed", "bearing") for name in columns], "b1")
        table = section.tables[0]
        clipped: dict[int, Mark] = {
            i: bad("clipped") for i, name in enumerate(columns) if name in ON_PEAKS
        }
        self._clipped = {**clipped, ALL: CLIPPED}
        self._on_peaks = [i for i, name in enumerate(names) if name in ON_PEAKS]
        self._has_zone = "zone" in table.columns
        self._zone_at = table.columns.index("zone") if self._has_zone else -1
        self._has_state = "state" in table.columns
        velocity = [i for i, name in enumerate(columns) if name == "velocity_rms"]
        self._velocity = velocity[-1] if velocity else -1  # the averaged one, where there is one
        self._velocity_of_window = names.index("velocity_rms") if self._has_zone else -1

    def reset(self) -> None:
        """Samples are missing: windows and averages begin anew."""
        self.moments.reset()
        self.restart_averages()

    def restart_averages(self) -> None:
        """Averages begin anew, as in another operating state."""
        self.averages.reset()
        self._doubts.clear()

    def push(self, hop: Array) -> None:
        """Take the newest hop of the section's channels, float32 [channel, sample]."""
        self.moments.push(hop)

    def rows(
        self, older: Array, newer: Array, time_ns: int, state: str, latest: Latest
    ) -> list[Row]:
        """The rows of the window that ends at ``time_ns``: one for each channel."""
        speed_hz, why, doubt = self.speed(latest, time_ns)
        values = self.engine.compute(older, newer, self.moments, speed_hz)
        values[~np.isfinite(values)] = np.nan
        marks = self.sensors.judge(self.engine.central or self.moments.window(), self.moments.means)
        for index, mark in enumerate(marks):
            if mark is CLIPPED:
                values[index, self._on_peaks] = np.nan
            elif mark is not None and mark.quality is Quality.BAD:
                values[index] = np.nan
        numbers = np.concatenate((values[:, self._picked], self.averages.update(values)), axis=1)
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(numbers, np.float32)
        unknown = ~np.isfinite(stored)
        its_zones = self._zones(values, numbers)
        self._hops += 1
        rows = []
        shared: dict[bytes, dict[int, Mark] | None] = {}
        for index, table in enumerate(self.section.tables):
            mark = marks[index]
            if mark is not None and mark.quality is Quality.BAD:
                rows.append(bad_row(table, time_ns, mark.reason))
                continue
            text = its_zones[index]
            key = unknown[index].tobytes() + bool(text).to_bytes()
            if key not in shared:
                shared[key] = self._marks(unknown[index], why, doubt, has_zone=bool(text))
            own = shared[key]
            if mark is not None:
                self._doubts[index] = self._hops, mark
                own = {**(own or {}), ALL: mark}
                if mark is CLIPPED:
                    own |= self._clipped
            elif index in self._doubts:
                own = self._doubtful(index, own)
            texts = [text] if self._has_zone else []
            if self._has_state:
                texts.append(state)
            texts.append(self._setups[index])
            rows.append(Row(table, time_ns, (stored[index], texts), own))
        return rows

    def speed(self, latest: Latest, time_ns: int) -> tuple[float | None, str, Mark | None]:
        """Shaft speed at a time in Hz, why there is no value, and the mark of one in doubt."""
        speed, doubt = self.recipe.speed, None
        if isinstance(speed, LiveTag):
            value, reason = speed.read(latest, time_ns, self.recipe.speed_max_age_s)
            if value is None or isinstance(value, str):
                return None, f"speed_{reason or 'is_text'}", None
            speed = float(value)
            doubt = Mark(Quality.UNCERTAIN, f"speed_{reason}") if reason else None
        if speed is None:
            return None, "no_speed", None
        if not 0.0 < speed < 1e6:
            return None, "speed_zero" if speed == 0.0 else "speed_out_of_range", None
        return speed * self.recipe.speed_ratio / 60.0, "out_of_band", doubt

    def _marks(
        self, unknown: Array, why: str, doubt: Mark | None, *, has_zone: bool
    ) -> dict[int, Mark] | None:
        """A mark for each value that there is none of, or that depends on a speed in doubt."""
        marks: dict[int, Mark] = {}
        if doubt is not None:
            marks = dict.fromkeys(np.flatnonzero(self._on_speed).tolist(), doubt)
        for index in np.flatnonzero(unknown).tolist():
            marks[index] = bad(why if self._on_speed[index] else "undefined")
        if self._has_zone and not has_zone:
            marks[self._zone_at] = bad("undefined")
        return marks or None

    def _doubtful(self, index: int, own: dict[int, Mark] | None) -> dict[int, Mark] | None:
        """The marks, with those of averages that UNCERTAIN windows of before still count in."""
        at, mark = self._doubts[index]
        columns = [column for column, hops in self._lasts if self._hops - at < hops]
        if mark is CLIPPED:  # clipped peaks are left out of averages
            columns = [column for column in columns if column not in self._clipped]
        if not columns:
            del self._doubts[index]
            return own
        if self._has_zone and self._velocity in columns:
            columns.append(self._zone_at)
        return {**dict.fromkeys(columns, mark), **(own or {})}

    def _zones(self, values: Array, numbers: Array) -> list[str]:
        """Empty where there is none."""
        if self.recipe.zones is None:
            return [""] * len(numbers)
        averaged = self._velocity >= 0
        velocity = numbers[:, self._velocity] if averaged else values[:, self._velocity_of_window]
        return zones(velocity, self.recipe.zones.boundaries)
