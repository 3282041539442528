"""From files to the text of a device map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import ConfigError, Fault, Place
from gateway.importers import registers, tagtable
from gateway.importers.cells import Columns, Row, find_header, read_cells
from gateway.importers.declared import Declared
from gateway.importers.files import Source, decode, is_xml, read_bytes, sort_faults, stop
from gateway.importers.made import Made, Report
from gateway.importers.openness import read_xml
from gateway.importers.registers import Choice, make_modbus
from gateway.importers.render import render
from gateway.importers.s7map import Wanted, make_s7
from gateway.importers.scl import looks_like_source, read_source
from gateway.importers.symbols import is_s7_address
from gateway.importers.xmltree import parse_xml
from gateway.yamlfile.document import shown

MAX_LISTED = 200
"""Most omissions that the map itself names."""


@dataclass(slots=True)
class Options:
    """What the user chose; None where nothing."""

    db: int | None = None
    name: str | None = None
    interval_s: float = 1.0
    base: int | None = None
    order: str | None = None
    table: str | None = None


@dataclass(slots=True)
class Imported:
    """A device map as text, and what is to be said about it."""

    text: str
    made: Made
    report: Report


@dataclass(slots=True)
class _Read:
    """What the files hold, by kind."""

    declared: Declared = field(default_factory=Declared)
    lists: list[tuple[Path, list[Row], Columns]] = field(default_factory=list)
    s7_files: list[Path] = field(default_factory=list)


def convert(paths: Sequence[Path], options: Options) -> Imported:
    """Read all files and make one device map of them.

    Raises:
        ConfigError: with all faults that could be found; nothing is guessed.
    """
    report = Report()
    read = _Read()
    faults: list[Fault] = []
    for path in paths:
        try:
            _read(path, read, report)
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)
    made, notes = _make(read, options, report)
    head = [f"Made by `gateway import` from {', '.join(shown(p) for p in paths)}.", *notes]
    return Imported(render(made, [*head, *_left_out(report)], options.interval_s), made, report)


def _make(read: _Read, options: Options, report: Report) -> tuple[Made, list[str]]:
    if not read.lists:
        for given, name in ((options.base, "--base"), (options.order, "--order"),
                            (options.table, "--table")):  # fmt: skip
            if given is not None:
                raise stop(_whole(read.s7_files[0]), f"{name} is for register lists of Modbus")
        made = make_s7(read.declared, Wanted(options.db, options.name), report)
        notes = []
        if read.declared.blocks:
            notes.append(
                "Offsets were computed by the rules for blocks with standard access: compare some "
                "with the column 'Offset' of TIA Portal before you trust a value."
            )
        if made.placeholders:
            fill = ", ".join(f"{name}: NUMBER" for name in made.placeholders)
            notes.append(
                f"The files do not say the block's number; the device does: `with: {{{fill}}}`."
            )
        return made, notes
    path, rows, columns = read.lists[0]
    if read.s7_files:
        message = (
            f"this is a register list of Modbus, but {shown(read.s7_files[0])} is of an S7 CPU"
        )
        raise stop(_whole(path), f"{message}; import them one by one")
    if len(read.lists) > 1:
        raise stop(_whole(read.lists[1][0]), "a second register list; import them one by one")
    if options.db is not None:
        raise stop(_whole(path), "--db is for data blocks; this is a register list of Modbus")
    choice = Choice(options.base, options.order, options.table, options.name)
    made = make_modbus(rows, columns, choice, path.stem, report)
    counted = f"counting from {choice.base}" if choice.base is not None else "as Modicon numbers"
    return made, [f"The list's addresses were read {counted}; here they count from 0."]


def _whole(path: Path) -> Place:
    return Place(shown(path), 0, 0, "")


def _left_out(report: Report) -> list[str]:
    if not report.omitted:
        return []
    omitted = sort_faults(report.omitted)
    lines = ["", "Left out:"]
    lines += [f"- {f.place.file}:{f.place.line}: {f.message}" for f in omitted[:MAX_LISTED]]
    if len(omitted) > MAX_LISTED:
        lines.append(f"- and {len(omitted) - MAX_LISTED} more")
    return lines


def _read(path: Path, read: _Read, report: Report) -> None:
    raw = read_bytes(path)
    if is_xml(raw):
        read_xml(parse_xml(raw, shown(path)), read.declared)
        read.s7_files.append(path)
        return
    source = decode(path, raw)
    if source.note:
        report.warn(Place(source.file, 1, 1, ""), source.note)
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".sdf", ".txt", ".tsv") and looks_like_source(source.text):
        read_source(source, read.declared)
        read.s7_files.append(path)
        return
    if suffix in (".db", ".scl", ".awl", ".udt"):
        read_source(source, read.declared)  # which says where it is none
        raise stop(Place(source.file, 1, 1, ""), "this source declares no type and no data block")
    _read_table(source, read, sdf=suffix == ".sdf" or tagtable.is_sdf(source.text))


def _read_table(source: Source, read: _Read, *, sdf: bool) -> None:
    rows = read_cells(source)
    path = source.path
    if not rows:
        raise stop(Place(source.file, 1, 1, ""), "the file has no rows")
    if sdf:
        read.declared.tables.append(tagtable.read_sdf(rows, path.stem))
        read.s7_files.append(path)
        return
    tags = find_header(rows, tagtable.SYNONYMS, ("name", "type", "address"))
    registers_ = find_header(rows, registers.SYNONYMS, registers.NEEDED)
    if tags is not None and _is_of_s7(rows, *tags):
        number, columns = tags
        found = tagtable.read_tag_table(rows[number + 1 :], columns, path.stem)
        if not found:
            raise stop(rows[number][0].place, "there are no tags below this header")
        read.declared.tables += found
        read.s7_files.append(path)
    elif registers_ is not None:
        number, columns = registers_
        if not rows[number + 1 :]:
            raise stop(rows[number][0].place, "there are no registers below this header")
        read.lists.append((path, rows[number + 1 :], columns))
    else:
        first = ", ".join(cell.text[:30] for cell in rows[0][:8])
        raise stop(
            rows[0][0].place,
            "no header with the columns name, address and type (or Name, Data Type, Logical "
            f"Address) was found; the first row is: {first}",
        )


def _is_of_s7(rows: list[Row], number: int, columns: Columns) -> bool:
    if columns.title("address") in tagtable.LOGICAL:
        return True
    given = [columns.cell(row, "address").text for row in rows[number + 1 : number + 200]]
    given = [text for text in given if text]
    # 40001 is no address of an S7 CPU, and M10.3 none of a Modbus device
    return bool(given) and sum(map(is_s7_address, given)) * 2 > len(given)
