"""Chromium by Playwright, a gateway as a process, and pages that must not say an error."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.kit import Gateway, config
from tests.support import ROOT, missing, need_program

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

PACKAGES = ROOT / ".cache" / "browser"
ARGS = (
    # Chromium as root, without a graphics card, and without asking the internet anything
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker for all: a Chromium and a gateway each are enough for two cores."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("browser"))
            item.add_marker(pytest.mark.timeout(120))


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = need_program("chromium", "chromium")
    if not (PACKAGES / "playwright").is_dir():
        missing("Playwright", "make browser")
    sys.path.append(str(PACKAGES))  # last: the gateway's own packages go first
    try:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            found = playwright.chromium.launch(executable_path=chromium, args=list(ARGS))
            yield found
            found.close()
    finally:
        sys.path.remove(str(PACKAGES))


@pytest.fixture(scope="package")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One that no test harms."""
    with config(tmp_path_factory.mktemp("browser")).started() as running:
        yield running


class Pages:
    """Opens pages; what they say on the console is kept."""

    def __init__(self, browser: Browser, gateway: Gateway, name: str) -> None:
        self.browser = browser
        self.gateway = gateway
        self.name = name
        self.said: list[str] = []
        self.contexts: list[BrowserContext] = []

    def open(self, view: str = "overview", *, phone: bool = False, **options: Any) -> Page:
        size = {"width": 390, "height": 844} if phone else {"width": 1366, "height": 768}
        context = self.browser.new_context(viewport=size, is_mobile=phone, **options)
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda m: self._hear(m.type, m.text))
        page.on("pageerror", lambda e: self.said.append(f"exception: {e}"))
        page.goto(f"{self.gateway.url}#/{view}")
        return page

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.said.append(f"{kind}: {text}")

    def shot(self, page: Page, name: str) -> None:
        """Keep a picture, where pictures are kept."""
        folder = os.environ.get("GATEWAY_ARTEFACTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            file = Path(folder) / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.png"
            file.write_bytes(page.screenshot())  # its own `path` leaves threads behind


@pytest.fixture
def pages(browser: Browser, gateway: Gateway, request: pytest.FixtureRequest) -> Iterator[Pages]:
    """Pages of the shared gateway; none may say an error."""
    found = Pages(browser, gateway, request.node.name)
    yield found
    for context in found.contexts:
        context.close()
    assert found.said == []
