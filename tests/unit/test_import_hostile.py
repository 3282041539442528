"""Whatever is in a file: a map that the loader takes, or faults with a place; and soon."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.importers import files
from gateway.importers.convert import Options, convert
from tests.unit.importkit import FILES, device, imported, refusals, tags
from tests.unit.test_config_fuzz import words

DB = "DATA_BLOCK DB 1\nSTRUCT\n{}\nEND_STRUCT;\nEND_DATA_BLOCK\n"


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.db", b"", "0:0: the file is empty"),
        ("a.csv", b" \n\t\n", "0:0: the file is empty"),
        ("a.xlsx", b"PK\x03\x04rest", "0:0: this is an Excel workbook"),
        ("a.xls", b"\xd0\xcf\x11\xe0rest", "0:0: this is an old Excel workbook"),
        ("a.pdf", b"%PDF-1.7", "0:0: this is a PDF"),
        ("a.db", bytes(range(256)) * 10, "1:1: this is no text (it has NUL bytes)"),
        ("a.db", b"DATA_BLOCK \x01\x02", "1:12: control character U+0001"),
        ("a.db", b"\xff\xfeD\x00A", "1:1: this is broken UTF-16"),
        ("a.db", "DATA_BLOCK".encode("utf-16-le"), "1:1: this is no text (it has NUL bytes)"),
        ("a.csv", b"Name;\x81\x8d", "1:1: this is neither UTF-8 nor Windows-1252"),
        ("a.csv", b"one,two\n", "1:1: no header with the columns"),
        ("a.sdf", b"\n\n", "0:0: the file is empty"),
        ("a.db", b"hello there", "1:1: 'hello' begins no block"),
        ("a.db", b"// only a comment\n", "1:1: this source declares no type"),
        ("a.xml", b"<a><b></a>", "1:9: this XML is broken: mismatched tag"),
        ("a.xml", b"<a>", "1:4: this XML is broken: no element found"),
        ("a.xml", b"<html/>", "1:1: nothing to import in <html>"),
        (
            "a.xml",
            b"<?xml version='1.0' encoding='what'?><a/>",
            "1:31: this XML cannot be read: unknown encoding: what",
        ),
        (
            "bomb.xml",
            b"<!DOCTYPE z [<!ENTITY a 'aa'><!ENTITY b '&a;&a;&a;'>]>\n<z>&b;</z>",
            "1:13: the file has a DOCTYPE",
        ),
        (
            "file.xml",
            b"<?xml version='1.0'?>\n<!DOCTYPE z SYSTEM 'file:///etc/passwd'>\n<z/>",
            "2:40: the file has a DOCTYPE",
        ),
        ("deep.xml", b"<a>" * 10_000, "1:601: elements are nested deeper than 200"),
        ("deep.db", (b"DATA_BLOCK DB 1\n" + b"STRUCT s : " * 10_000), "structures are nested"),
        ("wide.csv", b"a," * 300, "the row has more than 200 cells"),
    ],
)
def test_what_is_no_export_is_refused_with_its_place(
    tmp_path: Path, name: str, content: bytes, fault: str
) -> None:
    (found,) = refusals(tmp_path, name, content)
    assert fault in found


def test_a_file_of_50_megabytes_a_folder_and_no_file_are_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.db"
    with large.open("wb") as file:
        file.write(b"DATA_BLOCK DB 1\n")
        file.truncate(50_000_000)
    faults = []
    for path in (large, tmp_path, tmp_path / "none.db", Path("/dev/zero")):
        with pytest.raises(ConfigError) as refused:
            convert([path], Options())
        faults.append(refused.value.faults[0].message)
    assert faults == [
        "the file is too large; expected at most 4 MB",
        "this is not a file; expected an export of TIA Portal or a list",
        "there is no such file",
        "this is not a file; expected an export of TIA Portal or a list",
    ]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]
)
def test_every_usual_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    text = DB.format('"Öl" : Real; // groß [°C]').replace("\n", "\r\n")
    made = imported(tmp_path, "a.db", mark + text.encode(encoding))
    (tag,) = made.made.groups[0].tags
    assert (tag.name, tag.comment, tag.unit) == ("Öl", "groß [°C]", "degC")
    assert bool([w for w in made.report.warnings if "Windows-1252" in w.message]) == (
        encoding == "cp1252"
    )
    declared = "utf-16" if encoding.startswith("utf-16") else encoding.removesuffix("-sig")
    xml = f"<?xml version='1.0' encoding='{declared}'?><Tagtable name='T'>"
    xml += "<Tag type='Real' addr='%MD4' remark='groß [°C]'>Öl</Tag></Tagtable>"
    made = imported(tmp_path, "a.xml", mark + xml.encode(encoding))
    assert made.made.groups[0].tags[0].comment == "groß [°C]"


def test_a_message_never_fills_the_terminal(tmp_path: Path) -> None:
    long = "x" * 100_000
    for name, text in (
        ("a.db", DB.format(f"a : {long};")),
        ("b.csv", f"Name,Data Type,Logical Address\na,{long},%MW2\n"),
        ("c.csv", f"Address,Name,Type,Function\n0,{long},{long},3\n"),
        ("d.xml", f"<{long}/>"),
    ):
        assert all(len(f) < 2 * files.MAX_MESSAGE for f in refusals(tmp_path, name, text))
    made = imported(tmp_path, "e.db", DB.format(f"{long} : Int; // {long}"))
    assert len(made.made.groups[0].tags[0].name) <= 80
    assert len(made.text) < 2000


def test_comments_cannot_break_out_of_their_line(tmp_path: Path) -> None:
    text = (
        "Name,Data Type,Logical Address,Comment\n"
        + 2000 * "\n"
        + 'a,Int,%MW2,"x\n  b: {\u2028\x85 y\x1b"\n'
    )
    made = imported(tmp_path, "t.csv", text.encode())
    assert [line for line in made.text.splitlines() if "address" in line] == [
        '      a: {address: "MW2", type: int}  # x b: { y\\x1b'
    ]
    device(tmp_path, made)


def test_names_that_yaml_would_take_for_something_else_are_quoted(tmp_path: Path) -> None:
    names = ["on", "No", "null", "true", "_1_000", "y", "NaN", "e1", "Ω", "x" * 79]
    made = imported(tmp_path, "a.db", DB.format("".join(f'"{n}" : Int;\n' for n in names)))
    driver = device(tmp_path, made)
    assert [*driver.groups[0].tables[0].columns] == [n.strip("_") for n in names]


@pytest.mark.parametrize(
    "count", [pytest.param(1000, id="many"), pytest.param(32_768, id="as many as there can be")]
)
def test_an_array_of_structures_is_one_tag_each(tmp_path: Path, count: int) -> None:
    text = DB.format(f"a : Array[1..{count}] of Struct\n i : Int;\nEND_STRUCT;")
    found = tags(imported(tmp_path, "a.db", text))
    assert len(found) == count
    assert found[f"a_{count}_i"] == f"DB1.DBW{2 * count - 2} int"


# -- anything at all --------------------------------------------------------------------------

SEEDS = [
    "Hopper.db", "UDT_Motor.udt", "press.awl", "hopper.xml", "tags_old.xml", "tags_de.csv",
    "symbols.sdf", "meter.csv", "drive_modicon.csv",
]  # fmt: skip
NASTY = [
    "", '"', "'", "(*", "*)", "//", "{", "}", ";", ":", ":=", "..", "Array[0..1] of ", "Struct",
    "END_STRUCT", "END_VAR", "BEGIN", "END_DATA_BLOCK", "DATA_BLOCK", "TYPE", "String[0]", "Bool",
    "Variant", "99999999999", "-1", "0", "<", ">", "&", "&#0;", "<!DOCTYPE a>", "]]>", ",", "\n",
    "\t", "\x00", "\ufeff", "\u2028", "😀", "x" * 500, "%MW99999", "40001", "0x", "1,000", "1e999",
    "Array[0..65535] of Struct", "Array[0..9,0..9,0..9] of Bool", "{db}", "#", "time", "on", "\\",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def mutate(text: str, chance: random.Random) -> str:
    pieces = words(text)
    for _ in range(chance.choice((1, 1, 2, 4))):
        i = chance.randrange(len(pieces))
        match chance.randrange(5):
            case 0:
                pieces[i] = chance.choice(NASTY)
            case 1:
                del pieces[i : i + chance.randrange(1, 20)]
            case 2:
                pieces.insert(i, chance.choice(NASTY))
            case 3:
                pieces[i:i] = pieces[i - chance.randrange(1, 60) : i]
            case _:
                pieces[i] = chance.choice(pieces)
        pieces = pieces or [""]
    return "".join(pieces)


def judge(folder: Path, paths: list[Path], options: Options) -> None:
    """A map that the loader accepts, or faults that each have a file and a message."""
    try:
        made = convert(paths, options)
    except ConfigError as error:
        faults = error.faults
    else:
        faults = ()
    if faults:
        assert all(fault.place.file and fault.message for fault in faults)
        return
    fill = ", ".join(f"{name}: {n}" for n, name in enumerate(made.made.placeholders, 1))
    driver = device(folder, made, **{"with": f"{{{fill}}}"})
    assert sum(len(t.columns) for group in driver.groups for t in group.tables) >= made.made.tags


@settings(max_examples=250, deadline=None)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(SEEDS))
def test_a_spoilt_export_gives_a_good_map_or_faults(folder: Path, seed: int, name: str) -> None:
    chance = random.Random(seed)
    text = (FILES / name).read_text("latin-1")
    path = folder / name
    path.write_text(mutate(text, chance), "utf-8")
    others = [FILES / "UDT_Motor.udt"] if name == "Hopper.db" else []
    judge(folder, [path, *others], Options(base=chance.choice((None, 0, 1))))


@settings(max_examples=150, deadline=None)
@given(
    content=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)),
    suffix=st.sampled_from(["db", "awl", "xml", "csv", "sdf", "txt"]),
)
def test_any_bytes_give_a_good_map_or_faults(folder: Path, content: bytes, suffix: str) -> None:
    path = folder / f"any.{suffix}"
    path.write_bytes(content)
    judge(folder, [path], Options())
