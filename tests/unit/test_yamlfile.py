"""YAML as data with positions, and what of YAML is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.yamlfile import MAX_BYTES, read_yaml
from gateway.yamlfile.document import Items, Section, dotted
from gateway.yamlfile.scalars import plain_scalar


@pytest.fixture
def parse(tmp_path: Path):  # type: ignore[no-untyped-def]
    def read(text: str | bytes):  # type: ignore[no-untyped-def]
        file = tmp_path / "file.yaml"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_yaml(file)

    return read


def refusal(parse, text: str | bytes) -> str:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError) as caught:
        parse(text)
    (fault,) = caught.value.faults
    return f"{fault.place.line}:{fault.place.col}: {fault.message}"


def test_values_have_the_types_of_yaml_1_2(parse) -> None:  # type: ignore[no-untyped-def]
    document = parse(
        "a: 1\nb: 1.5\nc: 1e3\nd: true\ne: ~\nf:\ng: text\nh: '1'\ni: 0x1F\nj: -.inf\n"
        "k: 2024-01-01\nl: 127.0.0.1:8080\nm: [1, x]\nn: {o: 1}\np: y\nq: 0\nr: .5\ns: |\n  line\n"
    )
    assert document.faults == []
    assert document.root == {
        "a": 1, "b": 1.5, "c": 1000.0, "d": True, "e": None, "f": None, "g": "text", "h": "1",
        "i": 31, "j": -math.inf, "k": "2024-01-01", "l": "127.0.0.1:8080", "m": [1, "x"],
        "n": {"o": 1}, "p": "y", "q": 0, "r": 0.5, "s": "line\n",
    }  # fmt: skip
    assert isinstance(document.root["c"], float)
    assert isinstance(document.root["m"], Items)
    assert isinstance(document.root["n"], Section)
    assert math.isnan(parse("a: .nan").root["a"])


def test_every_value_knows_where_it_stands(parse) -> None:  # type: ignore[no-untyped-def]
    document = parse("a: 1\nb:\n  c: {d: 4.10}\n  e:\n    - x\n    - f: 2\n")
    places = {
        ("a",): (1, 4),
        ("b",): (2, 1),  # of a section the key, whatever line its first entry is in
        ("b", "c", "d"): (3, 10),
        ("b", "e", 1, "f"): (6, 10),
        ("b", "e", 0): (5, 7),
        ("b", "missing", "x"): (2, 1),
    }
    for path, at in places.items():
        assert document.place(path)[1:3] == at, path
    assert document.place(("b", "c", "d"), key=True)[1:3] == (3, 7)
    assert document.place(("b", "e", 1, "f")).path == "b.e[1].f"
    assert document.text(("b", "c", "d")) == "4.10"


def test_file_names_are_relative_to_the_current_folder_inside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "maps").mkdir()
    file = tmp_path / "maps" / "a.yaml"
    file.write_text("a: 1")
    monkeypatch.chdir(tmp_path)
    assert read_yaml(file).file == "maps/a.yaml"
    monkeypatch.chdir(tmp_path / "maps")
    assert read_yaml(file).file == "a.yaml"
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert read_yaml(file).file == str(file)


def test_an_alias_repeats_a_value(parse) -> None:  # type: ignore[no-untyped-def]
    document = parse("a: &x {b: [1, 2]}\nc: *x\n")
    assert document.root["c"] == {"b": [1, 2]}
    assert document.faults == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1:1: the file is empty"),
        ("--- \n...\n", "1:1: the file is empty"),
        ("just text", "1:1: the file is not a mapping"),
        ("a: 1\n---\nb: 2\n", "2:1: a second document"),
        ("[" * 1_000_000, "1:33: nested deeper than 32 levels"),
        ("{a: " * 1_000_000, "1:129: nested deeper than 32 levels"),
        ("- " * 100_000, "1:65: nested deeper than 32 levels"),
        ("? " * 100_000, "1:3: a key must be text"),
        ("a: [1, 2\nb: 3\n", "2:2: not valid YAML: did not find expected ',' or ']'"),
        ("a: 'open\n", "1:4: not valid YAML: the quote that begins here is never closed"),
        (
            'a: "x\nb: 1\nc: "y"\n',
            "1:4: not valid YAML: the quote that begins here is closed only ",
        ),
        ('a:\n  {l: "x, b: 1}\nc: {l: "y"}\n', "2:7: not valid YAML: the quote that begins here"),
        ('- "a\n- b\n- "c"\n- "d"\n', "1:3: not valid YAML: the quote that begins here is closed"),
        ('a: "x\nb: ""\nc: 1\n', "1:4: not valid YAML: the quote that begins here is closed only "),
        ("a: 'x\nb: don't\n", "1:4: not valid YAML: the quote that begins here is closed only "),
        ('a: "x\n  y"\nb: [1\nc: 2\n', "4:2: not valid YAML: did not find expected ',' or ']'"),
        ("a: @b\n", "1:4: not valid YAML: found character that cannot start any token"),
        ('a: "\\ud800"\n', "1:7: not valid YAML: found invalid Unicode character escape code"),
        ("a: 1\n\tb: 2\n", "2:1: not valid YAML: a tab in the indentation"),
        ("a: b: c\n", "1:5: not valid YAML: a second `: ` in one line"),
        ("a: 1\n b: 2\n", "2:3: not valid YAML: a second `: ` in one line, or wrong indentation"),
        ("%YAML 3.0\n---\na: 1\n", "1:1: not valid YAML: found incompatible YAML document"),
        (b"a: 1\nb: \x00", "2:4: control character U+0000"),
        (b"a: \xff", "1:4: byte 0xff is not UTF-8"),
        ("a: 1".encode("utf-16"), "1:1: byte 0xff is not UTF-8"),
        ("a: \x1b[31m", "1:4: control character U+001B"),
    ],
)
def test_what_gives_no_data_is_refused_at_its_place(parse, text: str | bytes, said: str) -> None:  # type: ignore[no-untyped-def]
    assert refusal(parse, text).startswith(said)


def test_aliases_cannot_expand_without_bound(parse) -> None:  # type: ignore[no-untyped-def]
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]\n" for i in range(1, 30)]
    text = "l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(levels)
    assert "aliases repeat more than 100,000 entries" in refusal(parse, text)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    with file.open("wb") as sparse:
        sparse.truncate(50_000_000)
    with pytest.raises(ConfigError, match=f"too large; expected at most {MAX_BYTES // 10**6} MB"):
        read_yaml(file)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: None, "there is no such file"),
        (lambda p: p.mkdir(), "this is not a file"),
        (lambda p: p.symlink_to(p), "cannot be read"),
    ],
)
def test_what_is_no_file_is_refused(tmp_path: Path, make, said: str) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "file.yaml")
    with pytest.raises(ConfigError, match=said):
        read_yaml(tmp_path / "file.yaml")


@pytest.mark.parametrize(
    "text",
    ["on", "Off", "yes", "NO", "010", "-07", "0o17", "0b11", "1:30", "12:30:45", "190:20:30.15",
     "1_000", "4_0.5", "09", "1e999", "1" * 41],
)  # fmt: skip
def test_what_yaml_readers_disagree_on_is_a_fault_that_says_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|quote|too large"):
        plain_scalar(text)


@given(st.text("0123456789abcdefxonyesNO.:_+-eE~", min_size=1, max_size=12))
def test_a_number_or_truth_value_is_the_one_that_other_readers_see(text: str) -> None:
    try:
        value = plain_scalar(text)
    except ValueError:
        return
    other = yaml.safe_load(f"a: {text!s}\n")["a"] if _is_plain(text) else value
    if isinstance(value, str):
        assert isinstance(other, str) or not isinstance(other, (bool, int, float))
    elif isinstance(other, str):  # numbers of YAML 1.2 that are text in 1.1
        assert float(text) == value
    elif value != value:
        assert other != other
    else:
        assert (other, type(other)) == (value, type(value))


def _is_plain(text: str) -> bool:
    try:
        return isinstance(yaml.compose(f"a: {text}\n"), yaml.MappingNode) and (
            yaml.compose(f"a: {text}\n").value[0][1].value == text
        )
    except (yaml.YAMLError, AttributeError):
        return False


def test_the_loaders_of_the_library_stay_as_they_are(parse) -> None:  # type: ignore[no-untyped-def]
    parse("a: 010\nb: yes\nc: 1:30\n")
    assert yaml.safe_load("a: 010\nb: yes\nc: 1:30\n") == {"a": 8, "b": True, "c": 90}


def test_paths_are_printable_whatever_the_keys() -> None:
    assert dotted(("a", "b c", 3, "\n", "")) == "a.b c[3].\\n.''"
