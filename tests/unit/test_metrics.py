"""/metrics: read back by a strict reader of Prometheus' text format, version 0.0.4."""

from __future__ import annotations

import copy
import math
import re
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.metrics import CONTENT_TYPE, render
from gateway.api.settings import ApiConfig
from gateway.losses import CAUSES
from tests.support import free_port
from tests.unit.apikit import Plant, ask, served

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{((?:{LABEL})(?:,{LABEL})*)\}})? (\S+)")
UNITS = ("_seconds", "_bytes", "_total", "_fds", "_info")


class Family(NamedTuple):
    kind: str
    samples: dict[tuple[tuple[str, str], ...], float]


def parse(text: str) -> dict[str, Family]:
    """The families; fails on anything that the format does not allow."""
    assert text.endswith("\n")
    families: dict[str, Family] = {}
    current = helped = ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            helped = line.split(" ", 3)[2]
            assert helped not in families, f"{helped} comes in two places"
            assert line.split(" ", 3)[3].strip()
        elif line.startswith("# TYPE "):
            _, _, current, kind = line.split(" ")
            assert current == helped
            assert re.fullmatch(NAME, current)
            assert kind in ("counter", "gauge")
            assert (kind == "counter") == current.endswith("_total")
            families[current] = Family(kind, {})
        else:
            found = SAMPLE.fullmatch(line)
            assert found, line
            assert found[1] == current, f"{found[1]} is not below its TYPE"
            labels = tuple((k, unescaped(v)) for k, v in re.findall(LABEL, found[2] or ""))
            assert len(dict(labels)) == len(labels), line
            assert labels not in families[current].samples, f"twice: {line}"
            value = float(found[found.lastindex or 0])
            assert families[current].kind == "gauge" or value >= 0
            families[current].samples[labels] = value
    return families


def unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), text)


def value(families: dict[str, Family], name: str, **labels: str) -> float:
    return families[name].samples[tuple(labels.items())]


def test_every_count_of_the_status_is_there_in_base_units() -> None:
    plant = Plant()
    plant.lose("spool_bound", 7)
    found = parse(render(plant.status(), True))
    device: dict[str, str] = {"device": "hopper_4"}
    for name, expected in (
        ("polls_total", 12),
        ("errors_total", 1),
        ("late_ticks_total", 1),
        ("tags", 5),
        ("tags_bad", 1),
        ("tags_quarantined", 1),
    ):
        assert value(found, f"gateway_device_{name}", **device) == expected
    assert value(found, "gateway_device_lateness_seconds", **device, stat="p99") == 0.00025
    assert value(found, "gateway_device_read_seconds", **device, stat="max") == 0.002
    assert value(found, "gateway_device_state", **device, state="good") == 1
    assert value(found, "gateway_device_state", device="press_1", state="good") == 0
    assert value(found, "gateway_device_state", device="press_1", state="lost") == 1
    assert value(found, "gateway_group_missed_total", **device, group="process") == 1
    for name, expected in (
        ("rows_accepted_total", 24),
        ("rows_stored_total", 20),
        ("rows_rejected_total", 1),
        ("rows_lost_total", 0),
        ("spool_bytes", 40960),
        ("spool_age_seconds", 1.25),
        ("pending_batches", 2),
        ("dead_letters", 4),
        ("dead_letters_replayed_total", 2),
    ):
        assert value(found, f"gateway_sink_{name}", sink="influx") == expected
    assert value(found, "gateway_lost_rows_total", cause="spool_bound") == 7
    assert value(found, "gateway_lost_rows_total", cause="rejected") == 0
    assert value(found, "gateway_degraded") == 1
    assert value(found, "gateway_ready") == 1
    assert value(found, "gateway_clock_synchronised") == 1


def test_every_cause_of_a_loss_is_there_before_the_first_row_is_lost() -> None:
    """Else the first losses are invisible: a rate needs two samples."""
    found = parse(render(Plant().status(), True))["gateway_lost_rows_total"]
    assert found.samples == {(("cause", cause),): 0.0 for cause in CAUSES}


def test_a_stream_tells_its_gaps_and_what_is_missing() -> None:
    status = Plant().status()
    latency_ms = {"p50": 2.0, "p99": 4.0, "max": 9.0}
    stream = {"gaps": 3, "missing_s": 1.25, "rate_hz": 25600.0, "latency_ms": latency_ms}
    status["devices"]["hopper_4"]["facts"] = {"stream": stream}
    found = parse(render(status, True))
    assert value(found, "gateway_stream_gaps_total", device="hopper_4") == 3
    assert value(found, "gateway_stream_missing_seconds_total", device="hopper_4") == 1.25
    labels = {"device": "hopper_4", "stat": "p99"}
    assert value(found, "gateway_stream_latency_seconds", **labels) == 0.004


def test_what_is_not_known_is_left_out() -> None:
    status = Plant().status()
    found = parse(render(status, False))
    assert (("sink", 'odd"\\\nname'),) not in found["gateway_sink_spool_bytes"].samples
    assert "gateway_sink_last_stored_age_seconds" not in found
    status["clock"] = {"synchronised": None}
    assert "gateway_clock_synchronised" not in parse(render(status, False))


def test_the_process_tells_its_cpu_memory_and_descriptors() -> None:
    found = parse(render(Plant().status(), True))
    assert value(found, "process_cpu_seconds_total") > 0
    assert 5e6 < value(found, "process_resident_memory_bytes") < 5e9
    assert 3 <= value(found, "process_open_fds") <= value(found, "process_max_fds")


def test_names_say_their_unit_or_are_counts() -> None:
    plain = {
        *("gateway_ready", "gateway_degraded", "gateway_problems", "gateway_clock_synchronised"),
        *("gateway_device_state", "gateway_device_tags", "gateway_device_tags_bad"),
        *("gateway_device_tags_quarantined", "gateway_sink_state", "gateway_alarms_active"),
        *("gateway_sink_pending_rows", "gateway_sink_pending_batches", "gateway_sink_dead_letters"),
    }
    for name in parse(render(Plant().status(), True)):
        assert name in plain or name.endswith(UNITS), name


@given(st.text(), st.text(), st.floats())
def test_any_name_and_number_can_be_read_back(device: str, sink: str, number: float) -> None:
    status: dict[str, Any] = copy.deepcopy(Plant().status())
    one, other = status["devices"]["hopper_4"], status["sinks"]["influx"]
    status["devices"] = {device: {**one, "since_s": number}}
    status["sinks"] = {sink: other}
    found = parse(render(status, True))
    read = value(found, "gateway_device_state_age_seconds", device=device)
    assert read == number or (math.isnan(read) and math.isnan(number))
    assert value(found, "gateway_sink_rows_stored_total", sink=sink) == 20


def test_a_status_without_devices_and_sinks_is_still_valid() -> None:
    status = {**Plant().status(), "devices": {}, "sinks": {}}
    assert "gateway_info" in parse(render(status, True))


def test_the_route_answers_with_the_formats_own_content_type(tmp_path: Path) -> None:
    api = ApiConfig(socket=tmp_path / "s", listen=f"127.0.0.1:{free_port()}")
    assert api.listen is not None
    with served(api):
        status, headers, body = ask(api.listen, "/metrics")
    assert (status, headers["content-type"]) == (200, CONTENT_TYPE)
    assert 'gateway_info{name="hall-3",version="0.1.0"} 1' in body.decode()


def test_counting_goes_on_while_the_metrics_are_read() -> None:
    """The loss ledger gets new causes from other threads while a scrape looks at it."""
    plant = Plant()
    stop = threading.Event()

    def lose() -> None:
        causes = ("spool_bound", "rejected", "hub_overflow", "unclean_stop")
        number = 0
        while not stop.is_set():
            plant.lose(causes[number % len(causes)], 1)
            number += 1

    loser = threading.Thread(target=lose)
    loser.start()
    try:
        seen = 0.0
        for _ in range(50):
            found = parse(render(plant.status(), True))
            lost = sum(found["gateway_lost_rows_total"].samples.values())
            assert lost >= seen
            seen = lost
    finally:
        stop.set()
        loser.join()


BROKEN = [
    "# TYPE a gauge\na 1\n",
    '# HELP a x\n# TYPE a gauge\na{b="\n"} 1\n',
    "# HELP a x\n# TYPE a counter\na 1\n",
    "# HELP a x\n# TYPE a gauge\na 1\na 1\n",
    "# HELP a x\n# TYPE a gauge\nb 1\n",
]


def test_the_reader_of_these_tests_is_strict() -> None:
    for broken in BROKEN:
        with pytest.raises(AssertionError):
            parse(broken)
