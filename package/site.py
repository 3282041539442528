"""What the documentation's site has besides docs/: a hook of MkDocs, see mkdocs.yml.

READMEs stay beside the code that they describe. Here each becomes a page, and links are written
anew, so that one link works in the repository and on the site. A link to a file that is no page
becomes its path, as text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( +)```.*\n((?:.*\n)*?)\1```$", re.MULTILINE)
LIST_BEHIND_TEXT = re.compile(r"^((?![-*#|>`\s]|\d+\. ).+\n)(?=[-*] )", re.MULTILINE)


def pages() -> dict[str, str]:
    """Path in the repository -> path on the site, of all Markdown files that are pages."""
    found = {
        "README.md": "overview.md",
        "CONTRIBUTING.md": "contributing.md",
        "CHANGELOG.md": "changelog.md",
    }
    for file in sorted(ROOT.glob("drivers/*/README.md")):
        found[f"drivers/{file.parent.name}/README.md"] = f"drivers/{file.parent.name}.md"
    for file in sorted(ROOT.glob("gateway/sinks/*/README.md")):
        found[f"gateway/sinks/{file.parent.name}/README.md"] = f"sinks/{file.parent.name}.md"
    return found


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie elsewhere, and the list of decisions."""
    for source, page in pages().items():
        content = (ROOT / source).read_text("utf-8")
        files.append(File.generated(config, page, content=content))
    files.append(File.generated(config, "decisions/index.md", content=decisions()))
    return files


def decisions() -> str:
    """A page that lists docs/decisions by its titles."""
    lines = ["# Decisions", "", "Why things are as they are, a page each.", ""]
    for file in sorted((ROOT / "docs/decisions").glob("*.md")):
        title = file.read_text("utf-8").partition("\n")[0].removeprefix("# ")
        number, _, words = title.partition(". ")
        lines.append(f"- [{number.zfill(4)}: {words}]({file.name})")
    return "\n".join(lines) + "\n"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links for the site; and what Python-Markdown reads otherwise than CommonMark does."""
    here = page.file.src_uri
    source = next((s for s, p in pages().items() if p == here), f"docs/{here}")
    pieces = re.split(r"^(```.*\n(?:.*\n)*?```$)", markdown, flags=re.MULTILINE)
    for i in range(0, len(pieces), 2):
        text = LINK.sub(lambda m: rewritten(m, source, here), pieces[i])
        text = FENCE.sub(lambda m: re.sub(r"^ *(?=.)", " " * 8, m[2], flags=re.MULTILINE), text)
        pieces[i] = LIST_BEHIND_TEXT.sub(r"\1\n", text)
    return "".join(pieces)


def rewritten(link: re.Match[str], source: str, here: str) -> str:
    """One link of the file ``source``, as it must be on the page ``here``."""
    mark, text, target = link.groups()
    path, hash_, anchor = target.partition("#")
    if "://" in path or not path:
        return link[0]
    there = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    page = pages().get(there) or pages().get(f"{there}/README.md")
    if there.startswith("docs/") and (ROOT / there).is_file():
        page = there.removeprefix("docs/")
    if there == "docs/decisions":
        page = "decisions/index.md"
    if page is None:
        return f"{text} (`{there}`)" if text.strip("`") != there else f"`{there}`"
    return f"{mark}[{text}]({posixpath.relpath(page, posixpath.dirname(here))}{hash_}{anchor})"
