"""The life of `gateway writer`: from its start to SIGTERM, watched by systemd."""

from __future__ import annotations

import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any, cast

import anyio
import anyio.to_thread

from gateway import sdnotify
from gateway.errors import GatewayError
from gateway.relay.settings import WriterFile
from gateway.relay.worker import Worker

log = logging.getLogger("gateway.relay")

SWITCH_INTERVAL_S = 0.001

COLLECT_AFTER = 100_000
"""Objects between two looks for cycles. The rows of a batch have none, and are many: at Python's
700 looking at them again and again costs twice as much as all else."""


def run(file: WriterFile) -> int:
    """Run until SIGTERM or SIGINT; the exit code. GatewayError where it cannot start."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    return anyio.run(_main, file)


async def _main(file: WriterFile) -> int:
    # open until the very end: a second signal must not end the process while rows are stored
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as caught:
        worker = Worker(file)
        stop, server_stop, listening = anyio.Event(), anyio.Event(), anyio.CancelScope()
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER, 20, 50)
        async with anyio.create_task_group() as group:
            await _serve(file, worker, server_stop, group)
            worker.start()
            group.start_soon(_obey, caught, stop, listening)
            died = await _watch(worker, stop)
            sdnotify.notify("STOPPING=1")
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(worker.stop)
            server_stop.set()
            listening.cancel()
    if died:
        raise GatewayError("a thread of the worker has ended, which is a bug; see the log")
    return 0


async def _serve(file: WriterFile, worker: Worker, stop: anyio.Event, group: Any) -> None:
    if file.api is None:
        return
    from gateway.api.app import Api
    from gateway.api.server import Server
    from gateway.relay.app import WorkerApp

    app = WorkerApp(worker, file.api)
    await group.start(Server(cast(Api, app), file.api).run, stop)


async def _obey(
    signals: AsyncIterator[signal.Signals], stop: anyio.Event, listening: anyio.CancelScope
) -> None:
    with listening:
        async for number in signals:
            if stop.is_set():
                log.warning("already stopping: rows are being stored")
            else:
                log.info("stopping", extra={"signal": number.name})
                stop.set()


async def _watch(worker: Worker, stop: anyio.Event) -> bool:
    """Until the stop; True where a thread has ended by itself."""
    every_s = min(5.0, (sdnotify.watchdog_s() or 10.0) / 2)
    sdnotify.notify("READY=1")  # a Redis or a store that is not there yet is no failed start
    while not stop.is_set():
        if not worker.is_whole():
            return True
        if worker.alive():
            sdnotify.notify("WATCHDOG=1")
        _, reason = worker.ready()
        sdnotify.notify(f"STATUS={reason or 'all good'}")
        with anyio.move_on_after(every_s):
            await stop.wait()
    return False
