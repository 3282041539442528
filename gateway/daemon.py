"""The composition root: starts all parts in order, and stops them so that nothing is lost.

Producers (buses) stop first, then the writers drain to disk, and the HTTP app closes last.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from gateway import memory, sdnotify
from gateway.api.access import Access
from gateway.api.app import Api, make_app
from gateway.api.ingest import identified_by
from gateway.api.server import Server
from gateway.config import Plant
from gateway.errors import GatewayError
from gateway.health import ClockSteps, clock_synchronised
from gateway.reload import Reloader
from gateway.runtime import Runtime
from gateway.watchdog import Watchdog

if TYPE_CHECKING:
    from gateway.ingest.rpc import RpcServer

log = logging.getLogger("gateway.daemon")

SWITCH_INTERVAL_S = 0.0005
"""Python's thread switch interval: at its 5 ms default a busy thread delays every poll."""

CLOCK_CHECK_S = 10.0

INGEST_GRACE_S = 1.0
"""Longest that streams of senders stay open after their last acknowledgement."""


@contextlib.contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Hold the state directory for this process alone; GatewayError where another has it."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        advice = ""
        if isinstance(error, PermissionError):
            advice = "; give the configuration another state_dir, or run as the service's user"
        raise GatewayError(f"state_dir {state_dir}: {error.strerror}{advice}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
            raise GatewayError(
                f"state_dir {state_dir} is in use by another gateway (pid {holder or '?'}); "
                "stop it, or give this one its own state_dir"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def run(
    plant: Plant,
    *,
    config_path: Path,
    announce: Callable[[Api], None] = lambda _: None,
    load: Callable[[], Plant] | None = None,
) -> int:
    """Run until SIGTERM or SIGINT; the exit code. GatewayError where it cannot start.

    ``load`` loads the configuration again, for a reload (SIGHUP).
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    memory.tune(has_stream=bool(plant.streams))
    with locked(plant.state_dir):
        return anyio.run(_main, plant, config_path, announce, load)


async def _main(
    plant: Plant,
    config_path: Path,
    announce: Callable[[Api], None],
    load: Callable[[], Plant] | None,
) -> int:
    # open until the very end: a second signal must not end the process while rows are stored
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as caught:
        runtime = Runtime(plant, config_path)
        reloader = Reloader(runtime, load)
        runtime.reload_status = reloader.status
        app = make_app(runtime, plant.api)
        server = Server(app, plant.api)
        rpc: RpcServer | None = None
        server_stop, stop, listening = anyio.Event(), anyio.Event(), anyio.CancelScope()
        problem: GatewayError | None = None
        stuck: list[GatewayError] = []
        async with anyio.create_task_group() as consumers:
            try:
                for writer in runtime.writers.values():
                    await anyio.to_thread.run_sync(writer.start)
                await anyio.to_thread.run_sync(runtime.start_alarms)
                # only now: whoever asks before alarms are read would be told that there are none
                await consumers.start(server.run, server_stop)
                rpc = _start_rpc(runtime)
                for worker in runtime.workers.values():
                    worker.start()
                announce(app)
                consumers.start_soon(_obey, caught, stop, listening, reloader)
                async with anyio.create_task_group() as watchers:
                    watchers.start_soon(_watch, runtime, reloader, stop, stuck)
                    await stop.wait()
                    watchers.cancel_scope.cancel()
                problem = stuck[0] if stuck else None
            except GatewayError as error:
                problem = error
            finally:
                with anyio.CancelScope(shield=True):
                    sdnotify.notify("STOPPING=1")
                    try:
                        await anyio.to_thread.run_sync(_stop, runtime, reloader, rpc)
                    finally:
                        server_stop.set()
                        listening.cancel()
    if problem is not None:
        raise problem
    return 0


def _start_rpc(runtime: Runtime) -> RpcServer | None:
    """Take rows by gRPC, where the configuration says so. GatewayError where it cannot be."""
    grpc = runtime.plant.ingest.grpc
    if grpc is None or runtime.intake is None:
        return None
    from gateway.ingest.rpc import RpcServer  # 25 MB that few need

    server = RpcServer(grpc, runtime.intake, identified_by(Access(runtime.plant.api)))
    server.start()
    return server


async def _obey(
    signals: AsyncIterator[signal.Signals],
    stop: anyio.Event,
    listening: anyio.CancelScope,
    reloader: Reloader,
) -> None:
    async with anyio.create_task_group() as reloads:
        with listening:
            await _listen(signals, stop, reloads, reloader)


async def _reload(reloader: Reloader) -> None:
    sdnotify.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
    await anyio.to_thread.run_sync(reloader.reload)
    sdnotify.notify("READY=1")


async def _listen(
    signals: AsyncIterator[signal.Signals],
    stop: anyio.Event,
    reloads: TaskGroup,
    reloader: Reloader,
) -> None:
    async for number in signals:
        if number == signal.SIGHUP:
            log.info("reloading", extra={"signal": number.name})
            reloads.start_soon(_reload, reloader)
        elif stop.is_set():
            log.warning("already stopping: rows are being stored")
        else:
            log.info("stopping", extra={"signal": number.name})
            stop.set()


async def _watch(
    runtime: Runtime, reloader: Reloader, stop: anyio.Event, stuck: list[GatewayError]
) -> None:
    """Tell systemd when all is ready and that all is alive; look at clock and full queues."""
    watchdog = Watchdog(runtime, reloader)
    every_s = min(5.0, (sdnotify.watchdog_s() or 10.0) / 2)
    ready = False
    clock_at = 0.0
    steps = ClockSteps()
    while True:
        if (step_s := steps.look()) is not None:
            words = f"the wall clock stepped by {step_s:+.3f} s"
            log.warning("clock step", extra={"detail": words})
            runtime.events.record("clock_step", "gateway", words)
        if not ready and runtime.first_round_done():
            ready = True
            sdnotify.notify("READY=1")
            memory.give_back()  # what the start took, and needs no more
        if not runtime.heartbeats.silent():
            sdnotify.notify("WATCHDOG=1")
        else:
            try:
                await anyio.to_thread.run_sync(watchdog.look)
            except GatewayError as error:
                stuck.append(error)
                stop.set()
        if ready and os.environ.get("NOTIFY_SOCKET"):
            problems = runtime.status()["problems"]
            sdnotify.notify(f"STATUS={'; '.join(problems[:3]) or 'all good'}")
        if time.monotonic() - clock_at >= CLOCK_CHECK_S:
            clock_at = time.monotonic()
            runtime.clock_synchronised = clock_synchronised()
        runtime.hub.report_drops()
        await anyio.sleep(every_s if ready else 0.2)


def _stop(runtime: Runtime, reloader: Reloader, rpc: RpcServer | None) -> None:
    """Producers first, then the writers; whatever fails on the way, the rest is still done."""
    with reloader.lock:  # half of an exchange is no state to stop in
        reloader.stopped = True
    budget_s = runtime.plant.writer.shutdown_s
    deadline = time.monotonic() + budget_s
    if runtime.intake is not None:
        runtime.intake.close()  # what was taken is still stored, and acknowledged
    workers = runtime.workers.values()
    for worker in workers:
        worker.request_stop()
    # a request that is under way may end by itself: its answer is a row like any other
    patience = time.monotonic() + min(1.0, budget_s / 4)
    slow = [w for w in workers if not w.join(max(0.0, patience - time.monotonic()))]
    for worker in slow:
        worker.interrupt()
    for worker in slow:
        if not worker.join(max(0.1, min(5.0, deadline - time.monotonic()))):
            log.warning("bus did not stop in time", extra={"bus": worker.name})
    runtime.hub.report_drops(ending=True)
    with _logged("part", "alarms"):
        runtime.stop_alarms(max(1.0, (deadline - time.monotonic()) / 2))
    for writer in runtime.writers.values():
        with _logged("writer", writer.name):
            writer.stop(max(0.5, deadline - time.monotonic()))
    if rpc is not None:
        with _logged("part", "ingest"):
            rpc.stop(INGEST_GRACE_S)
    for sink in runtime.sinks.values():
        with _logged("sink", sink.name):
            sink.close()
    if left := runtime.hub.close():
        log.error("rows came too late to be stored", extra={"rows": left})
    if lost := runtime.ledger.status():
        log.warning("rows lost in this run", extra=lost)


@contextlib.contextmanager
def _logged(part: str, name: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        log.exception("could not be stopped", extra={part: name})
