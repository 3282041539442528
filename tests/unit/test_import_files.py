"""Each kind of export becomes the map that was looked over by hand, and that `check` accepts."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.importers.convert import Options, convert
from tests.unit.importkit import FILES, device, imported, refusals, tags

CASES = {
    "hopper_db": (["Hopper.db", "UDT_Motor.udt"], Options()),
    "hopper_numbered": (["Hopper.db", "UDT_Motor.udt", "symbols.sdf"], Options(interval_s=0.5)),
    "press_awl": (["press.awl"], Options(name="press")),
    "hopper_xml": (["hopper.xml"], Options()),
    "tags_old_xml": (["tags_old.xml"], Options()),
    "tags_de_csv": (["tags_de.csv"], Options()),
    "meter_csv": (["meter.csv"], Options(base=0, order="CDAB")),
    "drive_csv": (["drive_modicon.csv"], Options()),
}


@pytest.mark.parametrize("case", CASES)
def test_the_map_is_the_expected_one_and_passes_the_check(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, options = CASES[case]
    monkeypatch.chdir(FILES)  # file names in the map are relative to here
    made = convert([FILES / name for name in names], options)
    assert made.text == (FILES / "expected" / f"{case}.yaml").read_text("utf-8")
    numbers = {name: n for n, name in enumerate(made.made.placeholders, 1)}
    fill = ", ".join(f"{name}: {n}" for name, n in numbers.items())
    driver = device(tmp_path, made, **({"with": f"{{{fill}}}"} if fill else {}))
    columns = sum(len(table.columns) for group in driver.groups for table in group.tables)
    assert columns >= made.made.tags > 0


# -- sources of blocks ------------------------------------------------------------------------


def test_optimized_access_is_refused_with_what_to_do(tmp_path: Path) -> None:
    source = (FILES / "Hopper.db").read_text().replace("'FALSE'", "'TRUE'")
    source += (FILES / "UDT_Motor.udt").read_text()
    (fault,) = refusals(tmp_path, "a.db", source)
    assert fault.startswith("1:1: the data block 'Hopper' has optimized access")
    for word in ("clear 'Optimized block access'", "compile", "load it into the CPU", "export"):
        assert word in fault
    xml = (FILES / "hopper.xml").read_text().replace(">Standard<", ">Optimized<")
    (fault,) = refusals(tmp_path, "a.xml", xml)
    assert fault.startswith("4:3: the data block 'Hopper' has optimized access")


def test_a_file_that_does_not_say_its_access_is_read_with_a_warning(tmp_path: Path) -> None:
    xml = (FILES / "hopper.xml").read_text().replace("<MemoryLayout>Standard</MemoryLayout>", "")
    made = imported(tmp_path, "a.xml", xml)
    assert [(w.place.line, w.message[:21]) for w in made.report.warnings] == [
        (4, "the file does not say")
    ]


def test_a_block_of_a_type_is_read_and_one_of_a_function_block_is_refused(tmp_path: Path) -> None:
    head = "{ S7_Optimized_Access := 'FALSE' }\nVERSION : 0.1\n"
    udt = (FILES / "UDT_Motor.udt").read_text()
    made = imported(
        tmp_path, "a.db", f'{udt}DATA_BLOCK "M"\n{head}"UDT_Motor"\nBEGIN\nEND_DATA_BLOCK'
    )
    assert tags(made)["Codes"] == "DB{db}.DBB8 byte[3]"
    (fault,) = refusals(
        tmp_path, "b.db", f'DATA_BLOCK "M"\n{head}"FB_Motor"\nBEGIN\nEND_DATA_BLOCK'
    )
    assert fault.startswith(
        "4:1: the data block 'M' has the layout of 'FB_Motor', which is in none of these files"
    )
    code = "FUNCTION_BLOCK FB_Motor\nVAR\n a : Int;\nEND_VAR\nBEGIN\n x := 'it$'s';\n"
    code += "END_FUNCTION_BLOCK\n"
    (fault,) = refusals(
        tmp_path, "c.scl", f'{code}DATA_BLOCK "M"\n{head}FB_Motor\nBEGIN\nEND_DATA_BLOCK'
    )
    assert "which is the function block" in fault
    for name in ("InstanceDB", "ArrayDB"):
        xml = f"<Document>\n <SW.Blocks.{name} ID='0'/></Document>"
        (fault,) = refusals(tmp_path, "d.xml", xml)
        assert fault.startswith("2:2: this is an ")


def test_comments_of_every_form_are_kept_and_attributes_passed_over(tmp_path: Path) -> None:
    members = """a { S7_SetPoint := 'True'; ExternalWritable := 'False' } : Int := 3; // one
b : Int; (* two *)
c : Int; /* three */
d : Int; (/* four */)
(* a whole
   paragraph; e : Int; *)
f, g : Int := 16#FF;   //both
h : String[4] := 'a;b$'c;';"""
    made = imported(
        tmp_path, "a.db", f"DATA_BLOCK DB 1\nSTRUCT\n{members}\nEND_STRUCT;\nEND_DATA_BLOCK"
    )
    assert [(t.name, t.comment) for t in made.made.groups[0].tags] == [
        ("a", "one"),
        ("b", "two"),
        ("c", "three"),
        ("d", "four"),
        ("f", "both"),
        ("g", "both"),
        ("h", ""),
    ]


def test_two_types_of_one_name_must_look_the_same(tmp_path: Path) -> None:
    udt = (FILES / "UDT_Motor.udt").read_text()
    block = (FILES / "Hopper.db").read_text()
    same = imported(tmp_path, "a.db", udt + block + udt)
    assert tags(same)["Counter"] == "DB{db}.DBB90 lint"
    other = udt.replace("Current : Int", "Current : DInt")
    (fault,) = refusals(tmp_path, "a.db", udt + other + block)
    assert fault.startswith("12:1: the type 'UDT_Motor' looks different in ")


def test_arrays_of_structures_in_xml_are_read_element_by_element(tmp_path: Path) -> None:
    xml = (FILES / "hopper.xml").read_text()
    xml = xml.replace(
        'Name="Limits" Datatype="Struct"', 'Name="L" Datatype="Array[1..2] of Struct"'
    )
    # one structure: a Real and two strings of 4 + 2 bytes, 16 bytes; the first at 14
    assert {n: w for n, w in tags(imported(tmp_path, "a.xml", xml)).items() if n[0] == "L"} == {
        "Level": "DB12.DBD2 real",
        "L_1_High": "DB12.DBD14 real",
        "L_1_Names": "DB12.DBB18 string[4][2]",
        "L_2_High": "DB12.DBD30 real",
        "L_2_Names": "DB12.DBB34 string[4][2]",
    }


def test_an_instance_inside_a_block_is_refused(tmp_path: Path) -> None:
    (fault,) = refusals(
        tmp_path,
        "a.awl",
        "DATA_BLOCK DB 3\nSTRUCT\n m : FB 5;\n i : INT;\nEND_STRUCT;\nEND_DATA_BLOCK",
    )
    assert fault.startswith("3:6: 'FB5' is a function block; how its instance data lie")


def test_several_blocks_each_have_a_placeholder_of_their_own(tmp_path: Path) -> None:
    block = "DATA_BLOCK \"{}\"\n{{ S7_Optimized_Access := 'FALSE' }}\n"
    block += "STRUCT\n a : Int;\nEND_STRUCT;\nEND_DATA_BLOCK\n"
    made = imported(tmp_path, "a.db", block.format("A") + block.format("B"))
    assert [group.tags[0].where for group in made.made.groups] == ["DB{db_1}.DBW0", "DB{db_2}.DBW0"]
    assert "`with: {db_1: NUMBER, db_2: NUMBER}`" in made.text
    device(tmp_path, made, **{"with": "{db_1: 3, db_2: 4}"})
    for option in ({"db": 4}, {"name": "x"}):
        (fault,) = refusals(tmp_path, "a.db", block.format("A") + block.format("B"), **option)
        assert fault.startswith(("7:1: --db is for a single", "7:1: --name names one group"))


def test_names_are_made_legal_and_unique_and_said(tmp_path: Path) -> None:
    members = """"a b" : Int;
"a_b" : Int;
"a.b" : Int;
device : Int;
"Öl-Druck" : Real;
x : Array[0..1] of Int;
x_0 : Int;
"---" : Int;"""
    made = imported(
        tmp_path, "a.db", f"DATA_BLOCK DB 1\nSTRUCT\n{members}\nEND_STRUCT;\nEND_DATA_BLOCK"
    )
    names = [tag.name for tag in made.made.groups[0].tags]
    assert names == ["a_b", "a_b_2", "a_b_3", "device_value", "Öl_Druck", "x", "x_0_2", "unnamed"]
    told = {fault.place.line: fault.message for fault in made.report.renamed}
    assert told == {
        3: "'a b' is 'a_b' in the map, to be legal",
        4: "'a_b' is 'a_b_2' in the map, because 'a_b' exists already",
        5: "'a.b' is 'a_b_3' in the map, because 'a_b' exists already",
        6: "'device' is 'device_value' in the map, because 'device' is reserved",
        7: "'Öl-Druck' is 'Öl_Druck' in the map, to be legal",
        9: "'x_0' is 'x_0_2' in the map, because 'x_0' exists already",
        10: "'---' is 'unnamed' in the map, to be legal",
    }
    device(tmp_path, made)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("DATA_BLOCK", "1:11: expected a name such as"),
        ("DATA_BLOK DB 1", "1:1: 'DATA_BLOK' begins no block; did you mean DATA_BLOCK?"),
        ("DATA_BLOCK DB 1\nSTRUCT\na : Int\nb : Int;\nEND_STRUCT;", "4:1: expected ; behind 'a'"),
        ("DATA_BLOCK DB 1\nSTRUCT\na Int;", "3:3: expected :, found 'Int'"),
        ("DATA_BLOCK DB 1\nSTRUCT\na : Int;", "3:9: the file ends in a declaration"),
        ("DATA_BLOCK DB 1\nSTRUCT\n\"a : Int;", '3:1: this name is not closed; expected "'),
        ("DATA_BLOCK DB 1\nSTRUCT\na : String[4] := 'x;", "3:18: this text is not closed"),
        ("DATA_BLOCK DB 1\nSTRUCT\na : Int; (* x", "3:10: this comment is not closed; expected *)"),
        ("DATA_BLOCK DB 1\nSTRUCT\na : Int := 5", "3:13: the file ends in an initial value"),
        ("DATA_BLOCK DB 1\n{ S7", "2:1: this { is not closed"),
        ("DATA_BLOCK DB 1\nSTRUCT\na : Int;\nEND_STRUCT\nBEGIN\n", "1:1: END_DATA_BLOCK is"),
        ("DATA_BLOCK DB 1\nBEGIN\nEND_DATA_BLOCK", "1:1: the data block 'DB1' declares nothing"),
        ("DATA_BLOCK DB 99999\nSTRUCT\na : Int;\nEND_STRUCT;\nEND_DATA_BLOCK", "1:1: DB99999: the"),
        ("TYPE \"A\"\nSTRUCT\na : Int;\nEND_STRUCT;\nEND_TYPE", "1:1: there are only types here"),
        ("TYPE \"A\"\nVERSION : 0.1\na : Int;", "3:1: expected STRUCT, found 'a'"),
    ],
)  # fmt: skip
def test_a_source_that_is_broken_is_refused_at_the_place(
    tmp_path: Path, text: str, fault: str
) -> None:
    (found,) = refusals(tmp_path, "a.db", text)
    assert found.startswith(fault)


# -- tag tables -------------------------------------------------------------------------------


def test_types_that_an_address_does_not_fit_are_left_out_with_their_lines(tmp_path: Path) -> None:
    table = (
        """Name,Path,Data Type,Logical Address,Comment
ok,T,Real,%DB4.DBD0,
narrow,T,Real,%MW10,
wide,T,Bool,%MB3,
odd,T,Rael,%MD4,
user,T,"""
        + '"""UDT_Motor""",%M10.0,\n'
        + """far,T,Int,%MW70000,
bit,T,Bool,%M10.9,
long,T,LReal,%M16.0,
text,T,String,%DB4.DBB20,
nothing,T,Int,,
"""
    )
    made = imported(tmp_path, "t.csv", table)
    assert tags(made) == {
        "ok": "DB4.DBD0 real",
        "long": "MB16 lreal",
        "text": "DB4.DBB20 string[254]",
    }
    device(tmp_path, made)
    assert {f.place.line: f.message.partition(": ")[2] for f in made.report.omitted} == {
        3: "a Real is 4 byte(s), '%MW10' names something else",
        4: "a Bool is a bit, '%MB3' names something else",
        5: "'Rael' is no type that is known; did you mean REAL?",
        6: 'the type "UDT_Motor" is not elementary; import the block or type itself',
        7: "'%MW70000' reaches too far; the last byte is 65535",
        8: "'%M10.9' is no address; expected e.g. %MW10 or %DB4.DBD0",
        11: "it has no address",
    }


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_any_separator_will_do(tmp_path: Path, mark: str) -> None:
    rows = [["Name", "Datentyp", "Logische Adresse", "Kommentar"], ["a", "Int", "%MW2", "x [bar]"]]
    made = imported(tmp_path, "t.csv", "\n".join(mark.join(row) for row in rows))
    assert tags(made) == {"a": "MW2 int"}
    assert made.made.groups[0].tags[0].unit == "bar"


def test_a_quoted_cell_may_hold_anything(tmp_path: Path) -> None:
    made = imported(
        tmp_path,
        "t.csv",
        'Name,Data Type,Logical Address,Comment\n"a","Int","%MW2","say ""yes"", or\nno, at all"\n'
        "b,Int,%MW4,\n",
    )
    first, second = made.made.groups[0].tags
    assert (first.comment, second.where) == ('say "yes", or no, at all', "MW4")
    (fault,) = refusals(tmp_path, "u.csv", 'Name,Data Type,Logical Address\na,Int,"%MW2\n')
    assert fault.startswith("2:7: this quotation mark is not closed")


def test_a_symbol_table_is_known_by_its_addresses_whatever_it_is_called(tmp_path: Path) -> None:
    table = '"a","MW    20","INT","[bar]"\r\n"b","%M0.1","Bool","True","False","","speaks",""\r\n'
    made = imported(tmp_path, "t.txt", table)
    assert [(t.where, t.comment) for t in made.made.groups[0].tags] == [
        ("MW20", "[bar]"),
        ("M0.1", "speaks"),
    ]
    quoted = '"Logische Adresse","Name","Datentyp","Kommentar"\n"%MW2","a","Int",""\n'
    assert tags(imported(tmp_path, "u.csv", quoted)) == {"a": "MW2 int"}
    registers = '"Register","Name","Typ","Funktion"\n"0","a","int16","3"\n'
    assert tags(imported(tmp_path, "v.csv", registers)) == {"a": "holding:0 int16"}


def test_a_table_without_a_known_header_says_what_it_has(tmp_path: Path) -> None:
    (fault,) = refusals(tmp_path, "t.csv", "Was;Wo\na;b\n")
    assert fault.startswith("1:1: no header with the columns name, address and type")
    assert fault.endswith("the first row is: Was, Wo")
