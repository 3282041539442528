"""A copy of the historian's file, for any SQLite tool: the file itself is the daemon's alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fastapi import APIRouter, Depends
from starlette.responses import Response, StreamingResponse

from gateway.api.answers import only
from gateway.api.blocking import Blocking
from gateway.api.problems import Problem
from gateway.api.view import GatewayView
from gateway.errors import GatewayError

CHUNK = 1 << 18
MEDIA_TYPE = "application/vnd.sqlite3"


def add_snapshot(
    router: APIRouter, view: GatewayView, blocking: Blocking, errors: dict[int | str, Any]
) -> None:
    """Add ``/v1/history.db``."""
    content = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}

    @router.get(
        "/v1/history.db",
        dependencies=[Depends(only())],
        response_class=Response,
        responses={200: {"description": "An SQLite file.", "content": content}, **errors},
    )
    async def snapshot() -> Response:
        """A consistent copy of the historian's database, taken while it goes on storing."""
        try:
            copy = await blocking.call("the historian's copy", _copy, view)
        except (GatewayError, OSError) as error:
            raise Problem(503, f"the historian: {error}", "try again; see the status") from error
        if copy is None:
            raise Problem(404, "no history is kept here", "a gateway with a sink of type sqlite")
        return StreamingResponse(_chunks(copy), media_type=MEDIA_TYPE)


def _copy(view: GatewayView) -> IO[bytes] | None:
    with tempfile.TemporaryDirectory(prefix="copy-", dir=view.state_dir) as folder:
        path = Path(folder) / "history.db"
        if not view.copy_history(path):
            return None
        return path.open("rb")  # its name goes with the folder, its bytes with the last reader


def _chunks(copy: IO[bytes]) -> Iterator[bytes]:
    with copy:
        while piece := copy.read(CHUNK):
            yield piece
