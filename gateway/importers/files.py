"""Reads the bytes of an export within bounds, and tells text from what is none."""

from __future__ import annotations

import stat
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import ConfigError, Fault, Place
from gateway.yamlfile.document import shown

MAX_BYTES = 4_000_000
"""Largest text: a source or list of 50,000 lines."""

MAX_XML_BYTES = 16_000_000
"""Largest XML file, which says the same with four times as many words."""

MAX_MESSAGE = 400
"""Longest message: a file must not fill the terminal."""

_NOT_TEXT = {
    b"PK\x03\x04": "an Excel workbook or an archive; save the table as CSV and import that",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the table as CSV and import that",
    b"%PDF": "a PDF; copy the table into a spreadsheet and save that as CSV",
    b"\x1f\x8b": "a compressed file; unpack it first",
}


def clip(message: str) -> str:
    """The message, without the middle of what is too long for one."""
    if len(message) <= MAX_MESSAGE:
        return message
    half = MAX_MESSAGE // 2
    return f"{message[:half]} ... {message[-half:]}"


def stop(place: Place, message: str) -> ConfigError:
    """The error of one fault."""
    return ConfigError([place.fault(clip(message))])


@dataclass(slots=True)
class Source:
    """The text of one file, and where each of its lines begins."""

    path: Path
    file: str
    text: str
    note: str = ""
    """How it was decoded, where that is not certain."""
    _starts: list[int] = field(default_factory=list)

    def place(self, offset: int) -> Place:
        """Line and column (1-based) of a character."""
        line = self.line(offset)
        return Place(self.file, line, offset - self._starts[line - 1] + 1, "")

    def line(self, offset: int) -> int:
        """The line (1-based) of a character."""
        if not self._starts:
            self._starts = [0]
            at = self.text.find("\n")
            while at >= 0:
                self._starts.append(at + 1)
                at = self.text.find("\n", at + 1)
        return bisect_right(self._starts, offset)


def is_xml(raw: bytes) -> bool:
    """Whether the bytes begin as XML does, in UTF-8 or UTF-16."""
    head = raw[:1000]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head[2:].replace(b"\0", b"")
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; ConfigError where it cannot be read or is too large."""
    whole = Place(shown(path), 0, 0, "")
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise stop(whole, "this is not a file; expected an export of TIA Portal or a list")
        with path.open("rb") as file:
            raw = file.read(MAX_XML_BYTES + 1)
    except FileNotFoundError:
        raise stop(whole, "there is no such file") from None
    except (OSError, ValueError) as error:
        raise stop(whole, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    most = MAX_XML_BYTES if is_xml(raw) else MAX_BYTES
    if len(raw) > most:
        raise stop(whole, f"the file is too large; expected at most {most // 1_000_000} MB")
    if not raw.strip():
        raise stop(whole, "the file is empty")
    for magic, what in _NOT_TEXT.items():
        if raw.startswith(magic):
            raise stop(whole, f"this is {what}")
    return raw


def decode(path: Path, raw: bytes) -> Source:
    """The text: UTF-8, UTF-16 with its mark, or else Windows-1252, as STEP 7 V5 writes.

    ConfigError where it is none of them.
    """
    file = shown(path)
    first = Place(file, 1, 1, "")
    note = ""
    try:
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            text = raw.decode("utf-16")
        elif b"\0" in raw[:4096] or b"\0" in raw:
            raise stop(first, "this is no text (it has NUL bytes); save it as UTF-8")
        else:
            text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.encoding.startswith("utf-16"):
            raise stop(first, "this is broken UTF-16; save the file as UTF-8") from None
        try:
            text = raw.decode("cp1252")
        except UnicodeDecodeError:
            message = "this is neither UTF-8 nor Windows-1252; save the file as UTF-8"
            raise stop(first, message) from None
        note = "not UTF-8, read as Windows-1252; check names and comments"
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    source = Source(path, file, text, note)
    for at, character in enumerate(text[:2000]):
        if ord(character) < 32 and character not in "\t\n\f":
            raise stop(source.place(at), f"control character U+{ord(character):04X}: no text file")
    return source


def sort_faults(faults: list[Fault]) -> list[Fault]:
    """Faults in the order of the files, each once."""
    return sorted(set(faults), key=lambda f: (f.place.file, f.place.line, f.place.col, f.message))
