"""Serves the live page: `gateway/page`, plain files without a build step.

Every file's address has a fingerprint of all files, so browsers keep them for good and a new
version of the gateway is never mixed with an old file.
"""

from __future__ import annotations

import datetime
import gzip
import hashlib
import html
import os
import zoneinfo
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.api.problems import Problem

FOLDER = Path(__file__).parent.parent / "page"
MEDIA = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
KEEP = "private, max-age=31536000, immutable"


class _File(NamedTuple):
    media: str
    etag: str
    plain: bytes
    packed: bytes


class Pages:
    """All files of the page in memory: a request neither reads the disk nor names a path on it."""

    def __init__(self, folder: Path = FOLDER) -> None:
        found = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.suffix in MEDIA and path.is_file()
        }
        mark = hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()[:12]
        start = found.pop("index.html").decode()
        self.prefix = f"/app/{mark}/"
        self._files = {name: _file(name, body) for name, body in found.items()}
        loads = "".join(
            f'<link rel="modulepreload" href="/app/{name}">\n'
            for name in found
            if name.endswith(".js")
        )
        start = start.replace("</head>", f"{loads}</head>").replace("/app/", self.prefix)
        self._start = start
        self._index: tuple[str, _File] | None = None

    def index(self) -> _File:
        """The page itself, with the zone that this machine's clock is in now."""
        zone = time_zone()
        if self._index is None or self._index[0] != zone:
            text = self._start.replace("<html ", f'<html data-zone="{html.escape(zone)}" ', 1)
            self._index = (zone, _file("index.html", text.encode()))
        return self._index[1]

    def get(self, mark: str, name: str) -> _File | None:
        """One of its files, where the fingerprint is that of this version."""
        return self._files.get(name) if f"/app/{mark}/" == self.prefix else None


def pages_router() -> APIRouter:
    """The routes."""
    router = APIRouter(include_in_schema=False)
    pages = Pages()

    @router.get("/")
    async def index(request: Request) -> Response:
        return _answer(request, pages.index())

    @router.get("/app/{mark}/{name:path}")
    async def file(request: Request, mark: str, name: str) -> Response:
        found = pages.get(mark, name)
        if found is None:
            raise Problem(404, f"the page has no file '{name}' in this version", "reload the page")
        return _answer(request, found, KEEP)

    return router


def time_zone() -> str:
    """IANA name of this machine's zone; a fixed offset where it has no such name."""
    name = os.environ.get("TZ", "").removeprefix(":")
    if not name:
        name = str(Path("/etc/localtime").resolve()).partition("/zoneinfo/")[2]
    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return _offset(datetime.datetime.now().astimezone())
    return name


def _offset(now: datetime.datetime) -> str:
    minutes = round((now.utcoffset() or datetime.timedelta()).total_seconds() / 60)
    sign = "-" if minutes < 0 else "+"
    return "UTC" if not minutes else f"{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def _file(name: str, body: bytes) -> _File:
    etag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    packed = gzip.compress(body, 9, mtime=0)
    return _File(MEDIA[Path(name).suffix], etag, body, packed)


def _answer(request: Request, file: _File, caching: str | None = None) -> Response:
    headers = {"etag": file.etag, "vary": "accept-encoding"}
    if caching is not None:
        headers["cache-control"] = caching  # in the place of the guard's no-store
    known = [
        t.strip().removeprefix("W/") for t in request.headers.get("if-none-match", "").split(",")
    ]
    if file.etag in known:
        return Response(status_code=304, headers=headers)
    codings = [
        part.partition(";")[0].strip()
        for part in request.headers.get("accept-encoding", "").split(",")
    ]
    body = file.plain
    if "gzip" in codings:
        body = file.packed
        headers["content-encoding"] = "gzip"
    return Response(body, headers=headers, media_type=file.media)
