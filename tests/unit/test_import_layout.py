"""Offsets of data blocks with standard access, against layouts computed by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.importkit import imported, refusals, tags

HEAD = "DATA_BLOCK \"B\"\n{ S7_Optimized_Access := 'FALSE' }\nSTRUCT\n"
TAIL = "\nEND_STRUCT;\nBEGIN\nEND_DATA_BLOCK\n"


def laid(folder: Path, members: str, types: str = "") -> dict[str, str]:
    made = imported(folder, "b.db", f"{types}{HEAD}{members}{TAIL}", db=1)
    return {name: where.removeprefix("DB1.DB") for name, where in tags(made).items()}


def test_bits_are_packed_and_a_byte_begins_at_the_next_byte(tmp_path: Path) -> None:
    bits = "".join(f"b{n} : Bool; " for n in range(9))
    # b0..b7 fill byte 0, b8 is 1.0, c the next byte 2, d again 3, e.g. 4.0
    assert laid(tmp_path, f"{bits} c : Byte; d : Char; e : Bool;") == {
        **{f"b{n}": f"X0.{n} bool" for n in range(8)},
        "b8": "X1.0 bool",
        "c": "B2 byte",
        "d": "B3 char",
        "e": "X4.0 bool",
    }


def test_all_larger_types_begin_at_an_even_byte(tmp_path: Path) -> None:
    members = """
        a : Byte;           // 0
        i : Int;            // 1 -> 2
        r : Real;           // 4, not 4 -> 8: nothing is aligned to more than 2
        b : Bool;           // 8.0
        l : LReal;          // 9 -> 10
        c : Byte;           // 18
        t : Date_And_Time;  // 19 -> 20
        d : DTL;            // 28
        s : S5Time;         // 40
        w : WChar;          // 42
        u : USInt;          // 44
        x : LWord;          // 45 -> 46, ends at 54
        y : Time_Of_Day;    // 54
    """
    assert laid(tmp_path, members) == {
        "a": "B0 byte",
        "i": "W2 int",
        "r": "D4 real",
        "b": "X8.0 bool",
        "l": "B10 lreal",
        "c": "B18 byte",
        "t": "B20 date_and_time",
        "d": "B28 dtl",
        "s": "W40 s5time",
        "w": "W42 wchar",
        "u": "B44 usint",
        "x": "B46 lword",
        "y": "D54 tod",
    }


def test_structures_begin_at_an_even_byte_and_are_filled_up(tmp_path: Path) -> None:
    members = """
        f : Bool;                       // 0.0
        s : Struct                      // 0 -> 2
          x : Byte;                     // 2; filled up to 4
        END_STRUCT;
        g : Bool;                       // 4.0, not 3.0
        t : Struct                      // 5 -> 6
          p : Bool;                     // 6.0
          q : Struct                    // 7 -> 8
            v : Bool;                   // 8.0
          END_STRUCT;                   // up to 10
          r : Bool;                     // 10.0
        END_STRUCT;                     // up to 12
        h : Byte;                       // 12
    """
    assert laid(tmp_path, members) == {
        "f": "X0.0 bool",
        "s_x": "B2 byte",
        "g": "X4.0 bool",
        "t_p": "X6.0 bool",
        "t_q_v": "X8.0 bool",
        "t_r": "X10.0 bool",
        "h": "B12 byte",
    }


def test_arrays_begin_at_an_even_byte_and_are_filled_up(tmp_path: Path) -> None:
    members = """
        a : Bool;                       // 0.0
        b : Array[0..9] of Bool;        // 0 -> 2; 10 bits are 2 bytes, up to 4
        c : Bool;                       // 4.0
        d : Array[1..3] of Byte;        // 5 -> 6; 3 bytes, up to 10
        e : Byte;                       // 10
        f : Array[-1..1] of Int;        // 11 -> 12; 6 bytes
        g : Array[0..0] of Bool;        // 18; 1 bit, up to 20
        h : Byte;                       // 20
    """
    assert laid(tmp_path, members) == {
        "a": "X0.0 bool",
        "b": "X2.0 bool[10]",
        "c": "X4.0 bool",
        "d": "B6 byte[3]",
        "e": "B10 byte",
        "f": "W12 int[3]",
        "g": "X18.0 bool[1]",
        "h": "B20 byte",
    }


def test_each_row_of_bits_or_bytes_begins_at_the_next_byte(tmp_path: Path) -> None:
    members = """
        a : Array[0..2, 0..2] of Bool;        // rows at 0, 1, 2; 3 bytes, up to 4
        b : Array[1..2, 1..9] of Bool;        // 9 bits are 2 bytes: rows at 4, 6; up to 8
        c : Array[0..1, 0..2] of Byte;        // rows at 8, 11; 6 bytes, up to 14
        d : Array[0..1, 0..1, 0..2] of Int;   // 4 rows of 6 bytes: 14, 20, 26, 32; up to 38
        e : Byte;                             // 38
    """
    assert laid(tmp_path, members) == {
        "a_0": "X0.0 bool[3]",
        "a_1": "X1.0 bool[3]",
        "a_2": "X2.0 bool[3]",
        "b_1": "X4.0 bool[9]",
        "b_2": "X6.0 bool[9]",
        "c_0": "B8 byte[3]",
        "c_1": "B11 byte[3]",
        "d_0_0": "W14 int[3]",
        "d_0_1": "W20 int[3]",
        "d_1_0": "W26 int[3]",
        "d_1_1": "W32 int[3]",
        "e": "B38 byte",
    }


def test_strings_have_a_head_and_each_of_an_array_begins_at_an_even_byte(tmp_path: Path) -> None:
    members = """
        a : Byte;                         // 0
        s : String[4];                    // 1 -> 2; 6 bytes
        t : String[3];                    // 8; 5 bytes, ends at 13
        i : Int;                          // 13 -> 14
        u : Array[1..2] of String[3];     // 16; 5 bytes each at 16 and 22, 27 -> 28
        w : WString[3];                   // 28; 4 + 6 bytes
        x : String;                       // 38; 256 bytes
        b : Bool;                         // 294.0
    """
    assert laid(tmp_path, members) == {
        "a": "B0 byte",
        "s": "B2 string[4]",
        "t": "B8 string[3]",
        "i": "W14 int",
        "u": "B16 string[3][2]",
        "w": "B28 wstring[3]",
        "x": "B38 string[254]",
        "b": "X294.0 bool",
    }


def test_a_byte_behind_a_string_of_odd_length_is_warned_of(tmp_path: Path) -> None:
    made = imported(tmp_path, "b.db", f"{HEAD}s : String[3];\nb : Byte;\ni : Int;{TAIL}", db=1)
    # 2 + 3 bytes: the byte is taken to be at 5
    assert tags(made)["b"] == "DB1.DBB5 byte"
    (warning,) = made.report.warnings
    assert (warning.place.line, warning.place.col) == (5, 1)
    assert "string of odd length" in warning.message
    quiet = imported(tmp_path, "q.db", f"{HEAD}s : String[3];\ni : Int;\nb : Byte;{TAIL}", db=1)
    assert quiet.report.warnings == []


def test_types_used_several_times_become_modules_and_others_do_not(tmp_path: Path) -> None:
    types = """
TYPE "Inner"
STRUCT
  on : Bool;          // 0.0
  n : Int;            // 2; 4 bytes
END_STRUCT;
END_TYPE
TYPE "Outer"
STRUCT
  a : "Inner";        // 0
  r : Real;           // 4
  b : Bool;           // 8.0, up to 10
END_STRUCT;
END_TYPE
"""
    members = """
        x : "outer";                         // 0; names are not case sensitive
        i : "Inner";                         // 10
        c : Array[1..2, 0..1] of "INNER";    // 14, 18, 22, 26
    """
    assert laid(tmp_path, members, types) == {
        "Inner.on": "0.0 bool",
        "Inner.n": "2.0 int",
        "x_a": "B0 Inner",
        "x_r": "D4 real",
        "x_b": "X8.0 bool",
        "i": "B10 Inner",
        "c_1_0": "B14 Inner",
        "c_1_1": "B18 Inner",
        "c_2_0": "B22 Inner",
        "c_2_1": "B26 Inner",
    }


def test_pointers_are_left_out_but_take_their_room(tmp_path: Path) -> None:
    made = imported(
        tmp_path,
        "b.db",
        f"{HEAD}p : Pointer;\na : Any;\nd : LDT;\nn : Block_DB;\ni : Int;{TAIL}",
        db=1,
    )
    # 6 + 10 + 8 + 2 bytes
    assert tags(made) == {"i": "DB1.DBW26 int"}
    assert [(f.place.line, f.message.partition(":")[0]) for f in made.report.omitted] == [
        (4, "'p' is of type Pointer"),
        (5, "'a' is of type Any"),
        (6, "'d' is of type LDT"),
        (7, "'n' is of type Block_DB"),
    ]


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ("v : Variant;", "4:5: a Variant lies in no block with standard access"),
        ("v : Rael;", "4:5: the type 'Rael' is not in these files"),
        ('v : "Pmup";', "4:5: the type 'Pmup' is not in these files"),
        ("v : Array[0..999999999] of Int;", "4:28: the array has 2,000,000,000 bytes"),
        ("v : Array[0..40000] of Int;", "4:24: the array has 80,002 bytes"),
        ("v : Array[5..1] of Int;", "4:5: the array ends at 1, before it begins at 5"),
        ("v : Array[0..MAX] of Int;", "4:14: 'MAX' is a constant"),
        ("v : Array[*] of Int;", "4:11: an Array[*] has no length"),
        ("v : Array[0..1] of Array[0..1] of Int;", "4:20: STEP 7 has no arrays of arrays"),
        ("v : String[300];", "4:5: the length of a String must be 1 to 254"),
        ("v : Struct END_STRUCT;", "4:5: the structure has no members"),
        ("v : Array[0..9] of Struct END_STRUCT;", "4:20: the structure has no members"),
        ("", "1:1: the data block 'B' has no members"),
    ],
)
def test_what_has_no_layout_is_refused_at_its_place(
    tmp_path: Path, members: str, fault: str
) -> None:
    assert any(f.startswith(fault) for f in refusals(tmp_path, "b.db", f"{HEAD}{members}{TAIL}"))


def test_the_nearest_type_is_named(tmp_path: Path) -> None:
    types = 'TYPE "Pump"\nSTRUCT\n a : Int;\nEND_STRUCT;\nEND_TYPE\n'
    faults = refusals(tmp_path, "b.db", f'{types}{HEAD}a : Rael;\nb : "Pmup";{TAIL}')
    assert [fault.rpartition("; ")[2] for fault in faults] == [
        "did you mean REAL?",
        "did you mean PUMP?",
    ]


def test_a_type_that_contains_itself_is_refused(tmp_path: Path) -> None:
    types = 'TYPE "A"\nSTRUCT\n a : "B";\nEND_STRUCT;\nEND_TYPE\n'
    types += 'TYPE "B"\nSTRUCT\n b : Array[0..1] of "A";\nEND_STRUCT;\nEND_TYPE\n'
    (fault,) = refusals(tmp_path, "b.db", f'{types}{HEAD}a : "A";{TAIL}')
    assert fault == "8:21: the type 'A' contains itself"


def test_a_chain_of_ten_thousand_types_ends_in_a_fault(tmp_path: Path) -> None:
    chain = "".join(
        f'TYPE "T{n}"\nSTRUCT\n a : "T{n + 1}";\nEND_STRUCT;\nEND_TYPE\n' for n in range(10_000)
    )
    (fault,) = refusals(tmp_path, "b.db", f'{chain}{HEAD}a : "T0";{TAIL}')
    assert "types are nested deeper than 32" in fault


def test_a_block_larger_than_an_address_reaches_is_refused(tmp_path: Path) -> None:
    members = "".join(f"a{n} : Array[0..32000] of Byte;\n" for n in range(3))
    (fault,) = refusals(tmp_path, "b.db", f"{HEAD}{members}{TAIL}")
    # 32001 bytes are filled up to 32002
    assert fault == "1:1: the data block has 96,006 bytes; an address reaches 65,536"
