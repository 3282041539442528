"""/openapi.json says what the running gateway does: schemathesis asks every operation.

Once as anybody on this machine (a viewer without a token), once with an operator's token, and once
on the Unix socket. What is asked is made from the description, right and wrong; every answer must
be one that the description has, with no member that it has not.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.api.client import Client
from tests.support import free_port, until
from tests.system.cli_kit import MOCK_MAP, called, environment, state_of

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
WITHOUT_END = "/v1/tail"
"""Its answer never ends: tests/unit/test_api_tail.py has it."""

OPEN_SHAPES = {"SinkStatus"}
"""Shapes that may have more than is described: what is told of a sink depends on its type."""

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "response_headers_conformance", "negative_data_rejection"),
    *("allow_header_conformance", "ignored_auth"),
)

STREAM_MAP = """\
driver: mock
stream:
  rate_hz: 2560
  channels:
    a: {unit: g, signal: {kind: shaft, speed_rpm: 1480, imbalance: 0.04}}
"""
GATEWAY = """\
gateway: {name: test}
state_dir: state
api: {socket: s, listen: '127.0.0.1:%d', tokens_file: tokens}
sinks:
  history: {type: sqlite, retention_days: 1, max_bytes: 2GB}
devices:
  press: {driver: mock, map: mock.yaml}
  pump: {driver: mock, map: stream.yaml}
"""

GOOD = {
    "device": ["press", "pump"],
    "channel": ["a"],
    "table": ["process"],
    "address": ["force"],
    "from": ["-1h", "2026-01-01T00:00:00Z", "0"],
    "to": ["now"],
    "sink": ["history"],
    "seconds": [0.1, 1],
    "alarm": [None],
    "name": ["none"],
}
"""Values of parameters with which questions have answers."""

ANSWERED = 26
"""So many of the operations have an answer on this plant that is no error."""


class Run(NamedTuple):
    """What schemathesis did and found."""

    text: str
    code: int
    statuses: dict[str, Counter[int]]
    """Of each operation, e.g. ``GET /v1/latest``: how often each status came."""


class Running(NamedTuple):
    """A gateway, where it listens, and an operator's token."""

    folder: Path
    url: str
    token: str
    description: dict[str, Any]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("openapi")
    port = free_port()
    file = folder / "gateway.yaml"
    file.write_text(GATEWAY % port)
    (folder / "mock.yaml").write_text(MOCK_MAP)
    (folder / "stream.yaml").write_text(STREAM_MAP)
    token = called("token", "add", file, "anna", "--role", "operator").stdout.strip()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "run", str(file)],
            stdout=log,
            stderr=log,
            env=environment(),
        )
    try:
        until(lambda: state_of(file), 30, "an answer")
        client = Client(folder / "s")
        asked = {"device": "pump", "channel": "a"}
        until(lambda: _answers(client, "/v1/features", asked), 20, "features")
        until(lambda: _answers(client, "/v1/trends?tag=press.process.force"), 20, "a history")
        description = client.get_json("/openapi.json")
        yield Running(folder, f"http://127.0.0.1:{port}", token, description)
        said = (folder / "log").read_text()
        assert "Traceback" not in said
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(20)


def _answers(client: Client, path: str, params: Any = None) -> bool:
    from gateway.api.client import RequestFailed

    try:
        document = client.get_json(path, params)
    except RequestFailed:
        return False
    return all(series["points"] for series in document.get("series", ()))


def strict(description: dict[str, Any]) -> dict[str, Any]:
    """The description, in which no shape may have members that it does not name."""
    document: dict[str, Any] = json.loads(json.dumps(description))
    for name, shape in document["components"]["schemas"].items():
        if shape.get("type") == "object" and name not in OPEN_SHAPES:
            shape["additionalProperties"] = False
    return document


def narrowed(description: dict[str, Any]) -> dict[str, Any]:
    """The description, in which parameters have values that there are on this plant."""
    document = strict(description)
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                name = parameter["name"]
                if name == "tag":
                    is_list = parameter["schema"].get("type") == "array"
                    parameter["schema"] = (
                        {"type": "array", "items": {"enum": ["press.process.force"]}, "minItems": 1,
                         "maxItems": 3}
                        if is_list
                        else {"enum": ["force"]}
                    )  # fmt: skip
                elif name in GOOD:
                    parameter["schema"] = {"enum": GOOD[name]}
                elif name == "max_points":
                    parameter["schema"] = {"type": "integer", "minimum": 6, "maximum": 2000}
    return document


def ask(running: Running, document: dict[str, Any], url: str, *more: str) -> Run:
    """Run schemathesis to its end."""
    file = running.folder / "openapi.json"
    file.write_text(json.dumps(document))
    report = running.folder / "report.har"
    report.unlink(missing_ok=True)
    done = subprocess.run(
        [
            *(str(SCHEMATHESIS), "run", str(file), "--url", url, "--exclude-path", WITHOUT_END),
            *("--checks", ",".join(CHECKS), "--seed", "1"),
            *("--no-color", "--generation-database", "none", "--request-timeout", "20"),
            *("--no-shrink", "--continue-on-failure", "--warnings", "off"),
            *("--report", "har", "--report-har-path", str(report), *more),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        cwd=running.folder,
        env=environment(),
    )
    statuses: dict[str, Counter[int]] = {}
    for entry in json.loads(report.read_text())["log"]["entries"]:
        path = entry["request"]["url"].removeprefix(url).partition("?")[0]
        operation = f"{entry['request']['method']} {path}"
        statuses.setdefault(operation, Counter())[entry["response"]["status"]] += 1
    return Run(done.stdout + done.stderr, done.returncode, statuses)


def operations(description: dict[str, Any]) -> set[str]:
    return {
        f"{method.upper()} {path}"
        for path, each in description["paths"].items()
        for method in each
        if path != WITHOUT_END
    }


@contextmanager
def bridge(path: Path) -> Iterator[str]:
    """A TCP address whose connections go to a Unix socket: schemathesis knows only TCP."""
    listener = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one of them has closed it

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(path))
            opened.extend((client, server))
            for pair in ((client, server), (server, client)):
                threads.append(threading.Thread(target=pump, args=pair))
                threads[-1].start()

    threads = [threading.Thread(target=serve)]
    threads[0].start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        for end in opened:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)
        for end in (listener, *opened):
            end.close()


@pytest.mark.timeout(120)
@pytest.mark.xdist_group("openapi")
def test_right_questions_have_the_answers_that_are_described(running: Running) -> None:
    with bridge(running.folder / "s") as url:
        document = narrowed(running.description)
        done = ask(running, document, url, "--mode", "positive", "--phases", "fuzzing", "-n", "4")
    assert done.code == 0, done.text
    assert set(done.statuses) >= operations(running.description), done.text
    answered = {name for name, found in done.statuses.items() if found[200]}
    print(f"{sum(map(Counter.total, done.statuses.values()))} questions")
    assert len(answered) >= ANSWERED, operations(running.description) - answered


@pytest.mark.timeout(120)
@pytest.mark.xdist_group("openapi")
@pytest.mark.long
@pytest.mark.parametrize("with_token", [False, True])
def test_any_question_has_an_answer_that_is_described(running: Running, with_token: bool) -> None:
    header = ("-H", f"Authorization: Bearer {running.token}") if with_token else ()
    document = strict(running.description)
    phases = ("--phases", "coverage,fuzzing", "-n", "3", "--max-time", "12")
    done = ask(running, document, running.url, *phases, *header)
    assert done.code == 0, done.text
    total = sum(map(Counter.total, done.statuses.values()))
    print(f"{total} questions, of {len(done.statuses)} operations")
    assert total > 50
    # a busy machine may not come to these; so many wrong ones are slowed down
    traced = [found for name, found in done.statuses.items() if name.startswith("TRACE ")]
    assert set().union(*traced) <= {401, 405, 429}, traced


def test_a_member_that_is_not_described_is_found(running: Running) -> None:
    """The proof can fail: without one member of a shape, its answers are refused."""
    document = narrowed(running.description)
    del document["components"]["schemas"]["GatewayFacts"]["properties"]["threads"]
    document["components"]["schemas"]["GatewayFacts"]["required"].remove("threads")
    document["paths"] = {"/v1/status": document["paths"]["/v1/status"]}
    more = ("--mode", "positive", "--phases", "fuzzing", "-n", "1")
    done = ask(running, document, running.url, *more)
    assert done.code == 1
    assert "threads" in done.text
