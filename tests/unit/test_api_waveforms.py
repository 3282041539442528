"""The routes of waveforms and spectra, over a stream that is fed by hand."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gateway.api import valueschemas
from gateway.api.client import Client, RequestFailed
from gateway.api.settings import ApiConfig
from gateway.model import Block
from gateway.streams import Streams
from tests.unit.apikit import Plant, Served, served
from tests.unit.streamkit import RATE_HZ, START_NS, plant_of, sine
from tests.unit.test_api_routes import conforms

STREAM = """
driver: mock
stream:
  rate_hz: 2560
  channels: {a: {unit: g, full_scale: 10}, "b/c": {unit: V}}
  analysis: {history_s: 120}
"""


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    plant = Plant()
    loaded = plant_of(tmp_path, STREAM)
    plant.streams = Streams(loaded.streams, plant.hub)
    plant.drivers |= {"daq": loaded.devices["daq"]}  # type: ignore[dict-item]
    return plant


@pytest.fixture
def api(tmp_path: Path, plant: Plant) -> Iterator[Served]:
    with served(ApiConfig(socket=tmp_path / "gw.sock"), plant) as running:
        yield running


def feed(plant: Plant, seconds: float) -> np.ndarray:
    """Feed both channels with a sine of 80 Hz."""
    wave = sine(seconds, 80, 2)
    data = np.stack([wave, wave]).astype(np.float32)
    plant.streams.consumer("daq").feed(Block(data, 0, RATE_HZ, None, START_NS))
    return data


def refused(client: Client, path: str, **params: str | int) -> tuple[int, str]:
    with pytest.raises(RequestFailed) as caught:
        client.get_json(path, dict(params))
    return caught.value.status, str(caught.value)


def test_the_newest_window_and_its_spectra_are_told(api: Served, plant: Plant) -> None:
    data = feed(plant, 2.5)
    asked = {"device": "daq", "channel": "a"}
    wave = api.client.get_json("/v1/waveform", asked)
    conforms(valueschemas.Waveform, wave)
    assert wave["samples"] == pytest.approx(data[0, -2560:].tolist())
    assert wave["time_ns"] == START_NS + round((data.shape[1] - 1) * 1e9 / RATE_HZ)
    longer = api.client.get_json("/v1/waveform", {**asked, "seconds": "2"})
    assert len(longer["samples"]) == 5120
    found = api.client.get_json("/v1/spectrum", asked)
    conforms(valueschemas.Spectrum, found)
    assert (found["line_hz"], len(found["amplitude"])) == (1.0, 1281)
    assert max(range(1281), key=found["amplitude"].__getitem__) == 80
    assert found["features"]["rms"] == pytest.approx(2**0.5, rel=1e-4)
    assert found["setup"]["full_scale"] == 10


def test_a_capture_is_a_file_with_a_safe_name(api: Served, plant: Plant) -> None:
    data = feed(plant, 1.5)
    target = io.BytesIO()
    path = "/v1/capture.npz?device=daq&channel=b%2Fc&seconds=1"
    assert api.client.download(path, target, timeout_s=10) == len(target.getvalue())
    with np.load(io.BytesIO(target.getvalue())) as file:
        assert np.array_equal(file["b/c"], data[1, -2560:])
        assert str(file["unit"]) == "V"


def test_unknown_names_are_answered_with_what_there_is(api: Served) -> None:
    assert refused(api.client, "/v1/spectrum", device="hopper_4", channel="a") == (
        404,
        "device 'hopper_4' has no waveforms; devices that have: daq",
    )
    status, words = refused(api.client, "/v1/waveform", device="daq", channel="x")
    assert (status, words) == (404, "device 'daq' has no channel 'x'; channels: a, b/c")
    status, words = refused(api.client, "/v1/waveform", device="daq", chanel="a")
    assert (status, "did you mean 'channel'?" in words) == (400, True)


def test_before_the_first_window_there_is_no_spectrum_and_no_wrong_one(
    api: Served, plant: Plant
) -> None:
    asked = {"device": "daq", "channel": "a"}
    for path in ("/v1/waveform", "/v1/spectrum", "/v1/capture.npz"):
        status, words = refused(api.client, path, **asked)
        assert status == 503, words
    feed(plant, 0.5)
    assert refused(api.client, "/v1/spectrum", **asked)[0] == 503
    assert len(api.client.get_json("/v1/waveform", asked)["samples"]) == 1280


def test_a_document_is_bounded(api: Served, plant: Plant) -> None:
    feed(plant, 110)
    status, words = refused(api.client, "/v1/waveform", device="daq", channel="a", seconds=105)
    assert (status, "/v1/capture.npz" in words) == (400, True)
    assert refused(api.client, "/v1/waveform", device="daq", channel="a", seconds=500)[0] == 400


def test_the_newest_features_of_a_channel_are_those_that_were_published(
    api: Served, plant: Plant
) -> None:
    asked = {"device": "daq", "channel": "b/c"}
    status, words = refused(api.client, "/v1/features", **asked)
    assert (status, words.partition(";")[0]) == (503, "device daq: no features of 'b/c' now")
    feed(plant, 2.5)
    document = api.client.get_json("/v1/features", asked)
    conforms(valueschemas.Features, document)
    assert document["table"] == "vibration.b/c"
    found = {feature["tag"]: feature for feature in document["features"]}
    assert found["rms"]["value"] == pytest.approx(2**0.5, rel=1e-4)
    assert (found["rms"]["unit"], found["rms"]["quality"]) == ("V", "GOOD")
    latest = api.client.get_json("/v1/latest", {"device": "daq", "table": document["table"]})
    assert {v["time_ns"] for v in latest["values"]} == {document["time_ns"]}


def test_features_that_there_are_not_are_answered_with_what_there_is(api: Served) -> None:
    get = api.client
    assert refused(get, "/v1/features", device="hopper_4", channel="a") == (
        404,
        "no channel of hopper_4 with features 'a'; there is none",
    )
    assert refused(get, "/v1/features", device="daq", channel="x") == (
        404,
        "no channel of daq with features 'x'; one of: a, b/c",
    )
    status, words = refused(get, "/v1/features", device="dag", channel="a")
    assert (status, "did you mean 'daq'?" in words) == (404, True)
