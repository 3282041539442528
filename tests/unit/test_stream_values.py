"""Values of a stream that must not be old, shifted, another channel's or better than they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.analysis.plan import Average, Recipe, StreamPlan, feature_plan
from gateway.analysis.stream import StreamAnalysis
from gateway.driver import StreamDriver
from gateway.errors import ConfigError, DeviceUnavailable
from gateway.features.engine import Engine
from gateway.features.spec import Spec, fast_length
from gateway.features.table import features_of
from gateway.features.whole import windows
from gateway.hub import Hub
from gateway.model import Block, Channel, Mark, Quality, Row, bad_row, make_parts
from gateway.streams import Streams
from tests.unit.streamkit import RATE_HZ, START_NS, Rig, plant_of, sine


class Kept:
    """Keeps the rows of one analysis."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def put(self, row: Row) -> None:
        if row.table.name == "v":
            self.rows.append(row)


def recipe(kind: int, samples: int, hop: int) -> Recipe:
    """One of some recipes that differ in what is computed."""
    spec = Spec(
        rate_hz=RATE_HZ,
        samples=samples,
        hop=hop,
        unit=("g", "V", "m/s2")[kind % 3],
        bands_hz=(("low", 20.0, 100.0 + 50 * kind),),
        has_speed=True,
    )
    speed_rpm = 1000.0 + 100 * kind
    return Recipe(spec, tuple(f.name for f in features_of(spec)), speed=speed_rpm)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=9),
    st.sampled_from([0.05, 0.1, 0.25, 0.5]),
    st.integers(0, 2**32),
)
def test_each_channel_has_the_features_that_it_has_alone(
    kinds: list[int], hop_s: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    samples, hop = fast_length(RATE_HZ, 0.5, hop_s)
    channels = tuple(Channel(f"c{i}", "g") for i in range(len(kinds)))
    plan = StreamPlan("daq", channels, RATE_HZ, hop / RATE_HZ, samples / RATE_HZ, hop / RATE_HZ)
    recipes = [recipe(kind, samples, hop) for kind in kinds]
    feature_plan(plan, recipes, "v", ())
    hub, kept = Hub(), Kept()
    hub.attach(kept)
    analysis = StreamAnalysis(plan, hub)
    scale = 1.0 + np.arange(len(kinds))[:, None]
    first = 0
    since: list[np.ndarray] = []
    for gap in (None, "overrun"):
        length = 4 * samples + int(random.integers(hop))
        record = (scale * random.standard_normal((len(kinds), length))).astype(np.float32)
        since.append(record)
        at = 0
        while at < record.shape[1]:
            size = int(random.integers(1, 3 * hop))
            piece = record[:, at : at + size]
            t0_ns = START_NS + round((first + at) * 1e9 / RATE_HZ)
            analysis.feed(Block(piece, at, RATE_HZ, gap if at == 0 else None, t0_ns))
            at += size
        first += 10 * samples
    for index, each in enumerate(recipes):
        engine = Engine(each.spec, 1)
        rows = [r for r in kept.rows if r.table.channel == f"c{index}" and not r.all_bad]
        assert rows
        assert isinstance(each.speed, float)
        alone = np.concatenate(
            [windows(record[index], engine, each.speed / 60) for record in since]
        )
        got = np.stack([r.parts[0] for r in rows])
        per_record = len(got) // 2
        # the newest windows of each record: whether the first are told depends on the envelope
        for half, found in ((0, got[:per_record]), (1, got[per_record:])):
            end = (half + 1) * len(alone) // 2
            expected = alone[end - per_record : end]
            assert np.allclose(found, expected, rtol=2e-4, atol=1e-5, equal_nan=True)


def test_an_average_has_no_value_where_its_feature_has_none_and_old_ones_fade(
    tmp_path: Path,
) -> None:
    rig = Rig(
        tmp_path,
        """
driver: mock
stream:
  rate_hz: 2560
  channels: {a: {unit: g}}
  analysis:
    speed: plc.process.speed_rpm
    speed_max_age_s: 2
    averages: {order_1: {mode: exponential, over_s: 5}, order_2: {mode: linear, over_s: 60}}
""",
    )
    rig.tell_plc(4800)
    rig.feed(sine(2, 80, 1)[None])
    assert rig.table("a")[-1]["order_1_avg"] == pytest.approx(1, rel=1e-3)
    rig.feed(sine(60, 80, 2)[None])
    row = rig.table("a")[-1]
    for column in ("order_1", "order_1_avg", "order_2_avg"):
        assert row["marks"][column] == "BAD:speed_stale"
    rig.tell_plc(4800)
    rig.feed(sine(1, 80, 2)[None])
    assert rig.table("a")[-1]["order_1_avg"] == pytest.approx(2, rel=1e-3), "not of a minute ago"


def test_clipped_windows_leave_nothing_in_the_averages_of_what_hangs_on_peaks(
    tmp_path: Path,
) -> None:
    rig = Rig(
        tmp_path,
        """
driver: mock
stream:
  rate_hz: 2560
  channels: {a: {unit: g, full_scale: 10}}
  analysis: {averages: {kurtosis: {mode: linear, over_s: 30}, rms: {mode: linear, over_s: 30}}}
""",
    )
    rig.feed(np.clip(sine(3, 80, 100), -10, 10)[None])
    row = rig.table("a")[-1]
    assert row["marks"]["kurtosis_avg"] == "BAD:clipped"
    assert row["marks"]["rms_avg"] == "UNCERTAIN:clipped"
    rig.feed(sine(5, 80, 2)[None])
    row = rig.table("a")[-1]
    assert row["marks"] == {"rms_avg": "UNCERTAIN:clipped"}, "clipped windows still count in it"
    assert row["kurtosis_avg"] == pytest.approx(1.5, rel=1e-3)


def test_a_speed_in_doubt_puts_what_hangs_on_it_in_doubt(tmp_path: Path) -> None:
    rig = Rig(
        tmp_path,
        """
driver: mock
stream:
  rate_hz: 2560
  channels: {a: {unit: g}}
  analysis: {speed: plc.process.speed_rpm, features: [rms, order_1]}
""",
    )
    stopped = {0: Mark(Quality.UNCERTAIN, "cpu_stop")}
    rig.hub.publish(Row(rig.plc, rig.now_ns, make_parts(rig.plc, (4800.0, True)), stopped))
    rig.feed(sine(2, 80, 1)[None])
    row = rig.table("a")[-1]
    assert row["order_1"] == pytest.approx(1, rel=1e-3)
    assert row["marks"] == {"order_1": "UNCERTAIN:speed_cpu_stop"}


def test_a_speed_of_long_after_the_window_is_not_its_speed(tmp_path: Path) -> None:
    rig = Rig(
        tmp_path,
        """
driver: mock
stream:
  rate_hz: 2560
  channels: {a: {unit: g}}
  analysis: {speed: plc.process.speed_rpm, speed_max_age_s: 2, features: [rms, order_1]}
""",
    )
    start_ns = rig.now_ns
    rig.now_ns += 10 * 10**9
    rig.tell_plc(4800)
    # the computer was busy: what the card has kept is ten seconds old
    t0_ns = start_ns
    for at in range(0, 5120, 256):
        piece = sine(0.1, 80, 1, at / RATE_HZ)[None]
        rig.analysis.feed(Block(piece, at, RATE_HZ, None, t0_ns + round(at * 1e9 / RATE_HZ)))
    assert rig.table("a")[-1]["marks"]["order_1"] == "BAD:speed_clock"


def test_an_infinite_feature_is_bad_and_not_a_number(tmp_path: Path) -> None:
    rig = Rig(
        tmp_path,
        """
driver: mock
stream:
  rate_hz: 2560
  channels: {a: {unit: g, full_scale: 1.0e+30, noise_floor: 1.0e-9}, b: {unit: g}}
  analysis: {averages: {velocity_rms: {mode: exponential, over_s: 10}}}
""",
    )
    with np.errstate(over="ignore"):
        rig.feed(np.stack([sine(2, 80, 3e25), sine(2, 80, 1)]).astype(np.float32))
    row = rig.table("a")[-1]
    assert row["marks"]["velocity_rms"] == row["marks"]["velocity_rms_avg"] == "BAD:undefined"
    numbers = [v for k, v in row.items() if isinstance(v, float)]
    assert np.isfinite(numbers).all()
    assert rig.table("b")[-1]["marks"] == {}


def test_a_zone_needs_no_stored_velocity(tmp_path: Path) -> None:
    rig = Rig(
        tmp_path,
        """
driver: mock
stream:
  rate_hz: 2560
  channels: {a: {unit: g}, b: {unit: g}}
  analysis: {features: [rms], zones: {boundaries_mm_s: [1, 2, 4], provenance: for a test}}
""",
    )
    amplitude = 2 * np.pi * 80 * np.sqrt(2) / 9.80665e3  # 1 mm/s RMS
    broken = np.full(round(2 * RATE_HZ), np.nan)
    rig.feed(np.stack([sine(2, 80, 3 * amplitude), broken]))
    assert rig.table("a")[-1]["zone"] == "C"
    assert rig.table("b")[-1]["marks"]["zone"] == "BAD:not_finite"


def test_a_gap_while_the_machine_stands_is_not_shown_for_hours(tmp_path: Path) -> None:
    rig = Rig(
        tmp_path,
        """
driver: mock
stream:
  rate_hz: 2560
  channels: {a: {unit: g}}
  analysis: {states: {running: plc.process.running}, publish_in: [running], inputs_max_age_s: 60}
""",
    )
    rig.tell_plc(0, running=False)
    rig.feed(sine(3, 80, 1)[None])
    assert rig.table("a") == []
    rig.feed(sine(0.5, 80, 1)[None], gap="overrun")
    assert [set(r["marks"].values()) for r in rig.table("a")] == [{"BAD:overrun"}]
    rig.feed(sine(2, 80, 1)[None])
    assert rig.hub.latest.get(rig.plan.tables[0]) is None, "the gap is over"
    assert not rig.plan.tables[0].steady, "after a kill, hours without a row are no loss"


def test_while_the_clock_of_the_computer_is_off_every_row_of_a_stream_says_so(
    tmp_path: Path,
) -> None:

    rig = Rig(tmp_path, "driver: mock\nstream: {rate_hz: 2560, channels: {a: {unit: g}}}\n")
    mark: list[Mark | None] = [Mark(Quality.UNCERTAIN, "clock")]
    streams = Streams(rig.plant.streams, rig.hub, lambda: mark[0])
    rig.analysis = streams.consumer("daq")  # type: ignore[assignment]
    rig.feed(sine(2, 80, 1)[None])
    row = rig.table("a")[-1]
    assert (row["marks"]["rms"], row["rms"]) == ("UNCERTAIN:clock", pytest.approx(0.5**0.5))
    mark[0] = None
    rig.feed(sine(1, 80, 1)[None])
    assert rig.table("a")[-1]["marks"] == {}


def test_the_hash_of_the_set_up_is_of_the_rate_that_the_card_has(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "driver: mock\nstream: {rate_hz: 2560, channels: {a: {unit: g}}}\n")
    rig.feed(sine(2, 80, 1)[None])
    rig.feed(sine(3, 80, 1)[None], gap="refused", rate_hz=2600.0)
    told = rig.table("a", "vibration_setup")
    assert [t["rate_hz"] for t in told] == [2560, 2600]
    setups = [r["setup"] for r in rig.table("a") if r["setup"]]
    assert list(dict.fromkeys(setups)) == [t["setup"] for t in told]
    assert told[0]["setup"] != told[1]["setup"]


def test_a_rate_at_which_nothing_can_be_computed_is_told_in_words() -> None:
    samples, hop = fast_length(RATE_HZ, 1.0, 0.1)
    spec = Spec(rate_hz=RATE_HZ, samples=samples, hop=hop, unit="g")
    plan = StreamPlan("daq", (Channel("a", "g"),), RATE_HZ, hop / RATE_HZ, samples / RATE_HZ)
    feature_plan(plan, [Recipe(spec, ("rms",), (Average("rms", "linear", 1.0, True),))], "v", ())
    analysis = StreamAnalysis(plan, Hub())
    block = Block(np.zeros((1, hop), np.float32), 0, 40.0, None, START_NS)
    for _ in range(2):
        with pytest.raises(DeviceUnavailable, match="at the card's rate of 40 Hz: a window of 40"):
            analysis.feed(block)
    analysis.feed(Block(np.zeros((1, hop), np.float32), 0, RATE_HZ, None, START_NS))
    assert analysis.status()["rate_hz"] == RATE_HZ


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ("history_s: 120", r"analysis\.history_s: .* 1 channels at 1e\+07 Hz .* GB; expected at m"),
        ("window_s: 60, hop_s: 20, publish_every_s: 20", r"analysis\.window_s: .* GB; expected"),
        (
            "averages: {velocity_rms: {mode: linear, over_s: 3600}}, hop_s: 0.02",
            r"analysis\.averages: .* every 0.02 s, .* GB; expected",
        ),
    ],
)
def test_what_would_not_fit_into_memory_is_refused_in_words(
    tmp_path: Path, settings_: str, words: str
) -> None:
    fast = "rate_hz: 10000000, channels: {a: {unit: g}}"
    many = ", ".join(f"c{i}: {{unit: g}}" for i in range(800))
    stream = f"rate_hz: 2560, channels: {{{many}}}" if "averages" in settings_ else fast
    with pytest.raises(ConfigError, match=words):
        plant_of(tmp_path, f"driver: mock\nstream: {{{stream}, analysis: {{{settings_}}}}}\n")


SLOW = "driver: mock\nstream: {rate_hz: 0.5, channels: {a: {unit: degC, full_scale: 100}}}\n"


def test_slow_samples_and_what_is_told_of_them_are_in_the_order_of_time(tmp_path: Path) -> None:
    rig = Rig(tmp_path, SLOW)
    rig.analysis = Streams(rig.plant.streams, rig.hub).consumer("daq")  # type: ignore[assignment]
    table = rig.plan.tables[0]
    rig.feed(np.array([[20.0, 21.0]]), rate_hz=0.5)
    lost_ns = rig.now_ns - 10**9  # a second after the last sample
    rig.hub.publish(bad_row(table, lost_ns, "closed"))
    rig.now_ns = lost_ns + 2 * 10**9
    rig.feed(np.array([[np.nan, 100.0, 22.0]]), gap="closed", rate_hz=0.5)
    told = [(row.time_ns, str(row.mark(0) or "GOOD")) for row in rig.rows]
    assert [mark for _, mark in told] == [
        "GOOD", "GOOD", "BAD:closed", "BAD:closed", "BAD:not_finite", "UNCERTAIN:clipped", "GOOD",
    ]  # fmt: skip
    times = [time_ns for time_ns, _ in told]
    assert times == sorted(set(times))
    shown = rig.hub.latest.get(table)
    assert shown is not None
    assert shown.value(0) == 22.0


@pytest.mark.parametrize(("hop_s", "block_s"), [(0.1, 0.1), (1.0, 1.0), (10.0, 1.0), (60.0, 1.0)])
def test_a_long_hop_is_read_in_blocks_of_a_second(
    tmp_path: Path, hop_s: float, block_s: float
) -> None:
    times = f"window_s: 60, hop_s: {hop_s}, publish_every_s: 60"
    stream = f"rate_hz: 2560, channels: {{a: {{unit: g}}}}, analysis: {{{times}}}"
    plant = plant_of(tmp_path, f"driver: mock\nstream: {{{stream}}}\n")
    driver = plant.devices["daq"]
    assert isinstance(driver, StreamDriver)
    assert driver.stream.block_s == pytest.approx(block_s, rel=0.06)
    assert round(plant.streams["daq"].hop_s * 2560) % driver.stream.block_samples == 0


def test_an_average_stays_uncertain_as_long_as_an_uncertain_window_counts_in_it(
    tmp_path: Path,
) -> None:
    text = """
driver: mock
stream:
  rate_hz: 2560
  channels: {a: {unit: g, full_scale: 10}, b: {unit: g, full_scale: 10}}
  analysis:
    window_s: 0.5
    publish_every_s: 0.1
    zones: {boundaries_mm_s: [1, 2, 4], provenance: made up for a test}
    averages: {velocity_rms: {mode: linear, over_s: 2}, rms: {mode: linear, over_s: 0.3}}
"""
    rig = Rig(tmp_path, text)
    clean = sine(1, 80, 2)
    rig.feed(np.stack([clean, clean]))
    rig.feed(np.stack([np.clip(sine(0.2, 80, 12), -10, 10), sine(0.2, 80, 2)]))
    rig.feed(np.tile(np.stack([clean, clean]), 4))
    rows = rig.table("a")
    last = max(i for i, row in enumerate(rows) if row["marks"].get("rms"))
    assert rows[last]["marks"]["rms"] == "UNCERTAIN:clipped"
    after = rows[last + 1 :]
    assert all("rms" not in row["marks"] for row in after), "the window itself is clean again"
    doubted = {
        name: sum(row["marks"].get(name) == "UNCERTAIN:clipped" for row in after)
        for name in ("velocity_rms_avg", "rms_avg", "zone")
    }
    assert doubted == {"velocity_rms_avg": 19, "rms_avg": 2, "zone": 19}
    assert rows[-1]["marks"] == {}
    assert all(row["marks"] == {} for row in rig.table("b"))
