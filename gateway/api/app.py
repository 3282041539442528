"""The HTTP app: FastAPI for the routes and their description, behind the guard.

FastAPI and all that it needs is imported only here and below, when the daemon starts.
"""

from __future__ import annotations

import asyncio
import html
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from gateway import __version__
from gateway.api import schemas
from gateway.api.absent import PYDANTIC_1, absent
from gateway.api.access import Access, user_name
from gateway.api.accessroutes import access_router
from gateway.api.answers import JSON
from gateway.api.blocking import Blocking
from gateway.api.codes import START_S
from gateway.api.connectionroutes import connections_router
from gateway.api.docspage import docs_router
from gateway.api.guard import Guard
from gateway.api.ingest import ingest_router
from gateway.api.live import live_router
from gateway.api.pages import pages_router
from gateway.api.problems import Problem, unknown
from gateway.api.routes import errors_of, make_router
from gateway.api.sessions import COOKIE
from gateway.api.settings import ApiConfig
from gateway.api.tail import Tails
from gateway.api.view import GatewayView

_ABOUT = """Status, metrics, live values, history and alarms of one edge gateway. Nothing here \
changes anything in a machine. Questions are asked with GET; what changes something in the gateway \
is a POST, for operators: on the Unix socket, or on TCP with a token or a session. \
Every error is an object with `error` and `expected`."""


class Api:
    """The whole app over one gateway, ready for an ASGI server."""

    def __init__(self, view: GatewayView, config: ApiConfig) -> None:
        """GatewayError where the token file cannot be used."""
        self._config = config
        self.access = access = Access(config)
        self.connections: Collection[object] = ()
        """All that are open; the server gives its own set."""
        self.cut_off: Mapping[str, int] = {}
        """Clients by why they were cut off; the server's own counts."""
        self._tails = Tails(view.hub)
        with absent(PYDANTIC_1):
            app = _Described(
                title="edge-gateway",
                version=__version__,
                description=_ABOUT,
                docs_url=None,
                redoc_url=None,
                redirect_slashes=False,
                telemetry={"tracing": False, "metrics": False, "logs": False},
            )
            routers = (
                make_router(view, self._tails, Blocking(), lambda: self.cut_off),
                access_router(view, access, config),
                connections_router(
                    view, lambda: self.connections, lambda: self.cut_off, errors_of(401, 403)
                ),
                ingest_router(view, errors_of(401, 403, 413, 415, 503)),
                live_router(view),
                pages_router(),
                docs_router(),
            )
            for router in routers:
                # as they are: include_router would make all of them a second time, at the first
                # request, to add what is common to a router, and that is nothing
                app.router.routes += router.routes
            described = [
                route
                for router in routers
                for route in router.routes
                if isinstance(route, APIRoute) and route.include_in_schema
            ]
            _add_index(app, view, described)
        _add_error_answers(app, described)
        self._guard = Guard(app, config, access, view.audit)

    def first_code(self) -> str | None:
        """A sign-in code for who starts the gateway; None where tokens say who may do what."""
        address = self._config.address
        if address is None or not address.is_loopback or self.access.tokens is not None:
            return None
        return self.access.codes.give(user_name(os.getuid()), START_S)

    def stop(self) -> None:
        """End the endless answers; running ones may finish."""
        self._tails.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await self._guard(scope, receive, send)
        except asyncio.CancelledError:
            if not self._tails.stopped.is_set():
                raise  # else the server cuts off what is still running: no fault to log


def make_app(view: GatewayView, config: ApiConfig) -> Api:
    """The app of one gateway. GatewayError where the token file cannot be used."""
    return Api(view, config)


class _Described(FastAPI):
    """FastAPI whose description says what the app does, not what FastAPI would do."""

    def openapi(self) -> dict[str, Any]:
        """The description; wrong parameters are answered with 400, never with 422."""
        if self.openapi_schema is None:
            with absent(PYDANTIC_1):
                schema = super().openapi()
            for path in schema["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
            components = schema.setdefault("components", {})
            for name in ("HTTPValidationError", "ValidationError"):
                components.get("schemas", {}).pop(name, None)
            for shape in schemas.ONLY_REFERRED:
                components["schemas"][shape.__name__] = shape.model_json_schema()
            components["securitySchemes"] = {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            }
            schema["security"] = [{}, {"token": []}, {"session": []}]
        return super().openapi()


def _add_index(app: FastAPI, view: GatewayView, routes: Sequence[APIRoute]) -> None:
    @app.get("/v1", include_in_schema=False)
    async def index() -> Response:
        name = html.escape(view.status()["gateway"]["name"])
        items = "".join(
            f'<li><a href="{route.path}">{route.path}</a> {html.escape(route.description)}</li>\n'
            for route in routes
            if "GET" in (route.methods or ())
        )
        return HTMLResponse(
            f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{name}</title>\n'
            f"<h1>edge-gateway {name}</h1>\n<ul>\n{items}"
            '<li><a href="/openapi.json">/openapi.json</a> All of this, for programs.</li>\n'
            "</ul></html>\n"
        )


def _add_error_answers(app: FastAPI, routes: Sequence[APIRoute]) -> None:
    # not from the whole description: a wrong path is asked for often, and making that costs 0.2 s
    paths = ["/", "/docs", "/openapi.json", *dict.fromkeys(route.path for route in routes)]

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> Response:
        return _answer(error)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return _answer(unknown("path", request.url.path, paths))
        if error.status_code == 405:
            text = f"the method {request.method} is not allowed"
            methods = {m for r in routes if r.path == request.url.path for m in r.methods or ()}
            methods |= {"GET"} if not methods else set()  # of what is not described: pages
            methods |= {"HEAD"} if "GET" in methods else set()
            allow = ", ".join(sorted(methods))
            only_read = allow == "GET, HEAD"
            expected = "GET: this is only read" if only_read else f"{allow}; see /docs"
            return _answer(Problem(405, text, expected, {"allow": allow}))
        return _answer(Problem(error.status_code, str(error.detail), None, error.headers))

    @app.exception_handler(RequestValidationError)
    async def wrong_parameter(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name, message = str(first["loc"][:2][-1]), str(first["msg"])
        if first["type"] == "missing":
            return _answer(Problem(400, f"the parameter '{name}' is missing", f"?{name}=..."))
        text = f"the parameter '{name}' is wrong: '{first.get('input')}'"
        return _answer(
            Problem(400, text, message.removeprefix("Input should be ").partition(",")[0])
        )

    @app.exception_handler(Exception)
    async def fault(_: Request, error: Exception) -> Response:
        # the server logs the traceback
        return _answer(Problem(500, f"a fault of the gateway ({type(error).__name__})"))


def _answer(problem: Problem) -> Response:
    return Response(problem.body, problem.status, problem.headers, JSON)
