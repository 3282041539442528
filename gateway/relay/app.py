"""Health, status and metrics of a worker, behind the same guard as a gateway's API."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.api.access import Access
from gateway.api.answers import json_answer
from gateway.api.audit import AuditLog
from gateway.api.guard import Guard
from gateway.api.metrics import CONTENT_TYPE
from gateway.api.problems import unknown
from gateway.api.settings import ApiConfig
from gateway.relay.metrics import render
from gateway.relay.worker import Worker

log = logging.getLogger("gateway.api")

PATHS = ("/healthz", "/readyz", "/metrics", "/v1/status")


class WorkerApp:
    """An ASGI app with four routes, all of them questions."""

    def __init__(self, worker: Worker, config: ApiConfig) -> None:
        """GatewayError where the token file cannot be used."""
        self.connections: Collection[object] = ()
        self.cut_off: Mapping[str, int] = {}
        self._worker = worker
        routes = [
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics),
            Route("/v1/status", self._status),
            Route("/{path:path}", self._nothing),
        ]
        audit = AuditLog(lambda _: None, worker.name)  # there are no actions here
        self._guard = Guard(Starlette(routes=routes), config, Access(config), audit)

    def stop(self) -> None:
        """No answer here is endless."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._guard(scope, receive, send)

    async def _healthz(self, _: Request) -> Response:
        alive = self._worker.alive()
        return json_answer({"alive": alive}, 200 if alive else 503)

    async def _readyz(self, _: Request) -> Response:
        ready, reason = self._worker.ready()
        return json_answer({"ready": ready, "reason": reason}, 200 if ready else 503)

    async def _metrics(self, _: Request) -> Response:
        return PlainTextResponse(render(self._worker.status()), media_type=CONTENT_TYPE)

    async def _status(self, _: Request) -> Response:
        return json_answer({"time_ns": time.time_ns(), **self._worker.status()})

    async def _nothing(self, request: Request) -> Response:
        raise unknown("route", request.url.path, PATHS)
