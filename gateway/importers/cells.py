"""A table of text: CSV with any of the usual separators, each cell with its place."""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway.errors import Place
from gateway.importers.files import Source, stop

MAX_ROWS = 200_000
MAX_CELLS = 200
"""Most cells of a row."""

SEPARATORS = (";", "\t", ",", "|")


class Cell(NamedTuple):
    """One cell."""

    text: str
    place: Place


Row = list[Cell]


def read_cells(source: Source) -> list[Row]:
    """All rows that are not empty. The separator is the one that the first rows have most of.

    Raises:
        ConfigError: a quotation mark that is not closed, too many rows or cells.
    """
    text = source.text
    start = 0
    hint = re.match(r"[ \t]*sep=(.)[ \t]*(?:\n|$)", text, re.IGNORECASE)
    if hint:  # Excel's own way to say it
        separator, start = hint[1], hint.end()
    else:
        separator = _separator(text)
    cell = re.compile(
        rf'[ ]*"((?:[^"]|"")*)"[ ]*(?=$|\n|{re.escape(separator)})|([^\n{re.escape(separator)}]*)'
    )
    rows: list[Row] = []
    row: Row = []
    at = start
    while at <= len(text):
        found = cell.match(text, at)
        if found is None:
            raise AssertionError("the second branch matches everything")
        quoted, plain = found[1], found[2]
        if quoted is None and plain.lstrip(" ").startswith('"') and plain.count('"') == 1:
            raise stop(source.place(at), 'this quotation mark is not closed; expected " at its end')
        words = quoted.replace('""', '"') if quoted is not None else plain
        row.append(Cell(" ".join(words.split()), source.place(at)))
        if len(row) > MAX_CELLS:
            raise stop(
                source.place(at), f"the row has more than {MAX_CELLS} cells; is this a table?"
            )
        at = found.end()
        if at >= len(text) or text[at] == "\n":
            if any(each.text for each in row):
                rows.append(row)
            if len(rows) > MAX_ROWS:
                raise stop(source.place(at), f"the table has more than {MAX_ROWS:,} rows")
            row = []
        at += 1
    return rows


def _separator(text: str) -> str:
    lines = [line for line in text[:20_000].split("\n") if line.strip()][:20]
    bare = [re.sub(r'"[^"]*"', "", line) for line in lines]
    return max(SEPARATORS, key=lambda mark: sum(line.count(mark) for line in bare))


class Columns:
    """Which column holds what, by the words of a header."""

    def __init__(self, header: Row, synonyms: dict[str, frozenset[str]]) -> None:
        self.header = header
        self.found: dict[str, int] = {}
        for number, cell in enumerate(header):
            word = plain_word(cell.text)
            for meaning, words in synonyms.items():
                if word in words and meaning not in self.found:
                    self.found[meaning] = number
                    break

    def __contains__(self, meaning: str) -> bool:
        return meaning in self.found

    def title(self, meaning: str) -> str:
        """The header of a column, in lower case."""
        return plain_word(self.header[self.found[meaning]].text) if meaning in self.found else ""

    def cell(self, row: Row, meaning: str) -> Cell:
        """The cell of a row; empty where it has none."""
        number = self.found.get(meaning)
        if number is None or number >= len(row):
            return Cell("", row[0].place)
        return row[number]


def plain_word(text: str) -> str:
    """A header in lower case, without what stands in brackets and without marks."""
    bare = re.sub(r"[\[(].*?[\])]", " ", text.lower())
    return " ".join(re.sub(r"[^\w/#]+", " ", bare).replace("_", " ").split())


def find_header(
    rows: list[Row], synonyms: dict[str, frozenset[str]], needed: tuple[str, ...]
) -> tuple[int, Columns] | None:
    """(row, columns) of the header: the first of the first 30 rows that names what is needed."""
    for number, row in enumerate(rows[:30]):
        columns = Columns(row, synonyms)
        if all(meaning in columns for meaning in needed):
            return number, columns
    return None
