"""``/v1/config``: settings without secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.api import schemas
from gateway.api.scrub import HIDDEN, scrubbed
from gateway.api.settings import ApiConfig
from gateway.config import load
from gateway.logs import hide
from tests.support import ROOT
from tests.unit.apikit import served
from tests.unit.test_api_routes import conforms


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"token": "abc"}, {"token": HIDDEN}),
        ({"Password": "abc", "api_key": 7}, {"Password": HIDDEN, "api_key": HIDDEN}),
        (
            {"token_file": "/etc/t", "tokens_file": None},
            {"token_file": "/etc/t", "tokens_file": None},
        ),
        ({"password_credential": "smtp"}, {"password_credential": "smtp"}),
        ({"headers": {"X-Key": "abc"}}, {"headers": {"X-Key": HIDDEN}}),
        ({"url": "http://127.0.0.1:8086"}, {"url": "http://127.0.0.1:8086"}),
        ({"url": "https://a:b@h.example/"}, {"url": "https://***@h.example/"}),
        ({"url": "https://h.example/hook/T0/B0?k=1#x"}, {"url": "https://h.example/***?***"}),
        ({"url": "http://[::1"}, {"url": HIDDEN}),  # no address: nobody knows what is in it
        ([{"secrets": ["a", "b"]}, 1.5, True], [{"secrets": [HIDDEN, HIDDEN]}, 1.5, True]),
        ({"command": ["/bin/x", "token=abcdefgh12"]}, {"command": ["/bin/x", "token=***"]}),
    ],
)
def test_what_may_be_a_secret_is_hidden_and_all_else_is_not(given: Any, shown: Any) -> None:
    assert scrubbed(given) == shown


def test_a_secret_that_was_read_from_a_file_is_hidden_wherever_it_stands() -> None:
    hide("s3cr3t-of-a-test")
    assert scrubbed({"note": "it is s3cr3t-of-a-test"}) == {"note": f"it is {HIDDEN}"}


def test_the_route_gives_settings_without_secrets(tmp_path: Path) -> None:
    with served(ApiConfig(socket=tmp_path / "s")) as api:
        document = api.client.get_json("/v1/config")
    conforms(schemas.RunningConfig, document)
    assert document["settings"]["sinks"]["influx"] == {
        "url": "http://***@host/***?***",
        "token": HIDDEN,
    }


def test_the_settings_of_the_shipped_demo_are_plain_values_with_their_defaults() -> None:
    settings = load(ROOT / "configs" / "demo.yaml").settings()
    assert settings["gateway"]["name"] == "demo"
    assert settings["sinks"]["history"]["type"] == "sqlite"
    assert settings["devices"]["press_1"]["driver"] == "mock"
    assert settings["writer"]["flush_interval_s"] > 0
    assert scrubbed(settings)["api"]["socket"].endswith("gateway.sock")
