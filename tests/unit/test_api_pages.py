"""Serving the live page: fingerprints and the zone; the page itself is tried in tests/browser."""

from __future__ import annotations

import zoneinfo
from pathlib import Path

import pytest

from gateway.api.pages import Pages, time_zone


def folder_with(folder: Path, script: str) -> Path:
    (folder / "js").mkdir(parents=True)
    (folder / "js" / "main.js").write_text(script)
    (folder / "README.md").write_text("not for browsers")
    (folder / "index.html").write_text(
        '<!doctype html>\n<html lang="en"><head><script type="module" src="/app/js/main.js">'
        "</script></head></html>"
    )
    return folder


def test_a_changed_file_changes_every_address(tmp_path: Path) -> None:
    first = Pages(folder_with(tmp_path / "a", "1"))
    same = Pages(folder_with(tmp_path / "b", "1"))
    other = Pages(folder_with(tmp_path / "c", "2"))
    assert first.prefix == same.prefix != other.prefix
    mark = first.prefix.split("/")[2]
    assert first.get(mark, "js/main.js") is not None
    assert other.get(mark, "js/main.js") is None
    for name in ("README.md", "index.html", "../a/js/main.js", "js/", ""):
        assert first.get(mark, name) is None, name


def test_the_start_page_names_fingerprinted_files_and_the_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = Pages(folder_with(tmp_path / "a", "1"))
    monkeypatch.setenv("TZ", "Europe/Berlin")
    text = pages.index().plain.decode()
    assert '<html data-zone="Europe/Berlin" lang="en">' in text
    assert f'src="{pages.prefix}js/main.js"' in text
    assert f'<link rel="modulepreload" href="{pages.prefix}js/main.js">' in text
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert 'data-zone="Asia/Tokyo"' in pages.index().plain.decode()


@pytest.mark.parametrize(
    "text", ["", "no/such/zone", '"><script>', "/etc/passwd", "../x", "EST5EDT4"]
)
def test_the_zone_is_one_that_a_browser_knows(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", text)
    found = time_zone()
    if found[0] in "+-":
        assert len(found) == 6
    else:
        assert zoneinfo.ZoneInfo(found)
        assert found != text
