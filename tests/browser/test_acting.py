"""What a person does in the page reaches the gateway; what becomes of the gateway is shown."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Pages
from tests.browser.kit import Gateway, config, no_dialog, pictures, wait_text
from tests.support import until
from tests.system.cli_kit import gateway as cli

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ALARM = "press_1/always_high.high"
OTHER = "press_1/second_high.high"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with config(tmp_path_factory.mktemp("acting")).started() as running:
        yield running


@pytest.fixture
def acting(browser: Browser, own: Gateway, request: pytest.FixtureRequest) -> Iterator[Pages]:
    """Pages of a gateway that tests may change. A refusal is an answer that Chromium tells of."""
    found = Pages(browser, own, request.node.name)
    yield found
    for context in found.contexts:
        context.close()
    assert [text for text in found.said if "status of 401" not in text] == []


def transitions(gateway: Gateway, alarm: str) -> list[dict[str, Any]]:
    """From the alarms' database on disk, the newest first."""
    file = gateway.folder / "state" / "alarms.db"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        found = database.execute(
            "SELECT * FROM transition WHERE id = ? ORDER BY number DESC", (alarm,)
        )
        return [dict(row) for row in found]


def stored(gateway: Gateway, alarm: str, **wanted: str) -> dict[str, Any]:
    """The newest transition, once it is this one: a thread of its own stores what is shown."""

    def newest() -> dict[str, Any] | None:
        found = transitions(gateway, alarm)[0]
        return found if wanted.items() <= found.items() else None

    found = until(newest, 20, f"{wanted} to be stored")
    assert found is not None
    return found


def row(page: Page, alarm: str) -> Any:
    return page.locator(f"tr[data-id='{alarm}']")


def sign_in(page: Page, gateway: Gateway) -> None:
    """In the dialog that asks for it."""
    page.fill("dialog input[name=token]", gateway.code())
    page.click("dialog:has(input[name=token]) button.primary")


def test_an_acknowledge_reaches_the_database(acting: Pages) -> None:
    page = acting.open("alarms")
    row(page, ALARM).get_by_role("button", name="Acknowledge").click()
    page.fill("dialog input[name=why]", "bearing is on order")
    page.click("dialog button.primary")
    page.wait_for_selector("dialog input[name=token]")  # a viewer is asked who it is
    acting.shot(page, "sign-in")
    page.fill("dialog input[name=token]", "WRONG-CODE")
    page.click("dialog:has(input[name=token]) button.primary")
    wait_text(page, "dialog .fault", "wrong|not known|no sign-in code|code")
    sign_in(page, acting.gateway)
    until(lambda: row(page, ALARM).locator(".mark.acknowledged").count() == 1, 20)
    newest = stored(acting.gateway, ALARM, state="acknowledged")
    assert newest["why"] == "bearing is on order"
    assert newest["who"]
    no_dialog(page)
    acting.shot(page, "acknowledged")


def test_an_alarm_is_shelved_and_comes_back_by_keys_alone(acting: Pages) -> None:
    page = acting.open("alarms")
    row(page, OTHER).wait_for()
    page.locator("#session").click()
    sign_in(page, acting.gateway)
    wait_text(page, "#session", "operator")
    no_dialog(page)  # else the keys are its own
    row(page, OTHER).get_by_role("button", name="Shelve").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.focus("dialog select")
    page.keyboard.press("End")
    page.keyboard.press("Tab")
    page.keyboard.type("for the summer")
    page.keyboard.press("Enter")
    until(lambda: row(page, OTHER).locator(".mark.shelved").count() == 1, 20)
    assert stored(acting.gateway, OTHER, state="shelved")["why"] == "for the summer"
    no_dialog(page)
    row(page, OTHER).get_by_role("button", name="Unshelve").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")  # on second thoughts
    until(lambda: page.locator("dialog").count() == 0)
    page.keyboard.press("Enter")  # the focus is where it was
    page.wait_for_selector("dialog[open]")
    page.fill("dialog input[name=why]", "it is over")
    page.keyboard.press("Enter")
    until(lambda: row(page, OTHER).locator(".mark.shelved").count() == 0, 20)
    stored(acting.gateway, OTHER, why="it is over")


def test_a_device_is_disabled_and_enabled(acting: Pages) -> None:
    page = acting.open("device/sweep")
    wait_text(page, ".legend b", r"\d bar")
    page.locator("#session").click()
    sign_in(page, acting.gateway)
    wait_text(page, "#session", "operator")
    for verb, state in (("Disable", "disabled"), ("Enable", "good")):
        page.get_by_role("button", name=verb, exact=True).click()
        page.fill("dialog input[name=why]", "cabling")
        page.click("dialog button.primary")
        until(
            lambda s=state: (
                acting.gateway.client.get_json("/v1/status")["devices"]["sweep"]["state"] == s
            ),
            20,
        )
        wait_text(page, "section header .mark", state)
    page.goto(f"{acting.gateway.url}#/configuration")
    wait_text(page, "td", "devices/disable")
    wait_text(page, "td", "cabling")


def test_a_refused_reload_shows_the_place_of_each_fault(acting: Pages) -> None:
    page = acting.open("configuration")
    wait_text(page, "p", "Not reloaded since the start")
    good = acting.gateway.file.read_text()
    try:
        acting.gateway.file.write_text(good + "colour: red\n")
        acting.gateway.send(signal.SIGHUP)
        line = good.count("\n") + 1
        wait_text(page, "td code", rf"gateway\.yaml:{line}:\d+")
        wait_text(page, "td", "unknown key")
        acting.shot(page, "refused-reload")
    finally:
        acting.gateway.file.write_text(good)
    page.goto(f"{acting.gateway.url}#/overview")
    wait_text(page, "td.value", r"^\d")
    acting.gateway.file.write_text(good + "  press_2: {driver: mock, map: press.yaml}\n")
    acting.gateway.send(signal.SIGHUP)
    wait_text(page, "th a", "press_2")  # without loading the page again
    acting.gateway.file.write_text(good)
    acting.gateway.send(signal.SIGHUP)
    page.goto(f"{acting.gateway.url}#/configuration")
    wait_text(page, "li", "press_2.*removed|removed.*press_2")


FIRST_BANNER = """() => {
  const banner = document.getElementById('banner');
  const kept = new MutationObserver(() => {
    if (banner.hidden || !banner.textContent) return;
    window.firstBanner = banner.textContent;
    kept.disconnect();
  });
  kept.observe(banner, {attributes: true, childList: true, characterData: true, subtree: true});
}"""
"""Keeps what it says first: it counts on until a test comes to read it."""


def test_a_silent_gateway_is_seen_at_once_and_its_return_too(acting: Pages) -> None:
    page = acting.open("device/press_1")
    wait_text(page, ".legend b", r"\d kN")
    until(lambda: not page.is_visible("#banner"))
    page.evaluate(FIRST_BANNER)
    acting.gateway.send(signal.SIGSTOP)  # the connection stands, and nothing comes
    try:
        page.wait_for_selector("#banner:visible")
        silent_s = page.evaluate("() => parseFloat(window.firstBanner.match(/[\\d.]+/)[0])")
        assert 2 <= silent_s <= 10
        assert page.evaluate("() => document.body.classList.contains('is-stale')")
        wait_text(page, "#link-state", "no data")
        acting.shot(page, "stale")
    finally:
        acting.gateway.send(signal.SIGCONT)
    until(lambda: not page.is_visible("#banner"), 30)
    moving = pictures(page)
    until(lambda: pictures(page) != moving)
    acting.said.clear()  # what was asked meanwhile failed


def test_a_killed_gateway_is_shown_and_the_page_recovers(browser: Browser, tmp_path: Path) -> None:
    gateway = config(tmp_path)
    pages = Pages(browser, gateway, "killed")
    with gateway.started(TZ="Asia/Kolkata"):
        page = pages.open("device/press_1?tags=process:force", timezone_id="America/New_York")
        wait_text(page, ".legend b", r"\d kN")
        clock, hover = page.evaluate(
            "() => { const c = document.getElementById('clock'); return [c.textContent, c.title]; }"
        )
        zone, utc = hover.removesuffix(" UTC").split("; ")
        ahead = datetime.fromisoformat(clock) - datetime.fromisoformat(utc).replace(microsecond=0)
        assert (zone, ahead) == ("Asia/Kolkata", timedelta(hours=5, minutes=30))
        gateway.send(signal.SIGKILL)
        until(lambda: page.is_visible("#banner"), 20)
        wait_text(page, "#banner", "what is shown is old")
        pages.shot(page, "killed")
    with gateway.started():
        until(lambda: not page.is_visible("#banner"), 30)
        moving = pictures(page)
        until(lambda: pictures(page) != moving)
        assert "force" in page.url
        pages.contexts[0].close()


def test_a_viewer_looks_and_a_revoked_token_ends_it(browser: Browser, tmp_path: Path) -> None:
    gateway = config(tmp_path)
    text = gateway.file.read_text()
    api = "api: {socket: s, tokens_file: tokens, loopback_open: false,"
    gateway.file.write_text(text.replace("api: {socket: s,", api))
    token = cli("token", "add", gateway.file, "ann").stdout.strip()
    pages = Pages(browser, gateway, "viewer")
    with gateway.started():
        page = pages.open("alarms")  # nobody is told anything without a token
        page.fill("#token", token)
        page.click("button")
        wait_text(page, "#session", r"ann \(viewer\)")
        row(page, ALARM).get_by_role("button", name="Acknowledge").click()
        page.fill("dialog input[name=why]", "seen")
        page.click("dialog button.primary")
        wait_text(page, "dialog p", "'ann' is a viewer")
        page.keyboard.press("Escape")
        assert transitions(gateway, ALARM)[0]["state"] == "unacknowledged"
        cli("token", "revoke", gateway.file, "ann")
        page.wait_for_selector("#token", timeout=30_000)
        pages.contexts[0].close()


def test_the_page_itself_is_served_well(own: Gateway) -> None:
    import http.client
    import re

    def get(path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", own.port, timeout=10)
        with closing(connection):
            connection.request(
                "GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()}
            )
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()

    status, headers, start = get("/")
    assert status == 200
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert re.findall(rb'(?:src|href)="(?!/app/|#|/v1/)', start) == []  # nothing from elsewhere
    assert not re.search(rb"<script(?! type=\"module\" src)|style=|\son\w+=", start)
    for path in set(re.findall(r'"(/app/[^"]+)"', start.decode())):
        status, headers, body = get(path)
        assert status == 200, path
        assert "immutable" in headers["cache-control"]
        again, _, nothing = get(path, if_none_match=headers["etag"])
        assert (again, nothing) == (304, b"")
        _, packed, small = get(path, accept_encoding="gzip")
        assert packed["content-encoding"] == "gzip"
        assert len(small) < max(len(body), 400)
    for path in ("/app/x/js/main.js", "/app/../gateway.yaml", "/app/%2e%2e/%2e%2e/etc/passwd"):
        assert get(path)[0] == 404
