"""The parts and the manifest of an output: what is torn, missing, foreign or in use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.reprocess.run import Target
from gateway.reprocess.sources import find
from gateway.reprocess.store import MANIFEST, Entry, Store

ORIGIN = {"source": "/data", "device": "daq"}


def entry(name: str, mark: str = "size=1") -> Entry:
    return Entry(name, mark, "recipe", 3, ["abcd"])


def filled(folder: Path) -> Path:
    with Store(folder / "out", ORIGIN).opened() as store:
        store.keep([])
        for name in ("a", "b", "sub/c"):
            store.add(entry(name), name.encode())
    return folder / "out"


def test_what_was_added_is_there_in_the_order_of_the_names(tmp_path: Path) -> None:
    with Store(filled(tmp_path), ORIGIN).opened() as store:
        assert [e.source for e in store.entries.values()] == ["a", "b", "sub/c"]
        assert [p.read_text() for p in store.parts()] == ["a", "b", "sub/c"]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_was_cut_off_is_a_file_that_is_not_done(tmp_path: Path, cut: int) -> None:
    out = filled(tmp_path)
    whole = (out / MANIFEST).read_bytes()
    (out / MANIFEST).write_bytes(whole[:-cut])
    with Store(out, ORIGIN).opened() as store:
        assert [*store.entries] == ["a", "b"]
        store.keep(list(store.entries.values()))
        store.add(entry("sub/c"), b"again")
    with Store(out, ORIGIN).opened() as store:
        assert [p.read_text() for p in store.parts()] == ["a", "b", "again"]


def test_a_part_that_is_not_there_is_not_done(tmp_path: Path) -> None:
    out = filled(tmp_path)
    (out / entry("b").part).unlink()
    with Store(out, ORIGIN).opened() as store:
        assert [*store.entries] == ["a", "sub/c"]


def test_what_is_not_kept_goes_and_so_does_what_a_killed_run_left(tmp_path: Path) -> None:
    out = filled(tmp_path)
    (out / ".half.parquet.new").write_text("half")
    with Store(out, ORIGIN).opened() as store:
        store.keep([store.entries["a"]])
    assert sorted(p.name for p in out.iterdir()) == sorted([".lock", MANIFEST, entry("a").part])
    lines = [json.loads(line) for line in (out / MANIFEST).read_text().splitlines()]
    assert [line["source"] for line in lines] == ["/data", "a"]


def test_one_run_at_a_time_and_of_one_source(tmp_path: Path) -> None:
    out = filled(tmp_path)
    with (
        Store(out, ORIGIN).opened(),
        pytest.raises(GatewayError, match="another reprocess writes to"),
        Store(out, ORIGIN).opened(),
    ):
        pass
    with (
        pytest.raises(GatewayError, match="was made of device daq; choose another -o"),
        Store(out, {**ORIGIN, "device": "other"}).opened(),
    ):
        pass


def test_a_target_is_a_folder_or_a_file_with_parts_beside_it(tmp_path: Path) -> None:
    assert Target.make(tmp_path / "x").folder == tmp_path / "x"
    assert Target.make(tmp_path / "x.parquet").folder == tmp_path / "x.parquet.parts"
    (tmp_path / "plain").write_text("")
    with pytest.raises(GatewayError, match="is a file"):
        Target.make(tmp_path / "plain")


def test_a_source_is_known_by_its_size_and_time(tmp_path: Path) -> None:
    (tmp_path / "day 1").mkdir()
    for name in ("a.npz", "day 1/b.WAV", "notes.txt"):
        (tmp_path / name).write_text(name)
    files = find(str(tmp_path))
    assert [f.name for f in files] == ["a.npz", "day 1/b.WAV"]
    assert files == find(str(tmp_path))
    assert [f.name for f in find(f"{tmp_path}/day*/*.WAV")] == ["day 1/b.WAV"]
    (one,) = find(f"{tmp_path}/a.npz")
    assert one.name == "a.npz"
    assert one.mark == files[0].mark
    (tmp_path / "a.npz").write_text("other")
    assert find(str(tmp_path))[0].mark != files[0].mark
    with one.local() as path:
        assert path == tmp_path / "a.npz"
