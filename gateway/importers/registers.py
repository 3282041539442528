"""Makes the map of a Modbus device from a list of its registers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.errors import Place
from gateway.importers import registernumbers as numbers
from gateway.importers.cells import Cell, Columns, Row
from gateway.importers.files import stop
from gateway.importers.made import Made, MadeGroup, MadeTag, Report
from gateway.importers.names import Names, table_names
from gateway.importers.registertypes import REGISTERS, Length, map_type
from gateway.importers.units import known_unit, unit_in

LAST = 65_535
MAX_TAGS = 100_000

SYNONYMS: dict[str, frozenset[str]] = {
    "address": frozenset(
        {
            "address", "addr", "adresse", "register", "reg", "register address", "registeradresse",
            "register number", "registernummer", "modbus address", "modbus adresse",
            "modbus register", "start address", "startadresse", "start register", "startregister",
            "address dec", "address hex", "register no", "reg no",
            "register adresse", "reg addr", "modbus addr",
        }
    ),
    "name": frozenset(
        {
            "name", "tag", "tag name", "parameter", "signal", "signal name", "symbol", "variable",
            "bezeichnung", "messwert", "größe", "messgröße", "value name", "quantity name", "point",
            "register name", "registername", "label",
        }
    ),
    "type": frozenset(
        {"type", "typ", "data type", "datatype", "datentyp", "format", "value type", "datenformat"}
    ),
    "unit": frozenset({"unit", "units", "einheit", "uom", "eng unit", "engineering unit"}),
    "scale": frozenset(
        {
            "scale", "scaling", "scale factor", "factor", "faktor", "skalierung", "multiplier",
            "gain", "divisor", "divider", "teiler", "resolution", "auflösung", "skalierungsfaktor",
            "skalenfaktor",
        }
    ),
    "offset": frozenset({"offset", "value offset", "verschiebung", "bias"}),
    "table": frozenset(
        {
            "function", "function code", "funktion", "funktionscode", "fc", "fcode", "table",
            "area", "bereich", "register type", "registertyp", "tabelle", "object type", "func",
            "modbus function", "modbus table", "function codes", "objekttyp",
        }
    ),
    "order": frozenset(
        {"order", "byte order", "word order", "endian", "endianness",
         "bytereihenfolge", "reihenfolge"}
    ),
    "length": frozenset(
        {
            "length", "len", "länge", "size", "größe in registern", "count", "anzahl", "registers",
            "words", "no of registers", "number of registers", "anzahl register", "register count",
            "quantity", "bytes", "bits", "length in registers", "no regs", "word count", "#reg",
            "register length", "regs", "width",
        }
    ),
    "bit": frozenset({"bit", "bit no", "bit number", "bitnummer", "bitnr"}),
    "comment": frozenset(
        {
            "description", "beschreibung", "comment", "kommentar", "remark", "remarks", "bemerkung",
            "note", "notes", "erläuterung", "meaning", "bedeutung",
        }
    ),
}  # fmt: skip
NEEDED = ("address", "type")

_DIVIDES = frozenset({"divisor", "divider", "teiler"})
_UNITS = {
    "bytes": "bytes", "bits": "bits", "width": "", "length": "", "len": "", "länge": "", "size": "",
    "count": "", "anzahl": "",
}  # fmt: skip


@dataclass(slots=True)
class Choice:
    """What the user said about the list."""

    base: int | None = None
    order: str | None = None
    table: str | None = None
    name: str | None = None


def make_modbus(
    rows: list[Row], columns: Columns, choice: Choice, name: str, report: Report
) -> Made:
    """The map of a register list.

    Raises:
        ConfigError: nothing can be read, or it is not known from where the list counts.
    """
    return _Maker(rows, columns, choice, report).make(name)


class _Maker:
    def __init__(self, rows: list[Row], columns: Columns, choice: Choice, report: Report) -> None:
        self.rows = rows
        self.columns = columns
        self.choice = choice
        self.report = report
        self.names = Names(report)
        title = columns.header[columns.found["address"]].text.lower()
        self.hexadecimal = "hex" in title

    def make(self, name: str) -> Made:
        read = list(self._numbers())
        modicon = self._is_modicon(read)
        tags = [tag for row, number in read if (tag := self._tag(row, number, modicon)) is not None]
        if len(tags) > MAX_TAGS:
            raise stop(self.rows[0][0].place, f"the list has more than {MAX_TAGS:,} registers")
        if not tags:
            first = self.report.omitted[0] if self.report.omitted else None
            place = first.place if first else self.columns.header[0].place
            why = f"; the first: {first.message}" if first else ""
            raise stop(place, f"there is no register in this list that could be read{why}")
        group = table_names(self.report).take(self.choice.name or name, self.rows[0][0].place)
        return Made("modbus", [MadeGroup(group, tags, comment=f"register list '{name}'")])

    def _numbers(self) -> Iterator[tuple[Row, numbers.Number]]:
        for row in self.rows:
            cell = self.columns.cell(row, "address")
            said = [self.columns.cell(row, key).text for key in ("name", "type")]
            if not any(said) and not cell.text[:1].isdigit():
                continue  # a heading between the registers
            try:
                yield row, numbers.address(cell.text, hexadecimal=self.hexadecimal)
            except ValueError as error:
                if numbers.looks_hexadecimal(cell.text):
                    message = f"'{cell.text}' looks hexadecimal, and then all others here are too"
                    raise stop(cell.place, f"{message}; write 'hex' into the header") from None
                self.report.omit(cell.place, f"{self._called(row)}{error}")

    def _called(self, row: Row) -> str:
        name = self.columns.cell(row, "name").text or self.columns.cell(row, "comment").text
        return f"'{name[:60]}': " if name else ""

    # -- from where the list counts -----------------------------------------------------------

    def _is_modicon(self, read: list[tuple[Row, numbers.Number]]) -> bool:
        """Whether the numbers are Modicon's, which say their table and count from 1."""
        if self.choice.base is not None:
            return False
        if not read:
            return False
        fits = all(self._could_be_modicon(row, number) for row, number in read)
        if fits:
            self.report.warn(
                self._address_place(read[0][0]),
                "the addresses were read as Modicon numbers (40001 is holding:0). If the list "
                "means the number on the wire (40001 is holding:40001), use --base 0",
            )
            return True
        if any(number.value == 0 for _, number in read):
            self.choice.base = 0
            return False
        raise stop(
            self._address_place(read[0][0]),
            "does this list count from 0 (as on the wire) or from 1? Say --base 0 or --base 1; one "
            "known value, read with `gateway probe`, tells",
        )

    def _could_be_modicon(self, row: Row, number: numbers.Number) -> bool:
        if number.modicon is None:
            return False
        table, counted = number.modicon
        if not 1 <= counted <= LAST + 1:
            return False
        try:
            named = numbers.table(self.columns.cell(row, "table").text) or self.choice.table
        except ValueError:
            return False
        return named in (None, table)

    def _address_place(self, row: Row) -> Place:
        return self.columns.cell(row, "address").place

    # -- one register -------------------------------------------------------------------------

    def _tag(self, row: Row, number: numbers.Number, modicon: bool) -> MadeTag | None:
        cell = self.columns.cell(row, "address")
        try:
            cell = self.columns.cell(row, "address")
            table, first = self._where(row, number, modicon)
            cell = self.columns.cell(row, "type")
            kind = map_type(cell.text, self._length(row, number))
            bit = self._bit(row, number)
            where = self._address(table, first, kind, bit)
            cell = self.columns.cell(row, "scale")
            scale = self._scale(cell)
            cell = self.columns.cell(row, "offset")
            offset = numbers.decimal(cell.text) if cell.text else 0.0
            cell = self.columns.cell(row, "order")
            order = self._order(cell, table, kind)
        except ValueError as error:
            self.report.omit(cell.place, f"{self._called(row)}{error}")
            return None
        name, comment = self.columns.cell(row, "name"), self.columns.cell(row, "comment")
        if not name.text:
            name = comment if comment.text else Cell(f"{table}_{first}", name.place)
        plain = kind.partition("[")[0] in ("bool", "string")
        if plain and (scale, offset) != (1.0, 0.0):
            scale, offset = 1.0, 0.0
            self.report.warn(name.place, f"'{name.text}' is a {kind}: its factor was left out")
        count = int(kind[:-1].rpartition("[")[2]) if "[" in kind and not plain else None
        legal = self.names.take(name.text.replace(".", "_"), name.place, count)
        unit = None if plain else self._unit(row, comment.text)
        return MadeTag(legal, where, kind, comment.text, unit, scale, offset, order)

    def _where(self, row: Row, number: numbers.Number, modicon: bool) -> tuple[str, int]:
        if modicon and number.modicon is not None:
            return number.modicon[0], number.modicon[1] - 1
        table = numbers.table(self.columns.cell(row, "table").text) or self.choice.table
        if table is None:
            raise ValueError(
                "nothing says in which table it is; add a column 'function' (3 holding, 4 input, "
                "1 coil, 2 discrete) or use --table"
            )
        first = number.value - (self.choice.base or 0)
        if not 0 <= first <= LAST:
            base = self.choice.base or 0
            raise ValueError(f"{number.value} is no address; expected {base} to {LAST + base}")
        return table, first

    def _length(self, row: Row, number: numbers.Number) -> Length:
        text = self.columns.cell(row, "length").text
        if not text or text in ("-", "–"):
            return Length(number.span, "registers")
        if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= 1000:
            raise ValueError(f"'{text}' is no length; expected 1 to 1000")
        title = self.columns.title("length")
        return Length(int(text), _UNITS.get(title, "registers"))

    def _bit(self, row: Row, number: numbers.Number) -> int | None:
        text = self.columns.cell(row, "bit").text
        if not text or text == "-":
            return number.bit
        if not text.isascii() or not text.isdecimal() or int(text[:4]) > 15:
            raise ValueError(f"'{text}' is no bit; a register has the bits 0 to 15")
        return int(text)

    @staticmethod
    def _address(table: str, first: int, kind: str, bit: int | None) -> str:
        plain = kind.partition("[")[0]
        if table in ("coil", "discrete"):
            if plain != "bool":
                raise ValueError(f"a {table} is a single bit, not a {kind}")
            if bit is not None:
                raise ValueError(f"a {table} has no bits of its own")
            return f"{table}:{first}"
        if plain == "bool":
            if bit is None:
                raise ValueError("which bit of the register? write the address as 40001.3")
            return f"{table}:{first}.{bit}"
        if bit is not None:
            raise ValueError(f"a {kind} takes whole registers, not bit {bit}")
        return f"{table}:{first}"

    def _scale(self, cell: Cell) -> float:
        if not cell.text or cell.text in ("-", "–", "n/a", "N/A"):
            return 1.0
        title = self.columns.title("scale")
        value = numbers.factor(cell.text, divides=title in _DIVIDES)
        if title == "gain" and value > 1:
            self.report.warn(
                cell.place,
                f"gain {cell.text} was taken as a factor; some makers' lists divide by it: check a "
                "value that you know",
            )
        return value

    def _order(self, cell: Cell, table: str, kind: str) -> str | None:
        found = numbers.order(cell.text) or self.choice.order
        plain = kind.partition("[")[0]
        if found in (None, "ABCD") or table in ("coil", "discrete"):
            return None
        only_words = found == "CDAB"
        return None if only_words and REGISTERS.get(plain, 1) < 2 else found

    def _unit(self, row: Row, comment: str) -> str | None:
        text = self.columns.cell(row, "unit").text
        if text in ("", "-", "–", "1", "n/a", "N/A"):
            return unit_in(comment) if not text else None
        return known_unit(text) or (text if len(text) <= 20 else None)
