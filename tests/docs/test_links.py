"""Every link between documents leads somewhere: file, and heading in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.kit import name_of, pages
from tests.support import ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """A page without its code."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(page: Path) -> set[str]:
    """Of the headings: those that a repository's view and MkDocs make alike, and given ones."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    found = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"[^\w\s-]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)).strip()
        there, site = re.sub(r"\s", "-", plain.lower()), re.sub(r"[-\s]+", "-", plain.lower())
        if there == site:
            found.add(there)
    return found


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_links_and_anchors(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.is_relative_to(ROOT), f"{target} leaves the repository"
        assert there.exists(), f"{target}: there is no such file"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{target}: no such heading, or its name is not one"


def test_every_page_is_reached_from_the_first() -> None:
    reached, ahead = set(), [ROOT / "docs/index.md"]
    while ahead:
        page = ahead.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in LINK.findall(prose(page)):
            there = (page.parent / target.partition("#")[0]).resolve()
            if there.is_dir():
                ahead += there.glob("*.md")
            elif there.suffix == ".md" and there.exists():
                ahead.append(there)
    assert [name_of(page) for page in pages() if page not in reached] == []
