"""Each command in the documents is run by a test, or stands in one table with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from gateway.cli import app
from tests.bench.__main__ import TABLES
from tests.docs.kit import Block, blocks, indented, name_of, pages
from tests.support import ROOT

RUN_BY = {
    "README.md": "tests/system/test_readme.py",
    "docs/access.md": "tests/docs/test_commands.py",
    "docs/add-a-driver.md": "tests/docs/test_add_a_driver.py",
    "docs/alarms.md": "tests/docs/test_commands.py",
    "docs/first-machine.md": "tests/system/test_first_machine.py",
    "docs/import.md": "tests/unit/test_import_command.py",
    "docs/losses.md": "tests/docs/test_commands.py",
    "docs/troubleshooting.md": "tests/docs/test_commands.py",
    "docs/vibration.md": "tests/docs/test_commands.py",
    "gateway/sinks/historian/README.md": "tests/sinks/test_historian_readme.py",
}
"""Pages all of whose fenced commands one test runs; others name it before each block."""

INDENTED_RUN_BY = {
    "docs/fleet.md": "tests/docs/test_commands_fleet.py",
    "docs/ingest.md": "tests/docs/test_commands_fleet.py",
    "gateway/sinks/postgres/README.md": "tests/docs/test_commands_fleet.py",
}
"""Pages all of whose indented commands one test runs."""

NOT_TYPED = {
    "make run": "tests/docs/test_make.py::test_make_run_on_a_free_port",
    "make test": ".ci/run: it is the suite",
    "make setup": ".ci/run: its first step",
    "scripts/check": ".ci/run: its last but one step",
    "make deb": "tests/service/packages.py::deb, with the script that is the target's recipe",
    "make wheelhouse": "tests/service/packages.py::wheelhouse, as above",
    "make faults": "takes hours; its short form is in the suite, tests/faults/test_soak.py",
    "GATEWAY_CI=1 .venv/bin/python -m pytest tests/faults": ".ci/run: part of the suite",
    "cd package/container": "tests/docs/test_container.py::"
    "test_the_files_that_compose_names_are_there, in a copy of the folder",
    "./secrets": "tests/docs/test_container.py::test_the_files_that_compose_names_are_there",
    "docker compose": "needs an engine and two images; what it would start is tried by "
    "tests/docs/test_container.py and tests/service/test_image.py",
    "cp /var/lib/edge-gateway/history.db": "tests/sinks/test_historian_readme.py::copy",
    "sqlite3 -header -column copy.db": "tests/sinks/test_historian_readme.py::ask",
    "gateway top --config configs/demo.yaml": "needs a terminal and keys: "
    "tests/system/test_top.py::test_on_a_terminal_the_keys_work_and_q_leaves_it_in_order",
}
"""How a command begins -> what is done in its place, or why nothing is."""

SHELL = {"console", "sh", "bash", "shell", "shell-session"}
READS = re.compile(r"\b(?:commands|parts|indented|written)\(|read_text\(")


def shown() -> Iterator[tuple[str, str, str]]:
    """(place, command, the test that is said to run it) of each command in a block of its own."""
    for page in pages():
        name = name_of(page)
        for block in blocks(page):
            if block.kind in SHELL:
                for command in block.commands or block.text.splitlines():
                    yield block.place, command.strip(), _runner(block, name)
        for command in indented(name):
            yield name, command.strip(), INDENTED_RUN_BY.get(name, "")


def _runner(block: Block, page: str) -> str:
    if block.note:
        return block.note.removeprefix("run by ") if block.note.startswith("run by ") else ""
    return RUN_BY.get(page, "")


def excused(command: str) -> str:
    """How an entry of the table begins that speaks of this command; empty if there is none."""
    return next((begin for begin in NOT_TYPED if command.startswith(begin)), "")


SHOWN = list(shown())
COMMAND: Any = typer.main.get_command(app)


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_each_command_has_a_test_that_runs_it(page: Path) -> None:
    name = name_of(page)
    for place, command, runner in SHOWN:
        if place.partition(":")[0] != name or excused(command):
            continue
        assert runner, f"{place}: who runs `{command}`? <!-- run by tests/...::test_... -->"
        file, _, function = runner.partition("::")
        text = (ROOT / file).read_text("utf-8")
        assert not function or f"def {function}(" in text, f"{place}: {runner} is not there"
        # it takes the commands from the page, so that a new one is run as well
        stem = name if page.name == "README.md" and page.parent != ROOT else page.name
        assert stem in text or f'"{page.stem}"' in text, f"{place}: {file} does not read {name}"
        assert READS.search(text), f"{place}: {file} reads no page"


def test_the_table_of_what_is_not_typed_names_what_is_there() -> None:
    used = {excused(command) for _, command, _ in SHOWN}
    assert set(NOT_TYPED) - used == set(), "no page has these any more"
    for why in NOT_TYPED.values():
        for file, function in re.findall(r"((?:tests|\.ci)/[\w./]*\w)(?:::(\w+))?", why):
            text = (ROOT / file).read_text("utf-8")
            assert not function or f"def {function}(" in text, why


def test_many_commands_are_found() -> None:
    """So that a change of the pages' form does not end the looking."""
    assert len(SHOWN) > 120
    assert len({place.partition(":")[0] for place, _, _ in SHOWN}) > 18


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_no_command_hides_in_another_block(page: Path) -> None:
    for block in blocks(page):
        if block.kind not in SHELL:
            assert not re.search(r"^\$ ", block.text, re.MULTILINE), f"{block.place}: ```console"
        else:
            assert block.commands or block.kind == "sh", f"{block.place}: no `$ ` in it"


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_what_is_named_in_passing_is_there(page: Path) -> None:
    """`make TARGET`, `gateway COMMAND --option`, `python -m tests.bench NAME` in running text."""
    text = page.read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^ *(?:\$ )?|`)make ([a-z]+)", text, re.MULTILINE)) <= targets
    assert set(re.findall(r"tests\.bench (\w+)", text)) <= set(TABLES)
    plain = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    named = re.findall(r"`(?:\.venv/bin/)?gateway ([a-z][^`\n]*)`", plain)
    typed = [
        match[1]
        for place, command, _ in SHOWN
        if place.partition(":")[0] == name_of(page)
        and (match := re.match(r"(?:\.venv/bin/)?gateway (.*)", command))
    ]
    wrong = [f"{words}: {why}" for words in (*named, *typed) if (why := _unknown(words))]
    if page.name != "CHANGELOG.md":  # it speaks of what was
        assert wrong == []


def _unknown(words: str) -> str:
    """The command or option in a command line that `gateway` does not have."""
    at, options = COMMAND, {"--help", "--version"}
    for word in words.partition(" #")[0].split():
        inner = getattr(at, "commands", {})
        if inner and re.fullmatch(r"[a-z][a-z-]*", word):
            if word not in inner:
                return word
            at = inner[word]
            options |= {name for p in at.params for name in (*p.opts, *p.secondary_opts)}
        elif re.match(r"--?[a-z]", word) and word.partition("=")[0] not in options:
            return word
    return ""
