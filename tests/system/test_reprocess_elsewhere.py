"""`gateway reprocess` over recordings elsewhere, and by the workers of a scheduler."""

from __future__ import annotations

import contextlib
import functools
import http.server
import socket
import ssl
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import free_port, until
from tests.system.cli_kit import environment
from tests.system.reprocess_kit import (
    FILES,
    launched,
    manifest,
    many,
    plant,
    processes_of,
    re_computed,
    record,
    reprocess,
    rows,
)

__all__ = ["plant"]  # a fixture

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder by HTTP."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_urls_of_files_http_and_an_archive(plant: Path) -> None:
    source = many(plant / "in", 3, 3.0)
    with zipfile.ZipFile(plant / "all.zip", "w") as archive:
        for path in source.iterdir():
            archive.write(path, f"day 1/{path.name}")
    done = reprocess(plant, f"zip://day 1/0[01].npz::file://{plant}/all.zip", "zip")
    assert "2 files; 2 computed" in done.stdout
    with served(plant) as url:
        done = reprocess(plant, f"{url}/in/", "http")
        assert "3 files; 3 computed" in done.stdout
        found = [row for row in rows(plant / "http") if row["source"] != "02.npz"]
        assert found == rows(plant / "zip")
        record(source / "01.npz", 9, 3.0)
        done = reprocess(plant, f"{url}/in/", "http")
        assert re_computed(done.stderr) == ["01.npz"], "the server says when a file was changed"
        gone = reprocess(plant, f"{url}/nothing.npz", "none", expect=2)
        assert "nothing.npz does not exist" in gone.stderr
    refused = reprocess(plant, f"{url}/in/", "http", expect=2)
    assert "cannot look into http://127.0.0.1:" in refused.stderr
    assert list((plant / "tmp").glob("**/reprocess-*")) == [], "no copy is left"


@contextlib.contextmanager
def dask(*arguments: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (
        (folder / f"{arguments[0]}.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(DASK_TEMPORARY_DIRECTORY=str(folder / "scratch")),
            cwd=folder,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def test_the_workers_of_a_scheduler(plant: Path) -> None:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    refused = reprocess(plant, plant / "edge.npz", "out", "--scheduler", address, expect=1)
    assert f"the Dask scheduler at {address} does not answer" in refused.stderr
    source = many(plant / "in")
    at = ["--host", "127.0.0.1", "--no-dashboard"]
    with dask("scheduler", *at, "--port", str(port), folder=plant) as scheduler:
        worker = ["worker", address, *at, "--nthreads", "2", "--no-nanny"]
        with dask(*worker, folder=plant):
            done = reprocess(plant, source, "cluster.parquet", "--scheduler", address)
            assert f"{FILES} files; {FILES} computed" in done.stdout
            reprocess(plant, source, "own.parquet")
            cluster, own = (plant / f"{name}.parquet" for name in ("cluster", "own"))
            assert cluster.read_bytes() == own.read_bytes(), "whoever computes it"
            more = ("--scheduler", address)
            with launched(plant, *more, out="lost.parquet", source=source) as process:
                parts = plant / "lost.parquet.parts"
                until(lambda: len(manifest(parts)) >= 2, 120, "two files are done")
                scheduler.kill()
                _, errors = process.communicate(timeout=90)
    assert process.returncode == 1, errors
    assert b"Traceback" not in errors, errors
    assert f"the Dask scheduler at {address} is gone; what was done is kept".encode() in errors
    assert len(manifest(parts)) >= 2


def said_by(port: int, *, tls: bool) -> bytes:
    """What it says to somebody without its certificate, up to its end of the connection."""
    got = b""
    with (
        contextlib.suppress(ssl.SSLError, ConnectionError),
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        contextlib.ExitStack() as stack,
    ):
        line: socket.socket = plain
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            line = stack.enter_context(context.wrap_socket(plain))
        line.sendall(b"GET /json/identity.json HTTP/1.0\r\n\r\n")
        while more := line.recv(4096):
            got += more
    return got


def test_nobody_else_can_use_its_own_workers(plant: Path) -> None:
    source = many(plant / "in")
    with launched(plant, "--workers", "2", out="out.parquet", source=source) as process:
        until(lambda: manifest(plant / "out.parquet.parts"), 120, "a file is done")
        listening = [
            at.laddr
            for pid in processes_of(plant)
            for at in psutil.Process(pid).net_connections("tcp")
            if at.status == psutil.CONN_LISTEN
        ]
        assert len(listening) >= 4, "the scheduler, what watches the workers, and the workers"
        assert {at.ip for at in listening} == {"127.0.0.1"}
        for at in listening:
            plain, encrypted = said_by(at.port, tls=False), said_by(at.port, tls=True)
            assert plain == b"" or plain.startswith(b"HTTP/1.1 404"), plain
            assert encrypted == b""
        process.terminate()
        process.communicate(timeout=60)
