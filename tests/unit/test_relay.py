"""The file of `gateway writer`, its batches and its metrics."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.errors import ConfigError, GatewayError, Rejected
from gateway.relay.entries import RAW, Entry, InHand, entry_of
from gateway.relay.loading import is_writer_file, load_writer, named
from gateway.relay.making import Maker, Straight, made_sink, opened
from gateway.relay.metrics import render
from gateway.relay.worker import Worker
from gateway.sinks.packing import compress
from gateway.wire import FORMAT, decode_batch, encode_batch
from tests.fleet.kit import rows, table
from tests.support import ROOT

GOOD = """\
redis: {host: 127.0.0.1, port: 6390}
group: history
sink: {type: sqlite, store_every_s: 0}
state_dir: here
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "w.yaml"
    file.write_text(text)
    return file


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_writer(written(folder, text))
    return [str(fault).removeprefix(f"{folder}/") for fault in caught.value.faults]


def entry(count: int = 10, first: int = 0, **more: object) -> Entry:
    body = compress(encode_batch(rows(table(), first, count)))
    return Entry(b"readings:hall-1", b"1-%d" % first, body, count, FORMAT)._replace(**more)


def test_the_shortest_file_is_enough(tmp_path: Path) -> None:
    file = load_writer(written(tmp_path, GOOD))
    assert file.streams == ["readings:*"]
    assert file.state_dir == tmp_path / "here"
    assert file.sink.type == "sqlite"
    assert file.api is None
    assert (file.dead, file.replay) == ("dead:history", "replay:history")
    assert file.worker_name.endswith(f"-{os.getpid()}")
    assert named(file, "w7").worker_name == "w7"
    with pytest.raises(GatewayError, match="worker 'a b'"):
        named(file, "a b")


def test_the_example_can_be_used() -> None:
    file = load_writer(ROOT / "configs" / "writer.example.yaml")
    assert (file.group, file.sink.type, file.claim_after_s) == ("postgres", "postgres", 30.0)


def test_a_writers_file_is_told_from_a_gateways(tmp_path: Path) -> None:
    assert is_writer_file(written(tmp_path, GOOD))
    assert not is_writer_file(written(tmp_path, "sinks: {}\ndevices: {}\n"))


def test_all_faults_are_told_at_once_with_their_places(tmp_path: Path) -> None:
    text = """\
redis: {hots: 127.0.0.1, password_file: gone}
gruop: history
streams: ["dead:*"]
batch: {max_rows: 0}
sink: {type: postgers}
claim_after_s: soon
"""
    told = faults(tmp_path, text)
    assert all(one.startswith("w.yaml:") for one in told), told
    joined = "\n".join(told)
    for part in ("w.yaml:1:9: redis.hots", "did you mean 'host'", "'group' is missing",
                 "w.yaml:4:", "max_rows", "postgers", "did you mean 'postgres'",
                 "claim_after_s"):  # fmt: skip
        assert part in joined, (part, told)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("sink: {type: sqlite, store_every_s: 0}\n", "", "'sink' is missing"),
        ("sqlite, store_every_s: 0", "sqlite, stoer_every_s: 0", "sink.stoer_every_s"),
        ("type: sqlite, ", "", "'type' is missing"),
        ("sink: {type: sqlite, store_every_s: 0}", "sink: sqlite", "sink"),
        ("group: history", "group: 'a b'", "group"),
        ("group: history", "group: h\nstreams: ['replay:*']", "also means the writer's own"),
        ("group: history", "group: h\nstreams: ['*']", "also means the writer's own"),
        ("group: history", "group: h\nstreams: []", "streams"),
        ("group: history", "group: h\napi: {listen: '0.0.0.0:80'}", "needs a tokens_file"),
        ("port: 6390", "port: 6390, password_file: gone", "gone cannot be read"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    (told, *_) = faults(tmp_path, GOOD.replace(old, new))
    assert said in told


def test_an_entry_is_read_as_it_comes() -> None:
    found = entry_of(b"s", [b"1-0", [b"b", b"body", b"n", b"3"]])
    assert found == Entry(b"s", b"1-0", b"body", 3, FORMAT)
    assert entry_of(b"s", [b"1-0", [b"x", b"y", b"n", b"-1"]]) == Entry(
        b"s", b"1-0", None, 0, FORMAT
    )
    assert entry_of(b"s", [b"1-0", [b"f", RAW.encode()]]).format == FORMAT
    assert entry_of(b"s", [b"1-0", [b"f", b"lp"]]).format == "lp"


def test_entries_make_a_batch_that_holds_them_all(tmp_path: Path) -> None:
    sink = made_sink(load_writer(written(tmp_path, GOOD)).sink, tmp_path / "s")
    maker = Maker(sink, 25)
    assert maker.take() == []
    for n in range(3):
        assert not maker.is_full
        maker.add(opened(entry(10, 10 * n)))
    assert maker.is_full
    (batch,) = maker.take()
    assert batch.stored.rows == 30
    assert [r.row.time_ns for r in decode_batch(batch.stored.body)] == [
        r.row.time_ns for r in rows(table(), 0, 30)
    ]
    (span,) = batch.stored.spans
    assert (span.device, span.table, span.rows) == ("plc", "load", 30)
    assert maker.since_s is None
    sink.close()


def test_a_replayed_letter_is_not_counted_again(tmp_path: Path) -> None:
    sink = made_sink(load_writer(written(tmp_path, GOOD)).sink, tmp_path / "s")
    maker = Maker(sink, 25)
    (batch,) = maker.batches([opened(entry(stream=b"replay:history"))], is_claimed=False)
    assert batch.stored.rows == 0
    with pytest.raises(ValueError, match="format lp; expected"):
        maker.again(entry(format="lp"))
    sink.close()


def test_a_durable_sink_is_spoken_to_as_a_remote_one(tmp_path: Path) -> None:
    sink = made_sink(load_writer(written(tmp_path, GOOD)).sink, tmp_path / "s")
    assert isinstance(sink, Straight)
    (payload,) = sink.encode(rows(table(), 0, 10))
    sink.deliver(payload.body, payload.format)
    assert sum(len(decode_batch(part)) for part in sink.split(payload.body, FORMAT)) == 10
    with pytest.raises(Rejected, match="no rows"):
        sink.deliver(b"poison", FORMAT)
    assert sink.split(b"poison", FORMAT) == [b"poison"]
    sink.close()


def test_what_is_in_hand_is_known_by_stream() -> None:
    held = InHand()
    first, second = entry(1, 0), entry(1, 1)
    held.add([first, second])
    assert held.all() == {b"readings:hall-1": [b"1-0", b"1-1"]}
    held.remove([first])
    held.remove([first])
    assert len(held) == 1


def test_metrics_have_every_figure_that_is_known(tmp_path: Path) -> None:
    worker = Worker(named(load_writer(written(tmp_path, GOOD)), "w1"))
    status = worker.status()
    worker.sink.close()
    assert not status["worker"]["ready"]
    text = render(status)
    assert 'gateway_writer_ready{group="history",worker="w1"} 0' in text
    assert 'gateway_writer_sink_state{group="history",worker="w1",state="good"} 1' in text
    assert "lag_entries" not in text  # not looked at yet
    status["redis"]["lag_entries"] = 7
    assert 'gateway_writer_lag_entries{group="history",worker="w1"} 7' in render(status)
    for line in text.splitlines():
        assert line.startswith("#") or line.rpartition(" ")[2].replace(".", "").isdigit(), line
