"""The site of the documentation: it builds without a warning, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.kit import pages
from tests.support import ROOT, missing

LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b[^>]*\bhref=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|(?:url\(["']?|@import ["'])((?:https?:)?//[^"')\s]+)"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` does."""
    packages = ROOT / ".cache/docs"
    if not (packages / ".ready").exists():
        missing("mkdocs", "make docs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
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
