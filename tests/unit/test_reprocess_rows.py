"""From a recording to rows: pieces of every format, subsets of channels, bounded memory."""

from __future__ import annotations

import tracemalloc
import wave
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from gateway.analysis.plan import StreamPlan
from gateway.errors import GatewayError
from gateway.recordings import open_recording, read_pieces, read_recording
from gateway.reprocess import recompute
from gateway.reprocess.recompute import Options, at_speed, only, recipe_of, rows_of
from gateway.reprocess.table import Layout, encode
from tests.unit.streamkit import RATE_HZ, plant_of

MAP = """
driver: mock
stream:
  rate_hz: 2560
  channels:
    a: {unit: g, full_scale: 10, analysis: {bearing: 6205, speed: 1480}}
    b: {unit: g, full_scale: 10, analysis: {bands_hz: {low: [20, 100]}}}
    c: {unit: g, full_scale: 10, analysis: {bands_hz: {low: [20, 100]}}}
"""
N = 3001
WHOLE = np.random.default_rng(5).standard_normal((N, 3)).astype("f4")


def plan(folder: Path, text: str = MAP) -> StreamPlan:
    return plant_of(folder, text).streams["daq"]


def values(path: Path, its: StreamPlan, options: Options | None = None) -> list[dict[str, Any]]:
    part, count, _ = encode(Layout(its), path.name, rows_of(path, its, options or Options()))
    found = parquet.read_table(pyarrow.BufferReader(part))
    assert found.num_rows == count
    rows: list[dict[str, Any]] = found.drop_columns(["time"]).to_pylist()
    return rows


def recordings(folder: Path) -> Iterator[Path]:
    """The three channels in every layout that a file may have."""
    arrays = {
        "interleaved": WHOLE,
        "by_column": np.asfortranarray(WHOLE),
        "channels_first": np.ascontiguousarray(WHOLE.T),
        "channels_first_by_column": np.asfortranarray(WHOLE.T),
        "snapshots": WHOLE[:3000].reshape(3, 1000, 3),
        "one": WHOLE[:, 0],
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        yield folder / f"{name}.npy"
        np.savez_compressed(folder / f"{name}.npz", x=array, also=WHOLE[: max(array.shape), 1])
        yield folder / f"{name}.npz"
    for width in (1, 2, 3, 4):
        with wave.open(str(folder / f"{width}.wav"), "wb") as out:
            out.setnchannels(3)
            out.setsampwidth(width)
            out.setframerate(2560)
            out.writeframes(np.random.default_rng(width).bytes(N * 3 * width))
        yield folder / f"{width}.wav"
    table = pyarrow.table({"a": WHOLE[:, 0], "b": WHOLE[:, 1].astype("f8"), "n": range(N)})
    parquet.write_table(table, folder / "p.parquet", row_group_size=700)
    yield folder / "p.parquet"


def test_pieces_are_what_is_read_as_a_whole(tmp_path: Path) -> None:
    count = 0
    for path in recordings(tmp_path):
        source = open_recording(path)
        lengths = {t.samples for t in source.tracks.values()}
        for length in lengths:
            names = [t.name for t in source.tracks.values() if t.samples == length][::-1]
            pieces = list(read_pieces(path, source, names, 256))
            assert {p.shape[1] for p in pieces[:-1]} == {256}, path
            found = np.concatenate(pieces, axis=1)
            for row, name in zip(found, names, strict=True):
                assert np.array_equal(row, read_recording(path, name, 1.0).data), (path, name)
                count += 1
    assert count > 40


def test_what_cannot_be_read_in_pieces_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n2\n3\n")
    np.save(tmp_path / "y.npy", np.asfortranarray(WHOLE[:3000].reshape(3, 1000, 3)))
    for name, words in (("x.csv", "cannot be read piece by piece"), ("y.npy", "Fortran")):
        source = open_recording(tmp_path / name)
        with pytest.raises(GatewayError, match=words):
            list(read_pieces(tmp_path / name, source, [*source.tracks][:1], 256))


def test_a_parquet_file_tells_its_rate_by_even_times(tmp_path: Path) -> None:
    step_ns = 390_625
    time_ns = 10**18 + step_ns * np.arange(N)
    path = tmp_path / "p.parquet"
    parquet.write_table(pyarrow.table({"time_ns": time_ns, "a": WHOLE[:, 0]}), path)
    track = open_recording(path).tracks["a"]
    assert (track.rate_hz, track.start_ns) == (2560.0, 10**18)
    time_ns[2000:] += 5 * step_ns
    parquet.write_table(pyarrow.table({"time_ns": time_ns, "a": WHOLE[:, 0]}), path)
    with pytest.raises(GatewayError, match="the steps of its time go from"):
        open_recording(path)
    said = pyarrow.table({"time_ns": time_ns, "a": WHOLE[:, 0]})
    parquet.write_table(said.replace_schema_metadata({"rate_hz": "2560"}), path)
    source = open_recording(path)
    with pytest.raises(GatewayError, match=r"its time goes on by 0\.00234375 s at a sample"):
        list(read_pieces(path, source, ["a"], 1500))
    nulls = pyarrow.table({"a": pyarrow.array([1.0, None, 3.0])})
    parquet.write_table(nulls, path)
    (piece,) = read_pieces(path, open_recording(path), ["a"], 10)
    assert np.isnan(piece[0, 1])


def test_rows_do_not_depend_on_the_size_of_a_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    its = plan(tmp_path)
    long = np.random.default_rng(6).standard_normal((10_001, 3))
    np.savez(tmp_path / "x.npz", rate_hz=RATE_HZ, **dict(zip("abc", long.T, strict=True)))
    whole = values(tmp_path / "x.npz", its)
    assert len(whole) == 3 * 3
    monkeypatch.setattr(recompute, "PIECE_SAMPLES", 777)
    assert values(tmp_path / "x.npz", its) == whole


def test_a_file_with_some_channels_gives_the_rows_of_those(tmp_path: Path) -> None:
    its = plan(tmp_path)
    long = np.random.default_rng(6).standard_normal((6000, 3))
    np.savez(tmp_path / "x.npz", rate_hz=RATE_HZ, **dict(zip("abc", long.T, strict=True)))
    np.savez(tmp_path / "y.npz", rate_hz=RATE_HZ, c=long[:, 2], a=long[:, 0])
    whole = [r for r in values(tmp_path / "x.npz", its) if r["channel"] != "b"]
    some = values(tmp_path / "y.npz", its)
    for one, other in zip(whole, some, strict=True):
        for name, value in one.items():
            if isinstance(value, float):
                assert other[name] == pytest.approx(value, rel=1e-5), name
            elif name != "source":
                assert other[name] == value, name
    assert [c.name for c in only(its, ["c", "a"]).channels] == ["a", "c"]


def test_names_units_and_rates_that_do_not_fit_are_said(tmp_path: Path) -> None:
    its = plan(tmp_path)

    def fails(options: Options | None = None, **arrays: Any) -> str:
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(GatewayError) as raised:
            list(rows_of(tmp_path / "x.npz", its, options or Options()))
        return str(raised.value)

    x = WHOLE[:, 0]
    assert "give --rate, in Hz" in fails(a=x)
    assert "it has 'm', 'n'; --channel a=m" in fails(m=x, n=x, rate_hz=2560)
    assert "'a' is in mm/s, but channel 'a' in g" in fails(a=x, rate_hz=2560, unit="mm/s")
    assert "differ in samples: 'a' 3001, 'b' 2000" in fails(a=x, b=x[:2000], rate_hz=2560)
    assert "are not enough" in fails(a=x[:2600], rate_hz=2560)
    mapped = Options(tracks=(("b", "m"),))
    np.savez(tmp_path / "x.npz", m=x, n=x, rate_hz=2560)
    assert {r["channel"] for r in values(tmp_path / "x.npz", its, mapped)} == {"b"}


def test_a_scale_makes_the_unit_and_not_finite_samples_are_bad(tmp_path: Path) -> None:
    its = plan(tmp_path)
    np.savez(tmp_path / "x.npz", a=1000 * WHOLE[:, 0], rate_hz=2560, unit="mg")
    np.savez(tmp_path / "y.npz", a=np.where(np.arange(N) == 99, np.nan, WHOLE[:, 0]), rate_hz=2560)
    (scaled,) = values(tmp_path / "x.npz", its, Options(scale=0.001))
    assert scaled["rms"] == pytest.approx(WHOLE[256:2816, 0].std(), rel=1e-4)
    (bad,) = values(tmp_path / "y.npz", its)
    assert bad["rms"] is None
    assert bad["_quality"] == "*=BAD:not_finite"


def test_a_speed_takes_the_place_of_the_configured_one(tmp_path: Path) -> None:
    its = plan(tmp_path)
    faster = at_speed(its, 2960)
    np.savez(tmp_path / "x.npz", a=WHOLE[:, 0], rate_hz=2560)
    (row,) = values(tmp_path / "x.npz", its)
    (other,) = values(tmp_path / "x.npz", faster)
    assert other["speed_hz"] == pytest.approx(2 * row["speed_hz"])
    assert other["setup"] != row["setup"], "the hash tells the two apart"
    with pytest.raises(GatewayError, match="--rpm is for nothing"):
        at_speed(only(its, ["b"]), 100)


def test_the_recipe_is_another_where_anything_of_it_is(tmp_path: Path) -> None:
    its = plan(tmp_path)
    same = recipe_of(plan(tmp_path), Options())
    others = [
        recipe_of(its, Options(rate_hz=2561)),
        recipe_of(its, Options(scale=2)),
        recipe_of(its, Options(tracks=(("a", "x"),))),
        recipe_of(at_speed(its, 1500), Options()),
        recipe_of(replace(its, publish_every_s=2.0), Options()),
        recipe_of(plan(tmp_path, MAP.replace("[20, 100]", "[20, 101]")), Options()),
        recipe_of(plan(tmp_path, MAP + "  analysis: {features: [rms, peak]}\n"), Options()),
        recipe_of(plan(tmp_path, MAP + "  analysis: {states: {run: plc.process.running}}\n"),
                  Options()),
    ]  # fmt: skip
    assert recipe_of(its, Options()) == same
    assert len({same, *others}) == 1 + len(others)


def test_a_long_file_takes_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompute, "PIECE_SAMPLES", 4096)
    its = plan(tmp_path, MAP + "  analysis: {hop_s: 1, publish_every_s: 60}\n")
    with wave.open(str(tmp_path / "x.wav"), "wb") as out:
        out.setnchannels(3)
        out.setsampwidth(4)
        out.setframerate(2560)
        for _ in range(5):
            out.writeframes(np.random.default_rng(1).bytes(100_000 * 12))
    named = Options(tracks=(("a", "data[0]"), ("b", "data[1]"), ("c", "data[2]")))
    tracemalloc.start()
    try:
        rows = sum(1 for _ in rows_of(tmp_path / "x.wav", its, named))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows > 3 * 3
    assert (tmp_path / "x.wav").stat().st_size > 5.9e6
    assert peak < 2.5e6
