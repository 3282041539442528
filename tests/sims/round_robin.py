"""A tiny TCP load balancer: each connection goes to the next server that can be reached."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress


class RoundRobin:
    """Listens on a free port of 127.0.0.1; `chosen` are the servers of the connections so far."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.port = 0
        self.chosen: list[int] = []
        self._ports = ports
        self._turn = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def _serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await server.wait_closed()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends = [writer]
        try:
            for _ in self._ports:
                port = self._ports[self._turn % len(self._ports)]
                self._turn += 1
                with suppress(OSError):
                    there, back = await asyncio.open_connection("127.0.0.1", port)
                    self.chosen.append(port)
                    ends.append(back)
                    await asyncio.gather(_pump(reader, back), _pump(there, writer))
                    return
        except asyncio.CancelledError:
            pass
        finally:
            for end in ends:
                end.close()
            self._tasks.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    with suppress(OSError, RuntimeError):
        writer.close()


@contextmanager
def round_robin(*ports: int) -> Iterator[RoundRobin]:
    """A running one."""
    made, ready = RoundRobin(ports), threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        loop.run_until_complete(made._serve(ready, stop))
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(5)
        yield made
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()
