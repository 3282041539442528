"""The documents as data: their pages, their commands and who runs them, their links."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support import ROOT, need_program
from tests.system.cli_kit import environment

FENCE = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*) -->\n)?^(?P<indent> *)```(?P<kind>\w*)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


def pages() -> list[Path]:
    """All documents that a user reads."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
    found += sorted((ROOT / "docs").rglob("*.md"))
    found += sorted(ROOT.glob("drivers/*/README.md"))
    return found + sorted(ROOT.glob("gateway/sinks/*/README.md"))


def name_of(page: Path) -> str:
    """Path in the repository."""
    return str(page.relative_to(ROOT))


class Block(NamedTuple):
    """A fenced block: what it is, what stands in it, and the comment before it."""

    page: str
    line: int
    kind: str
    text: str
    note: str

    @property
    def commands(self) -> list[str]:
        """What is typed; the other lines are what comes back."""
        return re.findall(r"^ *\$ (.+)$", self.text, re.MULTILINE)

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text("utf-8")
    return [
        Block(
            name_of(page),
            text.count("\n", 0, match.start()) + 1,
            match["kind"],
            match["text"],
            match["note"] or "",
        )
        for match in FENCE.finditer(text)
    ]


def commands(page: str, note: str = "") -> list[str]:
    """The commands of those blocks of a page that have this note."""
    return [c for b in blocks(ROOT / page) if b.note == note for c in b.commands]


INDENTED = re.compile(
    r"^    ((?:(?:make|gateway(?= [a-z])|\.venv|cp|mkdir|pip|pip3|python3?|promtool|curl|apt"
    r"|apt-get|systemctl|uv|scripts|UPDATE|[A-Z_]+=)\b\S*|\S+ \| gateway) ?.*)$",
    re.MULTILINE,
)
"""A command in an indented block, with the comment behind it."""


def indented(page: str) -> list[str]:
    """The commands of a page's indented blocks, in order; not those of lists and fences."""
    text = (ROOT / page).read_text("utf-8")
    return INDENTED.findall(FENCE.sub("", text))


def written(page: str) -> Iterator[tuple[str, str, str]]:
    """(words before it, kind, text) of each block that is a file, in order."""
    text = (ROOT / page).read_text("utf-8")
    behind = 0
    for match in FENCE.finditer(text):
        if match["kind"] != "console":
            yield text[behind : match.start()], match["kind"], match["text"]
        behind = match.end()


def clone(folder: Path, **environment_of_commands: str) -> None:
    """What commands of the documents find: the commands `gateway` and `python` of this tree."""
    bin_folder = folder / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    more = "".join(f"{k}='{v}' " for k, v in environment_of_commands.items())
    for name, words in (("gateway", "-m gateway"), ("python", "")):
        file = bin_folder / name
        file.write_text(f'#!/bin/sh\n{more}exec "{sys.executable}" {words} "$@"\n')
        file.chmod(0o755)


def fresh_checkout(folder: Path) -> Path:
    """The files of a clone that `make` needs for `run` and `docs`, as they are in this tree.

    Its environment is this one, set up already: nothing is fetched.
    """
    need_program("make", "make")
    what = ["Makefile", "configs", "docs", "package", "mkdocs.yml", "*.md"]
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *what],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in (name for name in listed.split("\0") if name and (ROOT / name).exists()):
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    for name in ("requirements.lock", "pyproject.toml"):
        (folder / name).touch()
    clone(folder)
    (folder / ".venv/.ready").touch()
    return folder


def typed(
    command: str, folder: Path, allowed: Mapping[str, set[int]], **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a command as a reader's shell does; ``allowed``: part of a command -> exit codes."""
    path = f"{folder}/.venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=environment(PATH=path, **more),
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    codes = next((codes for part, codes in allowed.items() if part in command), {0})
    said = f"{command}\nexit code {done.returncode}\n{done.stdout}{done.stderr}"
    assert done.returncode in codes, said
    assert "Traceback" not in said, said
    return done
