"""`gateway reprocess`: features of stored waveforms, computed anew over many files."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.console import EXIT_BAD, WrongUsage, complain, nearest, out, say
from gateway.errors import GatewayError
from gateway.terminal import count, duration, printable

if TYPE_CHECKING:
    from gateway.analysis.plan import StreamPlan
    from gateway.reprocess.jobs import Outcome

EXIT_TERMINATED = 143


def reprocess(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A file, a folder, a glob or a URL of fsspec.")
    ],
    config: Annotated[
        Path, typer.Option("--config", metavar="FILE", readable=False, help="The configuration.")
    ],
    device: Annotated[
        str, typer.Option(metavar="NAME", help="The device of it whose recipe is computed.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            readable=False,
            help="A file .parquet or .csv, or a folder of parts.",
        ),
    ],
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Dask's, e.g. tcp://10.0.0.5:8786.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=1024, help="Processes on this machine; else one a core."
        ),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=TRACK", help="What a channel is called in the files."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(metavar="HZ", min=0.001, help="Rate, instead of the files'.")
    ] = None,
    scale: Annotated[float, typer.Option(metavar="X", help="Multiply the samples by this.")] = 1.0,
    rpm: Annotated[
        float | None, typer.Option(metavar="RPM", min=0.001, help="Speed of the shaft.")
    ] = None,
) -> None:
    """Compute features of stored waveforms anew.

    By the code of the gateway, with the recipe of a device: npz, npy, wav, tdms and parquet.

    Called again, it computes only what is missing or has changed.
    """  # fmt: skip
    from gateway.reprocess.recompute import Options, at_speed
    from gateway.reprocess.run import Target, Wanted, run
    from gateway.reprocess.sources import absolute, find

    if not math.isfinite(scale) or scale == 0:
        raise WrongUsage(f"--scale {scale:g}; expected a number other than 0")
    if scheduler is not None and workers is not None:
        raise WrongUsage("--scheduler and --workers exclude each other")
    plan = _plan(config, device)
    tracks = tuple(_track(text, plan) for text in channel or ())
    try:
        plan = plan if rpm is None else at_speed(plan, rpm)
        target = Target.make(output)
        files = find(absolute(source))
    except GatewayError as error:
        raise WrongUsage(printable(str(error))) from error
    _warn(plan)
    number = workers or len(os.sched_getaffinity(0))
    options = Options(rate, scale, tracks)
    wanted = Wanted(absolute(source), files, plan, options, target, number, scheduler)
    progress = _Bar() if sys.stderr.isatty() else _Lines()
    try:
        with _ended_by_sigterm():
            summary = run(wanted, progress)
    except (KeyboardInterrupt, SystemExit):
        progress.clear()
        say(f"stopped; {progress.done} of {progress.todo} done and kept, the same command goes on")
        raise
    progress.clear()
    if not progress.tells_faults:
        for name, reason in sorted(summary.failed.items()):
            complain(printable(f"{name}: {reason}"))
    there = f", {summary.there:,} were there" if summary.there else ""
    gone = f", {summary.gone:,} are gone, their rows stay" if summary.gone else ""
    out(
        f"{output}: {count(summary.rows, 'row')} of {count(summary.files, 'file')}; "
        f"{summary.computed:,} computed{there}{gone}"
    )
    if summary.failed:
        say(f"{len(summary.failed)} of {count(summary.files, 'file')} could not be computed", "red")
        raise typer.Exit(EXIT_BAD)


def _plan(config: Path, device: str) -> StreamPlan:
    from gateway.config import load

    plant = load(config)
    if device not in plant.devices:
        raise WrongUsage(f"{config} has no device '{device}'; {nearest(device, plant.devices)}")
    plan = plant.streams.get(device)
    if plan is None or plan.samples is not None:
        known = [n for n, p in plant.streams.items() if p.samples is None]
        told = nearest(device, known) if known else "no device has"
        raise WrongUsage(f"device '{device}' has no features of a stream; {told}")
    return plan


def _track(text: str, plan: StreamPlan) -> tuple[str, str]:
    name, equals, track = text.partition("=")
    names = [c.name for c in plan.channels]
    if not equals or not track:
        raise WrongUsage(f"--channel '{text}'; expected NAME=TRACK, e.g. {names[0]}=data[0]")
    if name not in names:
        raise WrongUsage(f"device '{plan.device}' has no channel '{name}'; {nearest(name, names)}")
    return name, track


def _warn(plan: StreamPlan) -> None:
    """Say what recordings do not hold."""
    from gateway.analysis.livetags import LiveTag

    speeds = {s.recipe.speed.text for s in plan.sections if isinstance(s.recipe.speed, LiveTag)}
    for tag in sorted(speeds):
        complain(f"recordings do not tell {tag}: no orders, no bearing lines; --rpm", "warning")
    if plan.states is not None and plan.states.tags:
        tags = ", ".join(sorted(tag.text for _, tag in plan.states.tags))
        complain(f"recordings do not tell {tags}: states may be 'unknown'", "warning")


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block in order, as Ctrl-C does."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(EXIT_TERMINATED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Lines:
    """A line a file: for logs."""

    tells_faults = True

    def __init__(self) -> None:
        self.todo = self.done = self.failed = 0
        self._begun_s = time.monotonic()

    def begin(self, todo: int, there: int) -> None:
        """What is ahead."""
        self.todo = todo
        say(f"{count(todo, 'file')} to compute" + (f", {there:,} there already" if there else ""))

    def ended(self, name: str, outcome: Outcome) -> None:
        """One file more."""
        from gateway.reprocess.jobs import Computed

        self.done += 1
        self.failed += not isinstance(outcome, Computed)
        self.tell(name, outcome)

    def tell(self, name: str, outcome: Outcome) -> None:
        """Say it."""
        from gateway.reprocess.jobs import Computed

        where = f"{self.done}/{self.todo} {name}"
        if isinstance(outcome, Computed):
            say(printable(f"{where}: {count(outcome.rows, 'row')}"))
        else:
            complain(printable(f"{where}: {outcome.reason}"))

    def clear(self) -> None:
        """Leave nothing on the line."""

    def _left(self) -> str:
        each_s = (time.monotonic() - self._begun_s) / max(1, self.done)
        return duration(each_s * (self.todo - self.done))


class _Bar(_Lines):
    """One line that is written over: for people."""

    tells_faults = False

    def begin(self, todo: int, there: int) -> None:
        """What is ahead."""
        self.todo = todo
        self._show("")

    def tell(self, name: str, outcome: Outcome) -> None:
        """Show how far it is."""
        self._show(f", {self._left()} left" if self.done < self.todo else "")

    def clear(self) -> None:
        """Take the bar away."""
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()

    def _show(self, left: str) -> None:
        faulty = f", {self.failed:,} faulty" if self.failed else ""
        text = f" {self.done:,}/{self.todo:,} files{faulty}{left}"
        room = max(10, min(40, shutil.get_terminal_size().columns - len(text) - 4))
        full = room * self.done // max(1, self.todo)
        sys.stderr.write(f"\r\x1b[K[{'#' * full}{' ' * (room - full)}]{text}")
        sys.stderr.flush()
