"""Devices that other programs send, on the live page: there, with their state, without a button."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Pages
from tests.browser.kit import Gateway, config, wait_text
from tests.support import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

INGEST = """\
ingest:
  http: true
  devices:
    oven_7: {tables: {process: {interval_s: 3, tags: {temp: {}}}}}
"""


@pytest.fixture
def oven(browser: Browser, tmp_path: Path) -> Iterator[Pages]:
    plant = config(tmp_path)
    plant.file.write_text(plant.file.read_text() + INGEST)
    with plant.started() as running:
        found = Pages(browser, running, "ingested")
        yield found
        for context in found.contexts:
            context.close()
    assert found.said == []


def send(gateway: Gateway, line: str) -> None:
    """By the Unix socket, where no token is asked for."""
    head = f"POST /v1/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(line)}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(gateway.folder / "s"))
        connection.sendall((head + line).encode())
        assert connection.recv(12) == b"HTTP/1.1 204"


def test_what_is_sent_is_shown_as_it_comes_and_as_stale_when_it_stops(oven: Pages) -> None:
    page = oven.open("overview")
    row = page.locator("tr", has_text="oven_7")
    until(lambda: "nothing came yet" in row.first.inner_text(), 20)
    send(oven.gateway, "process,device=oven_7 temp=850.5")
    send(oven.gateway, "other,device=box_1 level=3")
    wait_text(page, "tr", r"good\s*oven_7\s*ingest")
    wait_text(page, "tr", r"good\s*box_1\s*ingest")  # it was not there before
    page = oven.open("device/oven_7")
    wait_text(page, "td.value", "850.5")
    assert page.locator("button", has_text="Disable").count() == 0
    wait_text(page, ".mark", "stale")
    wait_text(page, ".body span", "process: the newest row is of")
