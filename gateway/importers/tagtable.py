"""Reads tag tables as CSV (TIA Portal, in English or German) and STEP 7's symbol tables (.sdf)."""

from __future__ import annotations

import re

from gateway.importers.cells import Columns, Row
from gateway.importers.declared import Symbol, SymbolTable
from gateway.importers.symbols import is_s7_address

SYNONYMS: dict[str, frozenset[str]] = {
    "name": frozenset({"name", "tag", "tag name", "symbol", "variable", "bezeichnung"}),
    "type": frozenset({"data type", "datatype", "datentyp", "type", "typ"}),
    "address": frozenset(
        {"logical address", "logische adresse", "address", "adresse", "operand", "absolute address"}
    ),
    "comment": frozenset({"comment", "kommentar", "description", "beschreibung", "remark"}),
    "path": frozenset({"path", "pfad", "tag table", "variablentabelle"}),
}
LOGICAL = frozenset({"logical address", "logische adresse"})

_SDF = re.compile(r'\s*"[^"\n]*","([^"\n]*)","[^"\n]*","[^"\n]*"')


def is_sdf(text: str) -> bool:
    """Whether the first lines are those of a symbol table: quoted, no header, addresses second."""
    lines = [line for line in text[:4000].split("\n") if line.strip()][:5]
    found = [_SDF.match(line) for line in lines]
    return bool(found) and all(each and is_s7_address(each[1]) for each in found)


def read_sdf(rows: list[Row], name: str) -> SymbolTable:
    """The symbols of a symbol table, in its fixed order: symbol, address, type, comment."""
    symbols = []
    for row in rows:
        texts = [cell.text for cell in row] + ["", "", ""]
        # TIA Portal puts more columns between type and comment, which are all true or false
        rest = (text for text in texts[3:] if text.lower() not in ("", "true", "false"))
        symbols.append(Symbol(texts[0], texts[2], texts[1], next(rest, ""), row[0].place))
    return SymbolTable(name, symbols)


def read_tag_table(rows: list[Row], columns: Columns, name: str) -> list[SymbolTable]:
    """The tag tables of a list; a column with their names tells them apart."""
    tables: dict[str, SymbolTable] = {}
    for row in rows:
        said = columns.cell(row, "path").text.rpartition("\\")[2] or name
        table = tables.setdefault(said, SymbolTable(said, []))
        tag = columns.cell(row, "name")
        kind, address = columns.cell(row, "type").text, columns.cell(row, "address").text
        if tag.text or kind or address:
            comment = columns.cell(row, "comment").text
            table.symbols.append(Symbol(tag.text, kind, address, comment, tag.place))
    return [table for table in tables.values() if table.symbols]
