"""Slips of the hand at the command line, and what they are answered with."""

from __future__ import annotations

import pytest

from tests.system.cli_kit import called


@pytest.mark.parametrize("command", ["status", "tail", "reload", "top", "losses"])
def test_a_file_where_the_running_gateway_is_asked(command: str) -> None:
    told = called(command, "plant.yaml", expect=2).stderr
    assert "unexpected extra argument(s) (plant.yaml); did you mean --config plant.yaml?" in told


@pytest.mark.parametrize(
    "arguments",
    [("status", "--config", "a.yaml", "b.yaml"), ("check", "a.yaml", "b.yaml"), ("status", "now")],
)
def test_no_hint_where_there_is_nothing_to_say(arguments: tuple[str, ...]) -> None:
    told = called(*arguments, expect=2).stderr
    assert "unexpected extra argument" in told
    assert "did you mean" not in told
