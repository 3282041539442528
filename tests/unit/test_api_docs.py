"""The page /docs: whole without a CDN, and allowed by the app's own policy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.api.client import RequestFailed
from gateway.api.settings import ApiConfig
from tests.support import free_port
from tests.unit.apikit import Served, ask, served
from tests.unit.tokenkit import listen


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Served]:
    at = f"127.0.0.1:{free_port()}"
    with served(ApiConfig(socket=tmp_path / "gw.sock", listen=at)) as running:
        yield running


def test_the_page_and_all_that_it_loads_come_from_the_gateway(api: Served) -> None:
    seen, waiting = set(), ["/docs"]
    while waiting:
        path = waiting.pop()
        status, headers, body = ask(listen(api), path)
        assert status == 200, path
        assert headers["content-security-policy"].startswith("default-src 'self';")
        seen.add(path)
        if not headers["content-type"].startswith("text/"):
            continue
        text = body.decode("utf-8")
        assert not re.search(r"(https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text), f"{path} asks elsewhere"
        if path.startswith("/docs"):
            found = re.findall(r"(?:src|href)=\"([^\"]+)\"|fetch\(\"([^\"]+)\"", text)
            waiting += {a or b for a, b in found} - seen - {"/"}
    assert {"/docs", "/docs/docs.js", "/docs/docs.css", "/openapi.json"} <= seen


def test_the_page_has_nothing_that_the_policy_forbids(api: Served) -> None:
    text = ask(listen(api), "/docs")[2].decode("utf-8")
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", text)
    script = ask(listen(api), "/docs/docs.js")[2].decode("utf-8")
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("):
        assert forbidden not in script


def test_the_pages_of_the_framework_which_load_from_elsewhere_are_not_there(api: Served) -> None:
    for path in ("/redoc", "/docs/oauth2-redirect"):
        with pytest.raises(RequestFailed) as caught:
            api.client.get_json(path)
        assert caught.value.status == 404
