"""The life of `gateway serve`: from its start to SIGTERM, watched by systemd."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import anyio.to_thread

from gateway import sdnotify
from gateway.api.app import Api, make_app
from gateway.api.server import Server
from gateway.errors import GatewayError
from gateway.serve.sessions import SignedSessions
from gateway.serve.settings import ServeFile
from gateway.serve.view import FleetView

log = logging.getLogger("gateway.serve")


def run(file: ServeFile, path: Path, announce: Callable[[Api], None] = lambda _: None) -> int:
    """Run until SIGTERM or SIGINT; the exit code. GatewayError where it cannot start."""
    return anyio.run(_main, file, path, announce)


def app_of(view: FleetView, file: ServeFile) -> Api:
    """The app of a node, whose sessions other nodes know where there is a key."""
    app = make_app(view, file.api)
    if file.api.session_key_file is not None:
        app.access.sessions = SignedSessions(file.api.session_key_file)
    return app


async def _main(file: ServeFile, path: Path, announce: Callable[[Api], None]) -> int:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as caught:
        view = FleetView(file, path)
        app = app_of(view, file)
        stop, listening = anyio.Event(), anyio.CancelScope()
        died = False
        async with anyio.create_task_group() as group:
            try:
                await group.start(Server(app, file.api).run, stop)
                view.start()
                announce(app)
                group.start_soon(_obey, caught, stop, listening)
                died = await _watch(view, stop)
            finally:
                stop.set()
                listening.cancel()
                sdnotify.notify("STOPPING=1")
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(view.stop)
    if died:
        raise GatewayError("a thread of this node has ended, which is a bug; see the log")
    return 0


async def _obey(
    signals: AsyncIterator[signal.Signals], stop: anyio.Event, listening: anyio.CancelScope
) -> None:
    with listening:
        async for number in signals:
            log.info("stopping", extra={"signal": number.name})
            stop.set()


async def _watch(view: FleetView, stop: anyio.Event) -> bool:
    """Until the stop; True where a thread has ended by itself."""
    every_s = min(5.0, (sdnotify.watchdog_s() or 10.0) / 2)
    told = False
    while not stop.is_set():
        if not view.is_whole():
            return True
        sdnotify.notify("WATCHDOG=1")
        ready, reason = view.ready()
        if not told:  # a Redis that is not there yet is no reason to be killed
            told = True
            sdnotify.notify("READY=1")
        sdnotify.notify(f"STATUS={'all good' if ready else reason}")
        with anyio.move_on_after(every_s):
            await stop.wait()
    return False
