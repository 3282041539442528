"""The page ``/docs``: what /openapi.json says, for people. Plain files, nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

FOLDER = Path(__file__).parent / "docs"
FILES = {
    "/docs": ("index.html", "text/html"),
    "/docs/docs.css": ("docs.css", "text/css"),
    "/docs/docs.js": ("docs.js", "text/javascript"),
}


def docs_router() -> APIRouter:
    """The routes."""
    router = APIRouter(include_in_schema=False)
    for path, (name, media) in FILES.items():
        _add(router, path, (FOLDER / name).read_bytes(), media)
    return router


def _add(router: APIRouter, path: str, body: bytes, media: str) -> None:
    @router.get(path)
    async def file() -> Response:
        return Response(body, media_type=media)
