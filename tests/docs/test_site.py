"""The site of the documentation: it builds without a warning, and loads nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.kit import fresh_checkout, pages, typed
from tests.support import ROOT, missing

LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b[^>]*\bhref=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|(?:url\(["']?|@import ["'])((?:https?:)?//[^"')\s]+)"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by `make docs` in a clone that never built anything."""
    packages = ROOT / ".cache/docs"
    if not (packages / ".ready").exists():
        missing("mkdocs", "make docs")
    checkout = fresh_checkout(tmp_path_factory.mktemp("checkout"))
    mine = checkout / ".cache/docs"
    mine.mkdir(parents=True)
    for part in packages.iterdir():
        if part.name != ".ready":
            (mine / part.name).symlink_to(part)
    (mine / ".ready").touch()
    done = typed("make docs", checkout, {})
    assert done.stdout.splitlines()[-1] == "dist/site/index.html"
    assert done.stderr == "", "no warning"
    folder = checkout / "dist/site"
    assert (folder / "index.html").exists()
    assert not list((checkout / "docs").rglob("*.html"))
    return folder


def test_every_document_is_a_page(site: Path) -> None:
    made = {str(file.relative_to(site)) for file in site.rglob("*.html")}
    assert len(made) >= len(pages())
    for name in ("index", "overview", "drivers/s7", "sinks/historian", "decisions/index"):
        assert f"{name}.html" in made


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    files = [f for f in site.rglob("*") if f.suffix in (".html", ".css")]
    found = {
        (file.name, *match) for file in files for match in LOADED.findall(file.read_text("utf-8"))
    }
    assert found == set()


def test_code_and_lists_are_what_they_look_like_in_the_source(site: Path) -> None:
    """Python-Markdown differs from what a repository's view shows: indented fences, tight lists."""
    for file in site.rglob("*.html"):
        text = re.sub(r"<pre>.*?</pre>", "", file.read_text("utf-8"), flags=re.DOTALL)
        assert "```" not in text, file.name
        assert not re.search(r"<p>[^<]*\n- ", text), file.name
        assert not re.search(r"\]\([^)\s]+\.md", text), f"{file.name}: a link was not made"
