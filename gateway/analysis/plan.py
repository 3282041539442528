"""What is computed of a stream, as plain tables: made once from the settings, can be pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from typing import Any, TypeAlias

from gateway.analysis.livetags import LiveTag
from gateway.analysis.settings import Mode
from gateway.analysis.states import StateRules
from gateway.features.spec import Spec
from gateway.features.table import features_of
from gateway.features.zones import Zones
from gateway.model import Channel, Column, Table

Labels: TypeAlias = tuple[tuple[str, str], ...]

MAX_CHUNK = 32
"""Channels that are transformed together (the costs are in the documentation of features)."""


MAX_MEMORY_BYTES = 2**30
"""Most that one device may keep of samples, and most of averages."""


@dataclass(slots=True, frozen=True)
class Average:
    """One averaged column: of which feature, and how."""

    feature: str
    mode: Mode
    over_s: float
    power: bool
    """Whether the squares are averaged, as is right for RMS values."""

    @property
    def column(self) -> str:
        """Name of its column."""
        return f"{self.feature}_avg"


@dataclass(slots=True, frozen=True)
class Recipe:
    """What is computed of a channel; channels with the same recipe are computed together."""

    spec: Spec
    features: tuple[str, ...]
    """The features that become columns, in order."""
    averages: tuple[Average, ...] = ()
    zones: Zones | None = None
    speed: float | LiveTag | None = None
    """Shaft speed in rpm, or where it is read."""
    speed_ratio: float = 1.0
    speed_max_age_s: float = 5.0

    def columns(self, *, has_states: bool) -> list[Column]:
        """The columns of a channel's table: features, averages, then texts."""
        known = {f.name: f for f in features_of(self.spec)}
        columns = [Column(name, "f4", known[name].unit or None) for name in self.features]
        columns += [Column(a.column, "f4", known[a.feature].unit or None) for a in self.averages]
        texts = ["zone"] * (self.zones is not None) + ["state"] * has_states + ["setup"]
        return columns + [Column(name, "str") for name in texts]


@dataclass(slots=True)
class Section:
    """Channels of a stream with one recipe, at most MAX_CHUNK."""

    recipe: Recipe
    channels: list[int]
    """Indexes of the channels in a block."""
    tables: list[Table]


@dataclass(slots=True)
class StreamPlan:
    """What becomes of the blocks of one device."""

    device: str
    channels: tuple[Channel, ...]
    rate_hz: float
    hop_s: float = 0.1
    window_s: float = 1.0
    publish_every_s: float = 1.0
    history_s: float = 0.0
    sections: list[Section] = field(default_factory=list)
    states: StateRules | None = None
    samples: Table | None = None
    """Table of which every sample is a row; then there are no sections."""
    setup_table: dict[int, Table] = field(default_factory=dict)
    """Channel -> table that says once what the set-up is."""
    setup_texts: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Channel -> hash and JSON of its set-up; the hash is a column of every row."""

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables of all rows that come often."""
        if self.samples is not None:
            return (self.samples,)
        by_channel = {
            c: t for s in self.sections for c, t in zip(s.channels, s.tables, strict=True)
        }
        return tuple(by_channel[c] for c in sorted(by_channel))

    @property
    def sample_bytes(self) -> int:
        """Memory for samples: those kept as float32, a window's work arrays, a hop as float64."""
        each_s = 4 * max(self.history_s, self.window_s) + 16 * self.window_s + 24 * self.hop_s
        return round(len(self.channels) * self.rate_hz * each_s)

    @property
    def average_bytes(self) -> int:
        """Memory for averages that slide: the features of their hops as float64."""
        total = 0.0
        for section in self.sections:
            lengths = [a.over_s for a in section.recipe.averages if a.mode != "exponential"]
            hops = max(lengths, default=0.0) / self.hop_s
            total += 8 * len(section.channels) * len(lengths) * hops
        return round(total)

    def setups_at(self, rate_hz: float) -> dict[int, tuple[str, str]]:
        """The set-ups where the card has that rate: another one than asked for is part of them."""
        if rate_hz == self.rate_hz:
            return self.setup_texts
        return {
            channel: _with_hash({**json.loads(text), "sampled_hz": rate_hz})
            for channel, (_, text) in self.setup_texts.items()
        }

    def live_tags(self) -> list[LiveTag]:
        """The tags of other devices that it depends on."""
        tags = [s.recipe.speed for s in self.sections if isinstance(s.recipe.speed, LiveTag)]
        return tags + [tag for _, tag in (self.states.tags if self.states else ())]

    def rebound(self, tables: Mapping[tuple[str, str], Table]) -> StreamPlan:
        """The same plan, its live tags read from these tables, by (device, key)."""

        def bound(tag: LiveTag) -> LiveTag:
            table = tables.get((tag.table.device, tag.table.key), tag.table)
            return LiveTag(tag.text, table, tag.column)

        sections = []
        for section in self.sections:
            recipe = section.recipe
            if isinstance(recipe.speed, LiveTag):
                recipe = replace(recipe, speed=bound(recipe.speed))
            sections.append(replace(section, recipe=recipe))
        states = self.states
        if states is not None:
            tags = tuple((name, bound(tag)) for name, tag in states.tags)
            states = replace(states, tags=tags)
        return replace(self, sections=sections, states=states)


def sample_plan(
    device: str, channels: Sequence[Channel], rate_hz: float, measurement: str, labels: Labels
) -> StreamPlan:
    """Every sample becomes a row: for slow channels."""
    columns = [Column(c.name, "f4", c.unit) for c in channels]
    table = Table(measurement, device, columns, labels, measurement, 1.0 / rate_hz)
    return StreamPlan(device, tuple(channels), rate_hz, samples=table)


def feature_plan(
    stream: StreamPlan,
    recipes: Sequence[Recipe],
    measurement: str,
    labels: Labels,
) -> None:
    """Add sections and tables for the channels, one recipe each, to a plan that has its times."""
    steady = stream.states is None or stream.states.publish_in is None
    by_recipe: dict[Recipe, list[int]] = {}
    for index, recipe in enumerate(recipes):
        by_recipe.setdefault(recipe, []).append(index)
    for recipe, indexes in by_recipe.items():
        columns = recipe.columns(has_states=stream.states is not None)
        chunks = -(-len(indexes) // MAX_CHUNK)
        size = -(-len(indexes) // chunks)
        for at in range(0, len(indexes), size):
            section = Section(recipe, indexes[at : at + size], [])
            for index in section.channels:
                own = (*labels[:2], ("channel", stream.channels[index].name), *labels[2:])
                every_s = stream.publish_every_s
                table = Table(
                    measurement, stream.device, columns, own, measurement, every_s, steady=steady
                )
                section.tables.append(table)
                stream.setup_texts[index] = setup_text(stream, recipe, stream.channels[index])
                stream.setup_table[index] = setup_table(measurement, stream.device, own)
            stream.sections.append(section)


def setup_table(measurement: str, device: str, labels: Labels) -> Table:
    """The table that says what a channel's set-up is: the provenance of its features."""
    columns = [
        Column("setup", "str"),
        Column("rate_hz", "f8", "Hz"),
        Column("window_s", "f8", "s"),
        Column("hop_s", "f8", "s"),
        Column("config", "str"),
    ]
    return Table(f"{measurement}_setup", device, columns, labels, measurement)


def setup_text(stream: StreamPlan, recipe: Recipe, channel: Channel) -> tuple[str, str]:
    """Hash and JSON (sorted keys) of all that a channel's numbers depend on but the machine."""
    spec = recipe.spec
    content: dict[str, Any] = {
        "rate_hz": stream.rate_hz,
        "window_s": stream.window_s,
        "hop_s": stream.hop_s,
        "unit": channel.unit,
        "full_scale": channel.full_scale,
        **dict(channel.setup),
        "velocity_band_hz": spec.velocity_band_hz,
        "envelope_band_hz": spec.envelope_band_hz,
        "bands_hz": {name: [low, high] for name, low, high in spec.bands_hz},
        "bearing": asdict(spec.bearing) if spec.bearing else None,
        "slip": spec.slip,
        "harmonics": spec.harmonics if spec.bearing else None,
        "line_threshold": spec.threshold,
        "speed": recipe.speed.text if isinstance(recipe.speed, LiveTag) else recipe.speed,
        "speed_ratio": recipe.speed_ratio,
        "averages": {a.column: f"{a.mode} {a.over_s:g} s" for a in recipe.averages},
        "zones": recipe.zones.provenance if recipe.zones else None,
        "boundaries_mm_s": recipe.zones.boundaries if recipe.zones else None,
    }
    return _with_hash({k: v for k, v in content.items() if v is not None})


def _with_hash(content: dict[str, Any]) -> tuple[str, str]:
    text = json.dumps(content, sort_keys=True)
    return blake2b(text.encode(), digest_size=4).hexdigest(), text
