"""What was refused or lost, as a person sees it: a real Influx engine, the daemon, the commands."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.api.client import Client, NotRunning
from gateway.losses import Loss, LossLedger
from gateway.model import Row
from gateway.sinks import Selected
from gateway.sinks.historian import HistorianConfig, HistorianSink
from tests.sims.influx_peer import BUCKET, TOKEN, InfluxPeer, influx
from tests.support import until
from tests.system.cli_kit import PRESS, called, gateway, is_well, objects, plant, started

__all__ = ["influx"]


def with_influx(folder: Path, peer: InfluxPeer) -> Path:
    """A press, a historian, and the engine as a second sink."""
    file = plant(folder, PRESS)
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    sink = f"{{type: influxdb, url: '{peer.url}', bucket: {BUCKET}, token_file: token}}"
    text = file.read_text().replace("sinks:\n", f"sinks:\n  influx: {sink}\n")
    file.write_text(text + "writer: {flush_interval_s: 0.1}\n")
    return file


def status(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = Client(file.parent / "s").get_json("/v1/status")
    except NotRunning:
        return {}
    return found


def letters(file: Path) -> int:
    return int(status(file)["sinks"]["influx"]["dead_letters"])


def refuse(peer: InfluxPeer, text: str) -> None:
    """Lines written by somebody else."""
    assert peer.write(BUCKET, "ns", None, text.encode())[0] == 204


def mend(peer: InfluxPeer) -> None:
    """Let the press' type in.

    The engine keeps the old one where rows are written at the moment of the drop: it was seen to
    refuse all 200 rows of the next 20 s.
    """

    def is_dropped() -> bool:
        peer.query('DROP MEASUREMENT "process"')
        with contextlib.suppress(AssertionError):
            return until(lambda: peer.count("process", "force") > 0, 3)
        return False

    until(is_dropped, 20, "rows of the right type")


@pytest.mark.servers
def test_a_type_conflict_is_listed_exported_mended_and_replayed(
    tmp_path: Path, influx: InfluxPeer
) -> None:
    """Somebody wrote text where the press has a number: the engine refuses the press' rows."""
    refuse(influx, 'process,device=other force="none" 1700000000000000000')
    # the type holds in each shard: one of the present
    refuse(influx, f'process,device=other force="none" {time.time_ns()}')
    file = with_influx(tmp_path, influx)
    config = ("--config", file)
    with started("run", file, log=tmp_path / "log"):
        until(lambda: status(file) and letters(file) >= 5, 20, "refused lines")

        text = called("dead-letters", "list", *config).stdout
        assert text.splitlines()[0].split() == (
            ["SINK", "ID", "REFUSED", "DEVICE", "TABLE", "TIME", "REASON"]
        )
        assert "field type conflict" in text
        assert "press" in text
        listed = objects(called("dead-letters", "list", "--json", "-n", "3", *config).stdout)
        assert [letter["sink"] for letter in listed] == ["influx"] * 3
        assert all("force" in letter["line"] for letter in listed)

        # a letter is there before its loss is told
        told = until(lambda: objects(called("losses", "--json", *config).stdout), 20, "a loss")
        assert {(x["cause"], x["sink"], x["device"], x["table"]) for x in told} == (
            {("rejected", "influx", "press", "process")}
        )
        times = [x["time_ns"] for x in told]
        assert times == sorted(times, reverse=True)
        assert called("losses", *config).stdout.splitlines()[0].split() == (
            ["TOLD", "SINK", "DEVICE", "TABLE", "FROM", "TO", "ROWS", "CAUSE", "DETAIL"]
        )

        mend(influx)
        exported = tmp_path / "refused.ndjson"
        called("dead-letters", "export", exported, *config)
        saved = objects(exported.read_text())
        assert len(saved) == letters(file) >= 5
        assert "refused.ndjson exists" in (
            called("dead-letters", "export", exported, *config, expect=2).stderr
        )

        answer = gateway("dead-letters", "replay", "--sink", "influx", *config).stdout
        assert answer == f"influx: {len(saved)} letters on the way\n"
        until(lambda: letters(file) == 0, 20, "the letters to leave")
        # counted when they have left
        until(
            lambda: status(file)["sinks"]["influx"]["dead_letters_replayed"] == len(saved),
            what="all to be counted",
        )
        assert "no dead letters" in called("dead-letters", "list", *config).stderr
        metrics = Client(file.parent / "s").get_text("/metrics")
        assert 'gateway_sink_dead_letters{sink="influx"} 0\n' in metrics
        assert (
            f'gateway_sink_dead_letters_replayed_total{{sink="influx"}} {len(saved)}\n' in metrics
        )
        # those after the first are told together, some seconds after the last
        until(lambda: status(file)["losses"]["rejected"] == len(saved), 20, "all to be told")
        metrics = Client(file.parent / "s").get_text("/metrics")
        assert f'gateway_lost_rows_total{{cause="rejected"}} {len(saved)}\n' in metrics

    stored = [row for row in influx.rows("process") if row["force"] is not None]
    per_time: dict[int, int] = {}
    for row in stored:
        per_time[row["time"]] = per_time.get(row["time"], 0) + 1
    assert set(per_time.values()) == {1}
    assert {letter["time_ns"] for letter in saved} <= set(per_time)


@pytest.mark.servers
def test_what_is_refused_again_stays_and_goes_when_the_cause_is_mended(
    tmp_path: Path, influx: InfluxPeer
) -> None:
    refuse(influx, f'process,device=other force="none" {time.time_ns()}')
    file = with_influx(tmp_path, influx)
    config = ("--config", file)
    with started("run", file, log=tmp_path / "log"):
        until(lambda: status(file) and letters(file) >= 2, 20, "refused lines")
        before = letters(file)
        first = objects(called("dead-letters", "list", "--json", *config).stdout)[-1]
        called("dead-letters", "replay", "--sink", "influx", "--id", first["id"], *config)

        def again() -> bool:
            found = objects(called("dead-letters", "list", "--json", "-n", "999", *config).stdout)
            (mine,) = [x for x in found if x["id"] == first["id"]]
            return not mine["on_its_way"]

        until(again, 20, "the answer to the letter")
        assert letters(file) >= before
        assert status(file)["sinks"]["influx"]["dead_letters_replayed"] == 0
        rejected = status(file)["losses"]["rejected"]
        # told once for each row, however often it is refused
        listed = objects(called("losses", "--json", *config).stdout)
        assert sum(x["rows"] for x in listed if x["cause"] == "rejected") >= rejected > 0
        assert len(listed) == len({(x["first_ns"], x["detail"]) for x in listed})


@pytest.mark.servers
def test_letters_on_their_way_survive_a_kill(tmp_path: Path, influx: InfluxPeer) -> None:
    refuse(influx, f'process,device=other force="none" {time.time_ns()}')
    file = with_influx(tmp_path, influx)
    config = ("--config", file)
    with started("run", file, log=tmp_path / "log", stop=signal.SIGKILL) as process:
        until(lambda: status(file) and letters(file) >= 3, 20, "refused lines")
        mend(influx)
        saved = letters(file)
        times = [x["time_ns"] for x in objects(
            called("dead-letters", "list", "--json", "-n", "999", *config).stdout
        )]  # fmt: skip
        influx.kill()
        until(lambda: status(file)["sinks"]["influx"]["state"] == "retrying", 20)
        called("dead-letters", "replay", *config)
        assert letters(file) == saved  # they stay until they are stored
        process.kill()
        process.wait(10)
    influx.start()
    with started("run", file, log=tmp_path / "log2"):
        until(lambda: status(file) and status(file)["sinks"]["influx"]["state"] == "good", 20)
        until(lambda: letters(file) == 0, 20, "the letters to leave")
    stored = [row["time"] for row in influx.rows("process") if row["force"] is not None]
    assert len(stored) == len(set(stored))
    assert set(times) <= set(stored)


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A plant whose historian has a loss of an earlier run."""
    file = plant(tmp_path, PRESS)
    rows: list[Row] = []
    ledger = LossLedger(rows.append, "test")
    ledger.record(Loss("influx", "press", "process", 1000, 2000, 7, "spool_bound", "0001-data.db"))
    config = HistorianConfig.model_validate({"type": "sqlite", "store_every_s": 0})
    sink = HistorianSink("history", config, tmp_path / "state")
    sink.store([Selected(row) for row in rows])
    sink.close()
    return file


def test_losses_of_an_earlier_run_are_listed_after_a_restart(history: Path) -> None:
    config = ("--config", history)
    with started("run", history, log=history.parent / "log"):
        until(lambda: is_well(history), 20)
        (loss,) = objects(called("losses", "--json", *config).stdout)
        assert (loss["device"], loss["table"], loss["rows"]) == ("press", "process", 7)
        assert (loss["first_ns"], loss["last_ns"], loss["cause"]) == (1000, 2000, "spool_bound")
        assert (loss["sink"], loss["detail"]) == ("influx", "0001-data.db")
        done = called("losses", *config)
        assert "spool_bound" in done.stdout
        assert "7 rows in 1 range" in done.stderr
        assert "nothing was lost since now" in called("losses", "--since", "now", *config).stderr
        assert "is no time" in called("losses", "--since", "today", *config, expect=2).stderr
        assert "no dead letters" in called("dead-letters", "list", *config).stderr
        missing = called("dead-letters", "list", "--sink", "history", *config, expect=2).stderr
        assert "no sink that refuses lines 'history'" in missing


def test_a_kill_is_told_by_the_next_start_and_listed_with_its_range(tmp_path: Path) -> None:
    file = plant(tmp_path, PRESS)
    config = ("--config", file)
    with started("run", file, log=tmp_path / "log", stop=signal.SIGKILL) as process:
        until(lambda: is_well(file), 20)
        until(lambda: status(file)["sinks"]["history"]["rows_stored"] > 3, 20)
        process.kill()
        process.wait(10)
    with started("run", file, log=tmp_path / "log2"):
        until(lambda: is_well(file), 20)
        until(lambda: status(file)["losses"].get("unclean_stop"), 20, "the loss")
        (loss,) = objects(called("losses", "--json", *config).stdout)
        assert (loss["cause"], loss["sink"], loss["device"]) == ("unclean_stop", "history", "press")
        assert loss["first_ns"] <= loss["last_ns"]
    # after the next restart the ledger is empty; the historian has it
    with started("run", file, log=tmp_path / "log3"):
        until(lambda: is_well(file), 20)
        again = objects(called("losses", "--json", *config).stdout)
        assert again == [loss]
        assert status(file)["losses"] == {}


def test_without_a_running_gateway_the_answer_is_clear(tmp_path: Path) -> None:
    file = plant(tmp_path, PRESS)
    for words in (["losses"], ["dead-letters", "list"]):
        done = called(*words, "--config", file, expect=3)
        assert "no gateway is running at" in done.stderr
        assert "only a running gateway tells" in done.stderr
    target = tmp_path / "x.ndjson"
    called("dead-letters", "export", target, "--config", file, expect=3)
    assert not target.exists()
    called("dead-letters", "replay", "--config", file, expect=3)


def test_mistakes_on_the_command_line() -> None:
    assert "missing command" in called("dead-letters", expect=2).stderr
    done = called("dead-letters", "replay", "--id", "3", expect=2)
    assert "--id needs --sink" in done.stderr
