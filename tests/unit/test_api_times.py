"""Times in queries, the listen address and the settings of the API."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.api.address import Address, parse_listen
from gateway.api.settings import ApiConfig, TlsConfig
from gateway.api.times import parse_time

NOW_NS = 1_772_366_400_000_000_000  # 2026-03-01T12:00:00Z
HOUR_NS = 3600 * 10**9


TIMES = [
    ("now", NOW_NS),
    ("-1h", NOW_NS - HOUR_NS),
    ("-1.5h", NOW_NS - HOUR_NS * 3 // 2),
    ("-90s", NOW_NS - 90 * 10**9),
    ("-15m", NOW_NS - HOUR_NS // 4),
    ("-7d", NOW_NS - 7 * 24 * HOUR_NS),
    ("-2w", NOW_NS - 14 * 24 * HOUR_NS),
    ("-250ms", NOW_NS - 250 * 10**6),
    ("2026-03-01T12:00:00Z", NOW_NS),
    ("2026-03-01T12:00:00", NOW_NS),
    ("2026-03-01T12:00", NOW_NS),
    ("2026-03-01 12:00:00", NOW_NS),
    ("2026-03-01T20:00:00+08:00", NOW_NS),
    ("2026-03-01T20:00:00 08:00", NOW_NS),
    ("2026-03-01T12:00:00.123456Z", NOW_NS + 123_456_000),
    ("2026-03-01", NOW_NS - 12 * HOUR_NS),
    ("1772366400", NOW_NS),
    ("1772366400.000000001", NOW_NS + 1),
    ("1772366400000", NOW_NS),
    ("1772366400000000", NOW_NS),
    ("1772366400000000123", NOW_NS + 123),
    ("0", 0),
]


def test_a_time_may_be_written_as_people_and_programs_do() -> None:
    for text, time_ns in TIMES:
        assert parse_time(text, NOW_NS) == time_ns, text


NO_TIMES = [
    *("", "yesterday", "1h", "-1x", "-h", "+1h", "--1h", "1e9", "nan", "2026-13-01"),
    *("-999999w", "9223372036854775808", "1969-12-31T23:59:59Z", "2300-01-01"),
    *("9" * 30, "١٢"),
]


def test_what_is_no_time_is_refused() -> None:
    for text in NO_TIMES:
        with pytest.raises(ValueError):
            parse_time(text, NOW_NS)


@given(st.integers(10**17, 2**63 - 1))
def test_ns_since_1970_are_taken_exactly(time_ns: int) -> None:
    assert parse_time(str(time_ns), NOW_NS) == time_ns


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert 0 <= parse_time(text, NOW_NS) < 2**63


ADDRESSES = [
    ("127.0.0.1:8080", Address("127.0.0.1", 8080), True),
    ("127.8.8.8:1", Address("127.8.8.8", 1), True),
    ("[::1]:8080", Address("::1", 8080), True),
    ("localhost:65535", Address("localhost", 65535), True),
    ("0.0.0.0:8080", Address("0.0.0.0", 8080), False),
    ("[::]:8080", Address("::", 8080), False),
    ("hall-3.plant.example:8080", Address("hall-3.plant.example", 8080), False),
    ("localhost.evil.example:80", Address("localhost.evil.example", 80), False),
]


def test_a_listen_address_is_host_and_port() -> None:
    for text, address, loopback in ADDRESSES:
        assert parse_listen(text) == address
        assert str(address) == text
        assert address.is_loopback is loopback, text


NO_ADDRESSES = [
    *("", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536"),
    *("a:b", "::1:8080", "[::1]", "[]:80", "[127.0.0.1:80", "256.0.0.1:80", "[::g]:80"),
    *("127.0.0.1:٨٠", "[127.0.0.1]:80", "a b:80", "user@host:80", "http://localhost:80"),
]


def test_what_is_no_listen_address_is_a_config_error() -> None:
    for text in NO_ADDRESSES:
        with pytest.raises(ValidationError, match="expected"):
            ApiConfig(listen=text)


def test_listening_to_the_network_needs_tokens() -> None:
    for listen in ("0.0.0.0:8080", "[::]:8080", "10.0.0.7:8080", "hall-3:8080"):
        with pytest.raises(ValidationError, match="needs a tokens_file; or listen on 127"):
            ApiConfig(listen=listen)
        assert ApiConfig(listen=listen, tokens_file=Path("tokens")).listen == listen
    assert ApiConfig(listen="127.0.0.1:8080").tokens_file is None


def test_every_setting_is_described() -> None:
    keys = {"socket", "listen", "tokens_file", "loopback_open", "hosts", "tls"}
    assert set(ApiConfig.model_fields) == keys
    for shape in (ApiConfig, TlsConfig):
        for name, setting in shape.model_fields.items():
            assert setting.description, name
