"""Plain text for people."""

from __future__ import annotations

import io

import pytest

from gateway.terminal import (
    aligned,
    count,
    duration,
    number,
    paint,
    printable,
    size,
    wants_colour,
    width,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain", "plain"),
        ("料仓 °C", "料仓 °C"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("a\u2028b\u202eb", "a\\u2028b\\u202eb"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_are_written_out(text: str, safe: str) -> None:
    assert printable(text) == safe


def test_no_character_can_leave_its_line_or_move_the_cursor() -> None:
    everything = "".join(map(chr, range(0x3000)))
    shown = printable(everything)
    assert len(shown.splitlines()) == 1
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in shown)


def test_columns_line_up_also_with_wide_characters() -> None:
    lines = aligned([["pm10", "1.5", "a"], ["温度", "20", ""]], ("TAG", "VALUE"), right=(1,))
    assert lines == ["TAG   VALUE", "pm10    1.5  a", "温度     20"]
    assert width("温度") == 4


def test_a_table_of_nothing_is_empty() -> None:
    assert aligned([]) == []


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_colour_only_on_a_terminal_that_wants_it(environ: dict[str, str], wanted: bool) -> None:
    assert wants_colour(Terminal(), environ) is wanted
    assert wants_colour(io.StringIO(), environ) is False


def test_colour_can_be_forced_into_a_pipe_but_no_colour_wins() -> None:
    assert wants_colour(io.StringIO(), {"FORCE_COLOR": "1"})
    assert not wants_colour(io.StringIO(), {"FORCE_COLOR": "1", "NO_COLOR": "1"})
    assert paint("x", "red", on=True) == "\x1b[31mx\x1b[0m"
    assert paint("x", "red", on=False) == "x"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "40 ms"), (1, "1 s"), (119, "119 s"), (300, "5 min"), (9000, "2.5 h"),
     (777_600, "9 d"), (86_400 * 12_345, "12,345 d"), (0.9999, "1,000 ms"),
     (86_400 * 999.9, "1,000 d"), (2592, "43.2 min")],
)  # fmt: skip
def test_durations_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (2.5, "2.5"), (20, "20"), (999.96, "1000"), (20_000, "20,000"),
     (123_456.7, "123,457"), (1 / 86_400, "0.00001157"), (-20_000, "-20,000")],
)  # fmt: skip
def test_numbers_have_no_exponent(value: float, text: str) -> None:
    assert number(value) == text


def test_counts_and_sizes() -> None:
    assert [count(n, "tag") for n in (0, 1, 12_000)] == ["0 tags", "1 tag", "12,000 tags"]
    assert count(2, "entry") == "2 entries"
    assert [size(n) for n in (12, 1_500_000, 4e9, 5e15)] == ["12 B", "1.5 MB", "4 GB", "5,000.0 TB"]
