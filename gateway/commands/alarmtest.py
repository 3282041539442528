"""`gateway alarms test`: what the rules of a configuration would have raised, and when."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.console import (
    AsJson,
    ConfigFile,
    WrongUsage,
    nearest,
    out,
    out_json,
    say,
    table,
)
from gateway.errors import GatewayError
from gateway.terminal import count, duration, number

if TYPE_CHECKING:
    from gateway.alarms.model import Transition
    from gateway.alarms.replay import Replay
    from gateway.analysis.plan import StreamPlan
    from gateway.config import Plant
    from gateway.model import Row, Table
    from gateway.recordings import Recording

BLOCK_S = 0.1


def try_rules(
    file: ConfigFile,
    recording: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            readable=False,
            help="Samples of a stream: npz, npy, wav, tdms or csv.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Of the historian: -1h, -7d, or ISO 8601."),
    ] = None,
    until: Annotated[
        str, typer.Option("--to", metavar="TIME", help="As --from; left out: now.")
    ] = "now",
    device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="Whose samples the recording has.")
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Its channel, where the recording's has another name."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(metavar="HZ", min=0.001, help="Sample rate, where the file does not say it."),
    ] = None,
    rpm: Annotated[
        float | None,
        typer.Option(metavar="RPM", min=0.001, help="Speed of the shaft, where a PLC tells it."),
    ] = None,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="The machine's operating state meanwhile.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try the rules on what was recorded: samples, or a stretch of the historian.

    Nothing is changed and nobody is told. The rules begin without a past: as after their first
    start. A learned baseline is learned anew.
    """
    from gateway.config import load

    if (recording is None) == (since is None):
        raise WrongUsage("expected either --recording FILE or --from TIME")
    plant = load(file)
    if not plant.alarms.rules:
        raise WrongUsage(f"{file} has no alarm rules")
    if recording is not None:
        replay = _over_recording(plant, recording, device, channel, rate, rpm, state)
    else:
        assert since is not None  # noqa: S101 - for the type checker
        replay = _over_history(plant, since, until)
    if as_json:
        for transition in replay.transitions:
            out_json(_document(transition))
    else:
        _print(replay)


test_rules = try_rules
"""The command ``test`` of the group."""


def _print(replay: Replay) -> None:
    rows = []
    for transition in replay.transitions:
        at = datetime.fromtimestamp(transition.time_ns / 1e9).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        value = "" if transition.value is None else number(transition.value)
        rows.append(
            [at, transition.id, transition.severity.value.upper(), transition.state.value, value,
             transition.message]
        )  # fmt: skip
    if rows:
        out(table(rows, ("TIME", "ALARM", "SEVERITY", "STATE", "VALUE", "MESSAGE"), right=(4,)))
    raised = [t for t in replay.transitions if t.state.value == "unacknowledged"]
    alarms = len({t.id for t in raised})
    say(f"{count(replay.rows, 'row')} judged: {count(alarms, 'alarm')} raised, "
        f"{count(len(raised), 'time')} in all")  # fmt: skip


def _document(transition: Transition) -> dict[str, Any]:
    from gateway.alarms.database import document_of

    return document_of(transition)


# -- the historian ------------------------------------------------------------------------------


def _over_history(plant: Plant, since: str, until: str) -> Replay:
    from gateway.alarms.replay import Replay, for_history
    from gateway.api.times import EXPECTED, parse_time
    from gateway.sinks.historian.playback import play_back

    times = []
    for option, text in (("--from", since), ("--to", until)):
        try:
            times.append(parse_time(text, time.time_ns()))
        except (ValueError, ArithmeticError):
            raise WrongUsage(f"{option} '{text}' is no time; expected {EXPECTED}") from None
    from_ns, to_ns = times
    if from_ns >= to_ns:
        raise WrongUsage(f"--from {since} is not before --to {until}")
    plan, left_out = for_history(plant.alarms)
    if left_out:
        say(f"left out, because silence is not stored: {', '.join(left_out)}", "yellow")
    replay = Replay(plan)
    tables = _tables(plan.rules)
    with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        path = _history_file(plant, Path(folder))
        replay.run(play_back(path, tables, from_ns, to_ns))
    if not replay.rows:
        raise GatewayError("the historian has no row of these tables in that time")
    replay.end(to_ns)
    return replay


def _history_file(plant: Plant, folder: Path) -> Path:
    """The historian's file; a copy of it where a gateway is writing to it."""
    from gateway.api.client import NotRunning
    from gateway.commands.client import client_for, download
    from gateway.sinks.historian import HistorianSink

    configs = {name: c for name, c in plant.sinks.items() if c.type == "sqlite"}
    if not configs:
        raise WrongUsage("the configuration has no sink of type sqlite; nothing is kept to look at")
    copy = folder / "history.db"
    try:
        client = client_for(plant.api.socket, None)
        download(client, "/v1/history.db", copy, "a copy is", timeout_s=600.0)
        return copy
    except NotRunning:
        name, config = next(iter(configs.items()))
        return HistorianSink(name, config, plant.state_dir).path


def _tables(rules: Sequence[Any]) -> list[Table]:
    from gateway.alarms.conditions import live_tags

    found = {tag.table: None for rule in rules for tag in live_tags(rule)}
    return list(found)


# -- a recording --------------------------------------------------------------------------------


def _over_recording(
    plant: Plant,
    path: Path,
    device: str | None,
    channel: str | None,
    rate: float | None,
    rpm: float | None,
    state: str | None,
) -> Replay:
    from gateway.alarms.replay import Replay

    plan = _stream(plant, device)
    tracks = _read(path, plan, channel, rate)
    first = next(iter(tracks.values()))
    for name, track in tracks.items():
        if track.rate_hz != first.rate_hz or len(track.data) != len(first.data):
            raise GatewayError(f"{path}: '{name}' has another rate or length than the others")
    replay = Replay(plant.alarms)
    length_s = len(first.data) / first.rate_hz
    begin_ns = time.time_ns() - round(length_s * 1e9)
    replay.run(_features(_adapted(plan, rpm, state), tracks, first.rate_hz, begin_ns))
    if not replay.rows:
        raise GatewayError(
            f"{path}: {duration(length_s)} of samples make no row of features; "
            f"its window is {duration(plan.window_s)}"
        )
    return replay


def _stream(plant: Plant, device: str | None) -> StreamPlan:
    plans = {name: plan for name, plan in plant.streams.items() if plan.sections}
    if not plans:
        raise WrongUsage("no device of the configuration computes features of a stream")
    if device is None:
        if len(plans) > 1:
            raise WrongUsage(f"several devices stream; add --device {'|'.join(sorted(plans))}")
        return next(iter(plans.values()))
    if device not in plans:
        raise WrongUsage(f"'{device}' does not stream; {nearest(device, plans)}")
    return plans[device]


def _read(
    path: Path, plan: StreamPlan, channel: str | None, rate: float | None
) -> dict[str, Recording]:
    """Channel -> its samples: those of the same name, or the only ones."""
    from gateway.recordings import channel_names, read_recording

    names = [c.name for c in plan.channels]
    if channel is not None and channel not in names:
        raise WrongUsage(f"'{plan.device}' has no channel '{channel}'; {nearest(channel, names)}")
    there = channel_names(path)
    same = [name for name in names if name in there and channel in (None, name)]
    if same:
        return {name: read_recording(path, name, rate) for name in same}
    if channel is None and len(names) > 1:
        raise WrongUsage(
            f"{path} names no channel of '{plan.device}'; add --channel {'|'.join(names)}"
        )
    return {channel or names[0]: read_recording(path, None, rate)}


def _adapted(plan: StreamPlan, rpm: float | None, state: str | None) -> StreamPlan:
    """The plan, with what other machines would have told."""
    if state is not None:
        rules = plan.states
        if rules is None:
            raise WrongUsage(f"'{plan.device}' has no operating states; leave out --state")
        known = [*(name for name, _ in rules.rules), rules.otherwise]
        if state not in known:
            raise WrongUsage(f"unknown state '{state}'; {nearest(state, known)}")
        fixed = replace(rules, rules=(), tags=(), otherwise=state, publish_in=None)
        plan = replace(plan, states=fixed)
    if rpm is not None:
        sections = [
            replace(s, recipe=replace(s.recipe, speed=rpm / s.recipe.speed_ratio))
            for s in plan.sections
        ]
        plan = replace(plan, sections=sections)
    return plan


def _features(
    plan: StreamPlan, tracks: dict[str, Recording], rate_hz: float, begin_ns: int
) -> Iterator[Row]:
    """The rows of features that a running gateway would have published."""
    import numpy as np

    from gateway.analysis.stream import StreamAnalysis
    from gateway.hub import Hub
    from gateway.model import Block

    rows: list[Row] = []

    class _Rows:
        """Takes the rows of the channels that the recording has."""

        def put(self, row: Row) -> None:
            if row.table in wanted:
                rows.append(row)

    wanted = {table for table in plan.tables if table.channel in tracks}
    hub = Hub()
    hub.attach(_Rows())
    analysis = StreamAnalysis(plan, hub)
    samples = max(1, round(rate_hz * BLOCK_S))
    length = len(next(iter(tracks.values())).data)
    for first in range(0, length, samples):
        count_here = min(samples, length - first)
        data = np.zeros((len(plan.channels), count_here), np.float32)
        for index, its in enumerate(plan.channels):
            if its.name in tracks:
                data[index] = tracks[its.name].data[first : first + count_here]
        t0_ns = begin_ns + round(first * 1e9 / rate_hz)
        analysis.feed(Block(data, first, rate_hz, t0_ns=t0_ns))
        yield from rows
        rows.clear()
