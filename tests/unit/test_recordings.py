"""Recordings of waveforms: every format, its channels, rate and unit; words for what is wrong."""

from __future__ import annotations

import io
import os
import struct
import sys
import wave
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.errors import GatewayError
from gateway.recordings import Track, channel_names, describe_recording, read_recording
from gateway.recordings.source import MAX_BYTES
from tests.support import missing

N = 3000
X = np.sin(np.arange(N) * 0.1)
STEREO = np.stack([X, -0.5 * X], axis=1)


def fails(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(GatewayError) as raised:
        read_recording(*args, **kwargs)
    return str(raised.value)


def npz(folder: Path, **arrays: Any) -> Path:
    np.savez_compressed(folder / "r.npz", **arrays)
    return folder / "r.npz"


# -- numpy --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ((40,), ["a"]),
        ((40, 1), ["a"]),
        ((1, 40), ["a"]),
        ((40, 3), ["a[0]", "a[1]", "a[2]"]),
        ((3, 40), ["a[0]", "a[1]", "a[2]"]),
        ((5, 8, 2), ["a[0]", "a[1]"]),
    ],
)
def test_an_array_is_one_channel_or_several_by_its_shape(
    tmp_path: Path, shape: tuple[int, ...], names: list[str]
) -> None:
    whole = np.arange(np.prod(shape), dtype="f8").reshape(shape)
    path = npz(tmp_path, a=whole)
    assert channel_names(path) == names
    if len(shape) == 1 or 1 in shape:
        expected = [whole.ravel()]
    elif shape == (3, 40):
        expected = list(whole)
    else:  # the last dimension is the channel, the others follow each other in time
        expected = [whole[..., i].ravel() for i in range(shape[-1])]
    for name, samples in zip(names, expected, strict=True):
        recording = read_recording(path, name, 100.0)
        assert np.array_equal(recording.data, samples)
        assert recording.data.flags.c_contiguous
        assert (recording.channel, recording.rate_hz, recording.path) == (name, 100.0, path)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("f4", "f4"), ("f2", "f4"), ("i2", "f4"), ("u1", "f4"), ("i4", "f8"), ("f8", "f8"),
     (">f4", "f4"), (">i2", "f4")],
)  # fmt: skip
def test_numbers_are_kept_exactly(tmp_path: Path, given: str, kept: str) -> None:
    whole = (X * 100).astype(given)
    data = read_recording(npz(tmp_path, a=whole), rate_hz=1.0).data
    assert data.dtype == np.dtype(kept)
    assert data.dtype.isnative
    assert np.array_equal(data, whole.astype("f8"))


@pytest.mark.parametrize("key", ["rate_hz", "fs", "sample_rate"])
def test_an_npz_may_say_rate_and_unit(tmp_path: Path, key: str) -> None:
    path = npz(tmp_path, DE=X, **{key: np.float64(12000)}, unit=np.array("g"), note=np.array("x"))
    recording = read_recording(path)
    assert (recording.channel, recording.rate_hz, recording.unit) == ("DE", 12000.0, "g")
    assert describe_recording(path) == Track("DE", N, 12000.0, "g")
    assert read_recording(path, rate_hz=20480).rate_hz == 20480.0  # what the user says wins


def test_an_npy_has_channels_named_data(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", STEREO)
    assert channel_names(tmp_path / "x.npy") == ["data[0]", "data[1]"]
    assert np.array_equal(read_recording(tmp_path / "x.npy", "data[1]", 5).data, STEREO[:, 1])


def test_pickled_objects_are_refused_and_never_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "exploded"),)

    path = npz(tmp_path, evil=np.array([Bomb(), 1], dtype=object))
    assert "'evil' holds pickled Python objects, which are never loaded" in fails(path, "evil", 1)
    np.save(tmp_path / "x.npy", np.array([Bomb(), 1], dtype=object))
    assert "pickled Python objects" in fails(tmp_path / "x.npy", rate_hz=1)
    beside = npz(tmp_path, evil=np.array([Bomb(), 1], dtype=object), good=X)
    assert channel_names(beside) == ["good"]
    assert not (tmp_path / "exploded").exists()


def test_a_header_that_promises_too_much_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    header = io.BytesIO()
    shape = (MAX_BYTES, 8)
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": shape}
    )
    (tmp_path / "x.npy").write_bytes(header.getvalue() + bytes(64))
    assert "too large" in fails(tmp_path / "x.npy", "data[0]", 1)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", header.getvalue() + bytes(64))
    assert "too large" in fails(tmp_path / "x.npz", "a[0]", 1)


# -- wav ----------------------------------------------------------------------------------------


def wav(path: Path, coding: int, bits: int, frames: bytes, channels: int = 2) -> Path:
    """A RIFF file by hand: an odd chunk before the samples, and the extensible format for 24."""
    frame = channels * bits // 8
    tag = 0xFFFE if bits == 24 else coding
    form = struct.pack("<HHIIHH", tag, channels, 25600, 25600 * frame, frame, bits)
    if bits == 24:
        form += struct.pack("<HHIH", 22, 24, 3, coding) + bytes(14)
    chunks = [(b"fmt ", form), (b"LIST", b"odd"), (b"data", frames)]
    body = b"WAVE" + b"".join(
        name + struct.pack("<I", len(c)) + c + b"\0" * (len(c) % 2) for name, c in chunks
    )
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_pcm_is_a_part_of_the_full_scale(tmp_path: Path, bits: int) -> None:
    whole = np.round(STEREO * (2 ** (bits - 1) - 1)).astype("i8")
    whole[0] = [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]
    if bits == 8:
        frames = (whole + 128).astype("u1").tobytes()
    else:
        frames = whole.astype("<i8").reshape(-1, 1).view("u1")[:, : bits // 8].tobytes()
    path = wav(tmp_path / "x.wav", 1, bits, frames)
    assert channel_names(path) == ["data[0]", "data[1]"]
    for i in (0, 1):
        recording = read_recording(path, f"data[{i}]")
        assert recording.rate_hz == 25600.0
        assert np.array_equal(recording.data, whole[:, i] / 2.0 ** (bits - 1))


@pytest.mark.parametrize("bits", [32, 64])
def test_float_wav_is_kept(tmp_path: Path, bits: int) -> None:
    whole = (7 * STEREO).astype(f"<f{bits // 8}")
    path = wav(tmp_path / "x.WAV", 3, bits, whole.tobytes())
    assert np.array_equal(read_recording(path, "data[0]").data, whole[:, 0])


def test_a_wav_of_the_standard_library_is_read(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((X * 2**15 * 0.9).astype("<i2").tobytes())
    recording = read_recording(tmp_path / "x.wav")
    assert (recording.channel, recording.rate_hz, recording.data.size) == ("data", 8000.0, N)
    assert abs(recording.data - 0.9 * X).max() < 2**-14


def test_a_wav_that_is_damaged_or_coded_otherwise_is_refused(tmp_path: Path) -> None:
    path = wav(tmp_path / "x.wav", 1, 16, STEREO.astype("<i2").tobytes())
    path.write_bytes(path.read_bytes()[:-400])
    assert "is cut off after 2900 of 3000 samples" in fails(path, "data[0]")
    path.write_bytes(b"RIFF\0\0\0\0AVI ")
    assert "does not begin with RIFF and WAVE" in fails(path)
    path.write_bytes(b"RIFF\0\0\0\0WAVE")
    assert "does not say its format" in fails(path)
    assert "coding 17 with 4 bits is not known" in fails(wav(path, 17, 4, bytes(100)))


# -- tdms ---------------------------------------------------------------------------------------


def tdms(path: Path, *channels: tuple[str, str, dict[str, Any]]) -> Path:
    nptdms = pytest.importorskip("nptdms")
    objects = [nptdms.ChannelObject(g, c, X.astype("f4"), p) for g, c, p in channels]
    with nptdms.TdmsWriter(path) as writer:
        writer.write_segment(objects)
    return path


def test_a_tdms_gives_rate_and_unit_of_a_channel(tmp_path: Path) -> None:
    about = {"wf_increment": 1 / 25600, "unit_string": "g"}
    path = tdms(tmp_path / "x.tdms", ("Run", "DE", about), ("Run", "FE", {}), ("Old", "FE", {}))
    assert sorted(channel_names(path)) == ["Old/FE", "Run/DE", "Run/FE"]
    for name in ("DE", "Run/DE"):
        recording = read_recording(path, name)
        assert (recording.channel, recording.rate_hz, recording.unit) == ("Run/DE", 25600.0, "g")
        assert np.array_equal(recording.data, X.astype("f4"))
    assert "no channel 'FE'; it has" in fails(path, "FE")  # two groups have it
    assert "give --rate" in fails(path, "Old/FE")


def test_a_tdms_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    file = tdms(tmp_path / "x.tdms", ("Run", "DE", {"wf_increment": 0.001}))
    assert len(read_recording(file).data) == len(X)
    file.write_bytes(file.read_bytes()[:-1000])
    assert "it is cut off" in fails(file)


def test_a_tdms_without_its_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tdms(tmp_path / "x.tdms", ("Run", "DE", {}))
    monkeypatch.setitem(sys.modules, "nptdms", None)
    assert "pip install 'edge-gateway[recordings]'" in fails(path)


# -- csv ----------------------------------------------------------------------------------------


def csv(folder: Path, text: str) -> Path:
    (folder / "x.csv").write_text(text, encoding="utf-8")
    return folder / "x.csv"


def rows(separator: str, *columns: Any, digits: int = 9) -> str:
    lines = [separator.join(f"{v:.{digits}f}" for v in row) for row in zip(*columns, strict=True)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("head", ["time{0}acc [g]{0}b\n", "# a remark\n\nTime (s){0}acc(g){0}b\n"])
def test_a_csv_with_names_gives_rate_and_unit(tmp_path: Path, separator: str, head: str) -> None:
    text = head.format(separator) + rows(separator, np.arange(N) / 25600, X, -X)
    if separator == ";":
        text = text.replace(".", ",")
    path = csv(tmp_path, text)
    assert channel_names(path) == ["acc", "b"]
    recording = read_recording(path, "acc")
    assert (recording.rate_hz, recording.unit) == (25600.0, "g")
    assert abs(recording.data - X).max() < 1e-9
    assert read_recording(path, "b").unit is None


def test_a_csv_without_names_may_begin_with_the_time(tmp_path: Path) -> None:
    path = csv(tmp_path, rows(",", np.arange(N) / 5120 + 7, X, -X, digits=6))
    assert channel_names(path) == ["data[0]", "data[1]"]
    recording = read_recording(path, "data[1]")
    assert recording.rate_hz == 5120.0  # although the times have only six digits
    assert abs(recording.data + X).max() < 1e-6
    assert describe_recording(path, "data[0]").rate_hz == 5120.0


def test_a_csv_without_time_needs_the_rate(tmp_path: Path) -> None:
    path = csv(tmp_path, rows(",", X))
    assert "give --rate" in fails(path)
    assert np.array_equal(read_recording(path, rate_hz=100).data, np.round(X, 9))
    # whole numbers in the first column may count anything
    counted = csv(tmp_path, rows(";", np.arange(50), X[:50]))
    assert channel_names(counted) == ["data[0]", "data[1]"]


def test_milliseconds_are_taken_from_the_name(tmp_path: Path) -> None:
    path = csv(tmp_path, "t_ms,x\n" + rows(",", np.arange(50) * 0.5, X[:50]))
    assert read_recording(path).rate_hz == 2000.0


def test_a_csv_in_another_encoding_says_what_to_do(tmp_path: Path) -> None:
    for encoding in ("latin-1", "utf-16"):
        file = tmp_path / "x.csv"
        file.write_bytes(("Zeit [µs];a\n" + rows(";", X)).encode(encoding))
        assert "save it with that encoding" in fails(file)


def test_a_csv_with_a_hole_or_no_numbers_says_where(tmp_path: Path) -> None:
    hole = np.delete(np.arange(N) / 1000, 2500)
    assert "expected even ones" in fails(csv(tmp_path, "time,x\n" + rows(",", hole, X[1:])), "x")
    text = "x,y\n" + rows(",", X, X)
    lines = text.splitlines()
    lines[1700] = "0.5,none"
    assert "line 1701" in (message := fails(csv(tmp_path, "\n".join(lines)), "x", 1))
    assert "has 'none'; expected a number" in message
    lines[1700] = "0.5"
    assert "line 1701" in (message := fails(csv(tmp_path, "\n".join(lines)), "x", 1))
    assert "has 1 columns; expected 2" in message
    assert "it is empty" in fails(csv(tmp_path, ""), "x", 1)
    assert "the same name" in fails(csv(tmp_path, "x,x\n1,2\n"), "x", 1)


# -- what is wrong ------------------------------------------------------------------------------


def test_an_unknown_channel_gets_the_nearest_name_or_the_list(tmp_path: Path) -> None:
    path = npz(tmp_path, drive_end=X, free_end=X)
    assert "no channel 'drive_and'; did you mean 'drive_end'?" in fails(path, "drive_and", 1)
    assert "did you mean 'free_end'?" in fails(path, "FREE_END", 1)
    assert "it has 'drive_end', 'free_end'" in fails(path, "?", 1)
    assert "has several channels; name one of 'drive_end', 'free_end'" in fails(path, rate_hz=1)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(tmp_path: Path, rate: float) -> None:
    assert "is no rate of samples" in fails(npz(tmp_path, a=X), rate_hz=rate)


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    broken = X.copy()
    broken[[3, 8]] = np.nan, np.inf
    assert "2 samples of 'a'" in fails(npz(tmp_path, a=broken), rate_hz=1)


def test_files_that_are_none_are_refused_with_words(tmp_path: Path) -> None:
    assert "cannot read" in fails(tmp_path / "absent.npz")
    assert "No such file" in fails(tmp_path / "absent.npz")
    assert "'.mat' is no recording that can be read; expected .npz" in fails(tmp_path / "x.mat")
    assert "a file without ending" in fails(tmp_path / "x")
    (tmp_path / "folder.npz").mkdir()
    assert "cannot read" in fails(tmp_path / "folder.npz")
    assert "holds no waveform" in fails(npz(tmp_path, text=np.array(["a", "b"])), rate_hz=1)


@pytest.mark.parametrize("kind", [".npz", ".npy", ".wav", ".tdms", ".csv"])
def test_a_damaged_file_is_an_error_with_words_whatever_was_damaged(
    tmp_path: Path, kind: str
) -> None:
    good = tmp_path / f"good{kind}"
    if kind == ".npz":
        np.savez(good, a=X[:200])
    elif kind == ".npy":
        np.save(good, X[:200])
    elif kind == ".wav":
        wav(good, 1, 16, (STEREO[:200] * 9999).astype("<i2").tobytes())
    elif kind == ".tdms":
        tdms(good, ("Run", "a", {"wf_increment": 0.001}))
    else:
        good.write_text("time,a\n" + rows(",", np.arange(200) / 1000, X[:200]))
    whole = good.read_bytes()
    path = tmp_path / f"bad{kind}"
    random = np.random.default_rng(1)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole[: random.integers(len(whole)) if random.random() < 0.3 else None])
        for at in random.integers(0, max(1, min(len(damaged), 300)), 3):
            if damaged:
                damaged[at] = random.integers(256)
        path.write_bytes(damaged)
        try:
            for name in channel_names(path):
                read_recording(path, name, 10.0)
        except GatewayError:
            refused += 1
    assert refused > 20
    path.write_bytes(b"")
    assert str(path) in fails(path)


# -- real recordings ----------------------------------------------------------------------------


def test_real_recordings_are_read() -> None:
    folder = os.environ.get("GATEWAY_TEST_DATA")
    if not folder:
        missing("recordings", "set GATEWAY_TEST_DATA to the folder that has bearings/")
    bearings = Path(str(folder)) / "bearings"
    drive_end = read_recording(bearings / "cwru_106_inner_1hp.npz", "DE", 12000)
    assert (drive_end.data.size, drive_end.data.dtype) == (121991, np.dtype("f4"))
    names = channel_names(bearings / "femto_Bearing2_4_run.npz")
    assert names[:2] == ["acc_mg[0]", "acc_mg[1]"]
    run = read_recording(bearings / "femto_Bearing2_4_run.npz", "acc_mg[1]", 25600)
    with np.load(bearings / "femto_Bearing2_4_run.npz") as raw:
        assert np.array_equal(run.data.reshape(130, 2560), raw["acc_mg"][:, :, 1])
    assert len(channel_names(bearings / "ims_test2_first.npz")) == 4
