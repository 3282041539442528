"""The rows of one file, by the analysis of the daemon: its windows, marks, averages, zones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gateway import __version__
from gateway.analysis.plan import StreamPlan, setup_text
from gateway.analysis.states import StateRules
from gateway.analysis.stream import StreamAnalysis
from gateway.errors import DeviceUnavailable, GatewayError
from gateway.hub import Hub
from gateway.model import Array, Block, Row
from gateway.recordings import Source, Track, open_recording, read_pieces

PIECE_SAMPLES = 65_536
"""Samples of each channel that are read at a time."""


@dataclass(slots=True, frozen=True)
class Options:
    """What the recordings do not say."""

    rate_hz: float | None = None
    """None: each file says its own."""
    scale: float = 1.0
    """What the samples are multiplied by, to be in the channel's unit."""
    tracks: tuple[tuple[str, str], ...] = ()
    """Channel of the device -> its name in the files, where it is another one."""


class Told(NamedTuple):
    """A row, and how far into the file its window ends."""

    row: Row
    end_s: float
    has_time: bool
    """Whether the file says when it was recorded."""


def recipe_of(plan: StreamPlan, options: Options) -> str:
    """Hash of all that the rows of a file depend on, but the file."""
    content = {
        "version": __version__,
        "setups": {plan.channels[c].name: text for c, (_, text) in plan.setup_texts.items()},
        "columns": {t.channel: [t.columns, t.units] for t in plan.tables},
        "publish_every_s": plan.publish_every_s,
        "states": None if plan.states is None else _states(plan.states),
        "options": [options.rate_hz, options.scale, options.tracks],
    }
    return blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=8).hexdigest()


def _states(rules: StateRules) -> list[object]:
    texts = [(name, rule.text) for name, rule in rules.rules]
    tags = [(name, tag.text) for name, tag in rules.tags]
    stored = None if rules.publish_in is None else sorted(rules.publish_in)
    return [texts, tags, rules.otherwise, stored]


def at_speed(plan: StreamPlan, rpm: float) -> StreamPlan:
    """The plan with this speed in place of the shaft's; GatewayError where nothing asks for one."""
    if all(section.recipe.speed is None for section in plan.sections):
        raise GatewayError(f"no channel of '{plan.device}' has a `speed:`, so --rpm is for nothing")
    sections = []
    texts = dict(plan.setup_texts)
    for section in plan.sections:
        recipe = section.recipe
        if recipe.speed is not None:
            recipe = replace(recipe, speed=rpm)
            for index in section.channels:
                texts[index] = setup_text(plan, recipe, plan.channels[index])
        sections.append(replace(section, recipe=recipe))
    return replace(plan, sections=sections, setup_texts=texts)


def only(plan: StreamPlan, channels: Sequence[str]) -> StreamPlan:
    """The plan of some of its channels, in the plan's order."""
    kept = [i for i, c in enumerate(plan.channels) if c.name in channels]
    place = {old: new for new, old in enumerate(kept)}
    sections = []
    for section in plan.sections:
        own = [(c, t) for c, t in zip(section.channels, section.tables, strict=True) if c in place]
        if own:
            indexes, tables = [place[c] for c, _ in own], [t for _, t in own]
            sections.append(replace(section, channels=indexes, tables=tables))
    return replace(
        plan,
        channels=tuple(plan.channels[i] for i in kept),
        sections=sections,
        setup_table={place[i]: t for i, t in plan.setup_table.items() if i in place},
        setup_texts={place[i]: t for i, t in plan.setup_texts.items() if i in place},
    )


def rows_of(path: Path, plan: StreamPlan, options: Options) -> Iterator[Told]:
    """The rows of a file as the daemon would have stored them; rows that tell set-ups, too.

    Reads it piece by piece. GatewayError where the file is of no use.
    """
    source = open_recording(path)
    chosen = _channels(source, plan, dict(options.tracks))
    plan = only(plan, list(chosen))
    tracks = [chosen[c.name] for c in plan.channels]
    rate_hz = _rate(path, tracks, options)
    for channel, track in zip(plan.channels, tracks, strict=True):
        if options.scale == 1.0 and track.unit is not None and track.unit != channel.unit:
            raise GatewayError(
                f"{path}: '{track.name}' is in {track.unit}, but channel '{channel.name}' in "
                f"{channel.unit}; --scale makes it so"
            )
    start_ns = tracks[0].start_ns
    analysis = _Analysis(plan)
    done = told = 0
    names = [track.name for track in tracks]
    for piece in read_pieces(path, source, names, PIECE_SAMPLES):
        data = _samples(piece, options.scale)
        t0_ns = (start_ns or 0) + round(done * 1e9 / rate_hz)
        try:
            rows = analysis.feed(Block(data, done, rate_hz, t0_ns=t0_ns))
        except DeviceUnavailable as error:
            detail = error.detail.replace("at the card's rate", "at its rate")
            raise GatewayError(f"{path}: {detail}") from error
        done += data.shape[1]
        for row in rows:
            end_s = (row.time_ns - (start_ns or 0)) / 1e9 + 1.0 / rate_hz
            yield Told(row, round(end_s, 8), start_ns is not None)
        told += len(rows)
    if not told:
        raise GatewayError(
            f"{path}: {done:,} samples ({done / rate_hz:g} s) are not enough; expected a window "
            f"of {plan.window_s:g} s, and what its filters need before it"
        )


class _Analysis:
    """The daemon's, its rows handed back."""

    def __init__(self, plan: StreamPlan) -> None:
        hub = Hub()
        hub.attach(self)
        self._rows: list[Row] = []
        self._analysis = StreamAnalysis(plan, hub)

    def put(self, row: Row) -> None:
        """Take a published row."""
        self._rows.append(row)

    def feed(self, block: Block) -> list[Row]:
        """The rows that end in a block."""
        self._rows = []
        self._analysis.feed(block)
        return self._rows


def _samples(piece: Array, scale: float) -> Array:
    """As the daemon keeps them: float32, scaled before in float64."""
    if scale != 1.0:
        piece = np.multiply(piece, scale, dtype="f8")
    return np.ascontiguousarray(piece, "f4")


def _channels(source: Source, plan: StreamPlan, given: Mapping[str, str]) -> dict[str, Track]:
    """Channel of the device -> track of the file."""
    found: dict[str, Track] = {}
    for channel in plan.channels:
        wanted = given.get(channel.name, channel.name)
        track = source.tracks.get(source.aliases.get(wanted, wanted))
        if track is not None:
            found[channel.name] = track
    if not found and not given and len(source.tracks) == len(plan.channels) == 1:
        found[plan.channels[0].name] = next(iter(source.tracks.values()))
    if not found:
        names = [*source.tracks]
        few = ", ".join(f"'{n}'" for n in names[:12]) + (", ..." if len(names) > 12 else "")
        first = plan.channels[0].name
        hint = f"; --channel {first}={names[0]}" if names else ""
        raise GatewayError(f"none of the device's channels is in it; it has {few or 'none'}{hint}")
    lengths = {track.samples for track in found.values()}
    if len(lengths) > 1:
        told = ", ".join(f"'{t.name}' {t.samples}" for t in found.values())
        raise GatewayError(f"its channels differ in samples: {told}")
    return found


def _rate(path: Path, tracks: Sequence[Track], options: Options) -> float:
    rates = {options.rate_hz or track.rate_hz for track in tracks}
    if None in rates:
        raise GatewayError(f"{path} does not say its rate; give --rate, in Hz")
    if len(rates) > 1:
        raise GatewayError(f"{path}: its channels differ in rate: {sorted(map(str, rates))}")
    rate_hz = rates.pop()
    if rate_hz is None or not 0 < rate_hz < 1e9:
        raise GatewayError(f"{path}: {rate_hz} Hz is no rate of samples")
    return rate_hz
