"""Tokens, sign-in codes and switched devices, as an operator meets them: by the command."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.api.client import Client, NotRunning, RequestFailed
from tests.support import free_port, until
from tests.system.cli_kit import PRESS, called, environment, objects, plant, said, started
from tests.unit.tokenkit import bearer, post

MORE = "  other: {driver: mock, map: mock.yaml}\n"
WISH = {"device": "press", "why": "the valve is being changed"}


def with_tokens(folder: Path, listen: str) -> Path:
    file = plant(folder, PRESS, listen=listen)
    text = file.read_text()
    file.write_text(text.replace("api: {", "api: {tokens_file: tokens, "))
    return file


def device(socket: Path, name: str = "press") -> dict[str, Any]:
    try:
        found: dict[str, Any] = Client(socket).get_json("/v1/status")["devices"]
    except NotRunning:
        return {"state": "", "polls": 0}
    return found[name]


def test_tokens_are_made_listed_and_taken_back(tmp_path: Path) -> None:
    file = with_tokens(tmp_path, "127.0.0.1:8080")
    assert "`gateway token add FILE NAME` makes it" in called("check", file, expect=78).stderr
    assert "has no tokens" in called("token", "list", file).stderr
    made = called("token", "add", file, "grafana")
    assert re.fullmatch(r"egw_[\w-]{43}\n", made.stdout)
    assert "Authorization: Bearer" in made.stderr
    called("token", "add", file, "bob", "--role", "operator", "--days", "30")
    assert "1 device" in called("check", file).stdout
    listed = called("token", "list", file).stdout
    assert re.search(r"^grafana +viewer +\d{4}-\d\d-\d\d +never$", listed, re.M)
    assert re.search(r"^bob +operator +\d{4}-\d\d-\d\d +\d{4}-\d\d-\d\d$", listed, re.M)
    assert made.stdout.strip() not in (tmp_path / "tokens").read_text()
    twice = called("token", "add", file, "bob", expect=2)
    assert "has a token 'bob' already" in twice.stderr
    assert "did you mean 'grafana'?" in called("token", "revoke", file, "grafan", expect=2).stderr
    called("token", "revoke", file, "grafana")
    (left,) = objects(called("token", "list", "--json", file).stdout)
    assert (left["name"], left["role"], left["good"]) == ("bob", "operator", True)


@pytest.mark.parametrize("name", ["", "a b", "-x", "ä", "x" * 65, "../x"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    file = with_tokens(tmp_path, "127.0.0.1:8080")
    assert (
        "is no name; expected letters" in called("token", "add", file, "--", name, expect=2).stderr
    )
    assert not (tmp_path / "tokens").exists()


def test_a_configuration_without_a_file_for_tokens_is_told_what_to_add(tmp_path: Path) -> None:
    file = plant(tmp_path, PRESS, listen="127.0.0.1:8080")
    told = called("token", "add", file, "bob", expect=1)
    assert "expected e.g. `api: {tokens_file: tokens" in told.stderr
    file.write_text(file.read_text().replace("api: {", "api: {tokens_file: [1], "))
    told = called("token", "list", file, expect=78)
    assert f"{file}:3:20: api.tokens_file: not a path" in told.stderr


def test_a_token_works_and_is_taken_back_while_the_gateway_runs(tmp_path: Path) -> None:
    at = f"127.0.0.1:{free_port()}"
    file, socket, log = with_tokens(tmp_path, at), tmp_path / "s", tmp_path / "log"
    text = called("token", "add", file, "bob", "--role", "operator").stdout.strip()
    with started("run", file, log=log) as process:
        said(log, "Next, in another terminal", process)
        until(lambda: device(socket)["polls"] > 1)
        status, _, told = post(at, "/v1/devices/disable", bearer(text), WISH)
        assert (status, told["who"]) == (200, "bob")
        called("token", "revoke", file, "bob")
        again = {**WISH, "why": "once more"}
        until(lambda: post(at, "/v1/devices/disable", bearer(text), again)[0] == 401)
    assert text not in log.read_text("utf-8")


def test_a_switched_device_stays_off_over_a_restart_and_a_reload(tmp_path: Path) -> None:
    file, socket, log = plant(tmp_path, PRESS + MORE), tmp_path / "s", tmp_path / "log"
    with started("run", file, log=log) as process:
        said(log, "Next, in another terminal", process)
        until(lambda: device(socket)["polls"] > 1)
        client = Client(socket)
        client.post_json("/v1/devices/disable", body={**WISH, "who": "carol"})
        now = device(socket)
        assert (now["state"], now["reason"]) == (
            "disabled",
            "switched off by carol: the valve is being changed",
        )
        assert now["tags_bad"] == now["tags"]
        with pytest.raises(RequestFailed) as caught:
            client.get_json("/v1/read", {"device": "press"})
        assert caught.value.status in (409, 503)
        file.write_text(file.read_text().replace(PRESS, PRESS.replace("}", ", latency_s: 0.01}")))
        assert "device press: changed" in called("reload", "--socket", socket).stdout
        assert device(socket)["state"] == "disabled"
        polls = device(socket, "other")["polls"]
        until(lambda: device(socket, "other")["polls"] > polls + 3)
        assert device(socket)["polls"] == 0
    with started("run", file, log=log) as process:
        said(log, "Next, in another terminal", process)
        until(lambda: device(socket, "other")["polls"] > 3)
        assert (device(socket)["state"], device(socket)["polls"]) == ("disabled", 0)
        assert Client(socket).get_json("/readyz")["ready"] is True
        Client(socket).post_json("/v1/devices/enable", body=WISH)
        until(lambda: device(socket)["polls"] > 1)
        done = Client(socket).get_json("/v1/audit")["actions"]
        assert [a["action"] for a in done] == ["devices/enable", "devices/disable"]


def test_a_device_that_the_configuration_disables_is_not_switched_on(tmp_path: Path) -> None:
    off = PRESS.replace("}", ", enabled: false}")
    file, socket, log = plant(tmp_path, off + MORE), tmp_path / "s", tmp_path / "log"
    with started("run", file, log=log) as process:
        said(log, "Next, in another terminal", process)
        with pytest.raises(RequestFailed, match="disabled in the configuration") as caught:
            Client(socket).post_json("/v1/devices/enable", body=WISH)
        assert caught.value.status == 409


def test_a_person_at_this_machine_gets_a_code_and_signs_in(tmp_path: Path) -> None:
    at = f"127.0.0.1:{free_port()}"
    file, log = plant(tmp_path, PRESS, listen=at), tmp_path / "log"
    with started("run", file, log=log) as process:
        text = said(log, "Next, in another terminal", process)
        assert re.search(r"sign in with a code: .*sign-in --config .*gateway\.yaml", text)
        assert not re.search(r"[A-Z0-9]{4}-[A-Z0-9]{4}", text), "no secret in a log"
        done = called("sign-in", "--config", file)
        assert f"http://{at}/" in done.stderr
        origin = {"Origin": f"http://{at}"}
        status, headers, told = post(at, "/v1/session", origin, {"code": done.stdout.strip()})
        assert (status, told["role"]) == (200, "operator")
        cookie = {"Cookie": headers["set-cookie"].partition(";")[0], **origin}
        assert post(at, "/v1/devices/disable", cookie, WISH)[0] == 200
    assert "no gateway is running" in called("sign-in", "--config", file, expect=3).stderr


def test_on_a_terminal_the_first_code_is_shown_and_counts_once(tmp_path: Path) -> None:
    at = f"127.0.0.1:{free_port()}"
    file = plant(tmp_path, PRESS, listen=at)
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "run", str(file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=environment(),
    )
    os.close(theirs)
    shown = ""
    try:
        while not (found := re.search(r"the code ([A-Z2-9]{4}-[A-Z2-9]{4})", shown)):
            shown += os.read(mine, 4096).decode("utf-8", "replace")
        code, origin = found[1], {"Origin": f"http://{at}"}
        assert post(at, "/v1/session", origin, {"code": code})[0] == 200
        assert post(at, "/v1/session", origin, {"code": code})[0] == 401
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            while os.read(mine, 4096):
                pass
        except OSError:
            pass  # the other end is closed
        assert process.wait(20) == 0
        os.close(mine)
