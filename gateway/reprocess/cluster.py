"""Jobs on Dask: worker processes of this machine's own, or those of a scheduler."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Final

from gateway import __version__
from gateway.errors import GatewayError
from gateway.reprocess.jobs import Failed, Job, Outcome, compute
from gateway.reprocess.sources import missing

AT_HAND = 2
"""Jobs that a thread of a worker has at most, the one that it computes and the next."""

CONNECT_S = 10.0
WORKERS_S = 60.0
"""How long a scheduler has to answer, and to have a worker."""

_NOTHING_BY_HTTP: Final[dict[str, list[str]]] = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
"""Without a dashboard, Dask still tells of the work to whoever asks."""


class Pool:
    """Workers that compute jobs."""

    def __init__(self, client: Any, where: str) -> None:
        self._client = client
        self._where = where

    def outcomes(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Each job with its outcome, as they end. Few are at hand at a time.

        GatewayError where the workers are gone for good.
        """
        distributed = _library()
        waiting = iter(jobs)
        running: dict[Any, Job] = {}
        ended = distributed.as_completed()
        lost = (OSError, TimeoutError, distributed.client.FutureCancelledError,
                distributed.comm.CommClosedError, RuntimeError)  # fmt: skip
        try:
            self._submit(waiting, running, ended)
            while running:
                future = next(ended)
                job = running.pop(future)
                outcome = _outcome(future, distributed)
                yield job, outcome
                del future
                self._submit(waiting, running, ended)
        except lost as error:
            raise GatewayError(f"{self._where} is gone; what was done is kept") from error

    def _submit(self, waiting: Iterator[Job], running: dict[Any, Job], ended: Any) -> None:
        room = AT_HAND * max(1, sum(self._client.nthreads().values()))
        while len(running) < room:
            job = next(waiting, None)
            if job is None:
                return
            future = self._client.submit(_on_worker, job, pure=False)
            running[future] = job
            ended.add(future)


@contextlib.contextmanager
def own_workers(count: int) -> Iterator[Pool]:
    """Worker processes of one thread each, which end with the block; nobody else can use them."""
    distributed = _library()
    import dask

    _silence()
    with _ctrl_c_is_ours(), dask.config.set(_NOTHING_BY_HTTP):
        cluster = distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
            # keys made anew, in memory: else other users of the machine could run code as this one
            security=distributed.Security.temporary(),
        )
    with contextlib.closing(cluster), contextlib.closing(distributed.Client(cluster)) as client:
        yield Pool(client, "the process that gives out the work")


@contextlib.contextmanager
def workers_of(address: str) -> Iterator[Pool]:
    """The workers of a scheduler; GatewayError where there are none, or not of this version."""
    distributed = _library()
    _silence()
    where = f"the Dask scheduler at {address}"
    try:
        client = distributed.Client(address, timeout=CONNECT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise GatewayError(f"{where} does not answer; expected e.g. tcp://10.0.0.5:8786") from error
    with contextlib.closing(client):
        try:
            client.wait_for_workers(1, timeout=WORKERS_S)
        except TimeoutError as error:
            raise GatewayError(f"{where} has no worker") from error
        try:
            versions = set(client.run(_version).values())
        except Exception as error:  # whatever a worker without the package raises
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise GatewayError(
                f"the workers of {where} cannot compute: {why}; they need edge-gateway "
                f"{__version__} with its extras reprocess and vibration"
            ) from error
        if others := versions - {__version__}:
            raise GatewayError(f"{where} has workers with edge-gateway {', '.join(sorted(others))};"
                               f" here it is {__version__}")  # fmt: skip
        yield Pool(client, where)


def _on_worker(job: Job) -> Outcome:
    return compute(job, str(_library().get_worker().local_directory))


def _version() -> str:
    return __version__


def _outcome(future: Any, distributed: Any) -> Outcome:
    try:
        found: Outcome = future.result()
    except distributed.scheduler.KilledWorker:
        return Failed("the processes that computed it were killed; too little memory?")
    return found


@contextlib.contextmanager
def _ctrl_c_is_ours() -> Iterator[None]:
    """Processes that begin meanwhile do not end at Ctrl-C by themselves, but when they are told."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _silence() -> None:
    """What Dask logs of its own is said here in words, where it matters."""
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _library() -> Any:
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise missing(error) from error
    return distributed
