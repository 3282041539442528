"""What every installed sink must do, over all of them: the contract of `gateway.sinks`."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

import pytest

from gateway.config import load
from gateway.errors import SinkUnavailable
from gateway.model import ALL, Column, Row, Table, bad, make_parts
from gateway.sinks import DurableSink, RemoteSink, Selected, Sink, find_sink, installed_sinks
from tests.support import ROOT, free_port

SINKS = installed_sinks()
KINDS = ("f4", "f8", "i8", "u8", "b1", "str")


def example_text(name: str) -> str:
    """The YAML of the sink's README."""
    for readme in (ROOT / "gateway" / "sinks").glob("*/README.md"):
        for block in re.findall(r"```yaml\n(.*?)```", readme.read_text("utf-8"), re.DOTALL):
            if f"type: {name}" in block:
                return str(block)
    raise AssertionError(f"no README of the sinks shows `type: {name}`")


@pytest.fixture
def configured(tmp_path: Path) -> dict[str, Sink]:
    (tmp_path / "influx.token").write_text("secret-token-of-the-test", "utf-8")
    (tmp_path / "influx.token").chmod(0o600)
    (tmp_path / "map.yaml").write_text(
        "driver: mock\ngroups: {g: {interval_s: 1, tags: {a: {type: real}}}}\n", "utf-8"
    )
    sinks: dict[str, Sink] = {}
    for name in SINKS:
        text = re.sub(r"(\w+_file): \S+?([,}\s])", r"\1: influx.token\2", example_text(name))
        text = re.sub(r"\bhost: [^\s,}]+", f"host: 127.0.0.1\n    port: {free_port()}", text)
        text = re.sub(r"http://[^\s\"',}]+", f"http://127.0.0.1:{free_port()}", text)
        config = tmp_path / f"{name}.yaml"
        config.write_text(
            "gateway: {name: test}\nstate_dir: state\napi: {socket: gateway.sock}\n"
            f"{text}\ndevices: {{m: {{driver: mock, map: map.yaml}}}}\n",
            "utf-8",
        )
        for key, settings in load(config).sinks.items():
            sinks[key] = find_sink(settings.type)(key, settings, tmp_path / "state")
    return sinks


@pytest.fixture
def table() -> Table:
    columns = [Column(f"c_{kind}", kind) for kind in KINDS]  # type: ignore[arg-type]
    return Table("t", "d", columns, (("gateway", "g"), ("device", "d")))


def rows(table: Table, count: int) -> list[Selected]:
    values = (1.5, 2.25, -3, 2**63 + 1, True, 'ä\n"x\\')
    return [Selected(Row(table, 1_700_000_000_000_000_000 + i, make_parts(table, values)))
            for i in range(count)]  # fmt: skip


def test_sinks_are_installed() -> None:
    assert {"influxdb", "mqtt", "postgres", "redis", "sqlite"} <= set(SINKS)


@pytest.mark.parametrize("name", SINKS)
def test_every_setting_is_described(name: str) -> None:
    fields = find_sink(name).config_class.model_fields
    assert not [f for f, info in fields.items() if not info.description]


def test_the_examples_of_all_readmes_load(configured: dict[str, Sink]) -> None:
    assert {s.config.type for s in configured.values()} == set(SINKS)


def test_the_constructor_does_no_network_io(
    configured: dict[str, Sink], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("I/O in a constructor")

    monkeypatch.setattr(socket, "socket", refuse)
    for name, sink in configured.items():
        again = type(sink)(name, sink.config, tmp_path / "elsewhere")
        again.close()
    assert not (tmp_path / "elsewhere").exists()


def test_close_may_come_first_and_twice(configured: dict[str, Sink]) -> None:
    for sink in configured.values():
        sink.close()
        sink.close()
        assert isinstance(sink.status(), dict)


def test_remote_sinks_encode_and_split_and_say_unavailable_in_time(
    configured: dict[str, Sink], table: Table
) -> None:
    remote = [s for s in configured.values() if isinstance(s, RemoteSink)]
    assert remote
    for sink in remote:
        payloads = sink.encode(rows(table, 10))
        assert sum(p.rows for p in payloads) == 10
        halves = sink.split(payloads[0].body, payloads[0].format)
        assert len(halves) == 2
        for half in halves:
            while True:
                pieces = sink.split(half, payloads[0].format)
                if len(pieces) == 1:
                    break
                half = pieces[0]
        begun = time.monotonic()
        with pytest.raises(SinkUnavailable):
            sink.deliver(payloads[0].body, payloads[0].format)
        assert time.monotonic() - begun < 15
        sink.close()


def test_a_row_without_any_value_is_taken_by_every_sink(
    configured: dict[str, Sink], table: Table
) -> None:
    lost = Selected(Row(table, 1_700_000_000_000_000_000, (), {ALL: bad("timeout")}))
    for sink in configured.values():
        if isinstance(sink, RemoteSink):
            assert sum(p.rows for p in sink.encode([lost])) == 1
        if isinstance(sink, DurableSink):
            sink.store([lost, *rows(table, 3)])
        sink.close()
