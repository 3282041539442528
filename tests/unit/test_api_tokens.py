"""The file of tokens: what is written is read back, and what is wrong is named with its place."""

from __future__ import annotations

import os
import stat
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api import tokens
from gateway.api.ratelimit import RateLimit, key_of
from gateway.api.tokens import (
    Token,
    TokenFile,
    changing,
    digest_of,
    new_token,
    read_tokens,
    write_tokens,
)
from gateway.errors import GatewayError
from tests.unit.tokenkit import OPERATOR, VIEWER, token, tokens_file

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,20}", fullmatch=True).filter(
    lambda name: not name.startswith(tokens.PREFIX)
)
days = st.dates(date(2000, 1, 1), date(2999, 1, 1))
some = st.builds(
    Token,
    names,
    st.sampled_from(tokens.ROLES),
    st.binary(min_size=32, max_size=32),
    days,
    st.none() | days,
)


@given(st.lists(some, max_size=20, unique_by=lambda t: t.name))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, written: list[Token]
) -> None:
    path = tmp_path_factory.mktemp("t") / "tokens"
    write_tokens(path, written)
    assert list(read_tokens(path)) == written


def test_the_file_has_no_token_and_is_nobody_elses(tmp_path: Path) -> None:
    path = tokens_file(tmp_path)
    text = path.read_text()
    assert VIEWER not in text
    assert OPERATOR not in text
    assert not stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXO | stat.S_IWGRP)
    assert [p.name for p in tmp_path.iterdir()] == ["tokens"]


def test_tokens_are_long_and_never_the_same() -> None:
    made = {new_token() for _ in range(1000)}
    assert len(made) == 1000
    assert {len(t) for t in made} == {len(tokens.PREFIX) + 43}  # 32 bytes in base64


HASH = "sha256:" + "0" * 64
WRONG = [
    ("a viewer", "1:1: 2 words; expected NAME ROLE"),
    (f"egw_secret viewer {HASH} 2026-11-01 never", "1:1: not a name"),
    (f"a root {HASH} 2026-11-01 never", "1:3: no such role; expected viewer or operator"),
    (f"a viewer {VIEWER} 2026-11-01 never", "1:10: not a hash"),
    (f"a viewer {HASH[:-1]} 2026-11-01 never", "1:10: not a hash"),
    (f"a viewer {HASH} 2026-13-01 never", "1:82: not a date; expected e.g. 2027-01-31"),
    (f"a viewer {HASH} 2026-11-01 soon", "1:93: not a date; expected e.g. 2027-01-31, or never"),
    (
        f"# x\n\na viewer {HASH} 2026-11-01 never\n  a viewer {HASH} 2026-11-01 never",
        "4:3: 'a' comes twice; expected another name",
    ),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_a_wrong_line_is_named_without_what_it_says(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text + "\n")
    path.chmod(0o600)
    with pytest.raises(GatewayError) as caught:
        read_tokens(path)
    assert str(caught.value).startswith(f"{path}:{said}")
    assert VIEWER not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_cannot_be_a_file_of_tokens_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    for raw, said in ((b"\xff\xfe", "not UTF-8"), (b"#" * 70_000, "too large")):
        path.write_bytes(raw)
        path.chmod(0o600)
        with pytest.raises(GatewayError, match=said):
            read_tokens(path)
    for mode in (0o644, 0o660, 0o602):
        path.chmod(mode)
        with pytest.raises(GatewayError, match=f"mode {mode:04o}"):
            read_tokens(path)
    with pytest.raises(GatewayError, match="not a file"):
        read_tokens(Path("/dev/null"))
    assert read_tokens(tmp_path / "none") == ()


def test_too_many_tokens_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    write_tokens(path, [token(f"t{n}", "viewer", f"egw_{n}") for n in range(tokens.MAX_TOKENS + 1)])
    with pytest.raises(GatewayError, match=f"more than {tokens.MAX_TOKENS} tokens"):
        read_tokens(path)


def test_a_token_ends_with_its_day(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    write_tokens(path, [token("a", "viewer", VIEWER, date(2026, 11, 26))])
    day = [date(2026, 11, 26)]
    file = TokenFile(path, today=lambda: day[0])
    known = file.find(VIEWER)
    assert known is not None
    assert file.still(known) == known
    day[0] = date(2026, 11, 27)
    assert file.find(VIEWER) is None
    assert file.still(known) is None
    assert file.find(VIEWER + "x") is None


def test_a_file_that_was_made_readable_and_mended_counts_again(tmp_path: Path) -> None:
    path, clock = tokens_file(tmp_path), [0.0]
    file = TokenFile(path, clock=lambda: clock[0])
    path.chmod(0o644)
    assert file.find(VIEWER) is not None, "it is looked at once a second"
    clock[0] += 2
    assert file.find(VIEWER) is None
    assert "others may read" in file.error
    path.chmod(0o600)
    clock[0] += 2
    assert file.find(VIEWER) is not None
    assert file.error == ""
    path.unlink()
    clock[0] += 2
    assert file.find(VIEWER) is None


def test_two_commands_do_not_change_the_file_at_once(tmp_path: Path) -> None:
    import fcntl

    with changing(tmp_path / "tokens"):
        other = os.open(tmp_path, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(other)
    with pytest.raises(GatewayError, match="expected a folder"), changing(tmp_path / "no" / "t"):
        pass


def test_the_digest_of_any_text_can_be_had() -> None:
    assert digest_of("\udcff") != digest_of("")


# -- how often somebody may try ---------------------------------------------------------------


def test_tries_are_counted_for_each_and_come_back_with_time() -> None:
    now = [0.0]
    limit = RateLimit(6, clock=lambda: now[0])
    assert [limit.take("a") for _ in range(7)] == [0] * 6 + [10]
    assert limit.take("b") == 0
    now[0] += 9.9
    assert limit.wait_s("a") == 1
    now[0] += 0.2
    assert limit.wait_s("a") == 0
    assert limit.take("a") == 0
    assert limit.take("a") == 10
    now[0] += 3600
    assert [limit.take("a") for _ in range(7)] == [0] * 6 + [10]


def test_who_tried_longest_ago_is_forgotten_first() -> None:
    limit = RateLimit(1, max_keys=3, clock=lambda: 0.0)
    for key in ("a", "b", "c", "d"):
        limit.take(key)
    assert len(limit) == 3
    assert limit.wait_s("d") == 60
    assert limit.wait_s("a") == 0


@pytest.mark.parametrize(
    ("peer", "key"),
    [
        ("10.0.0.9", "10.0.0.9"),
        ("::ffff:10.0.0.9", "10.0.0.9"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_network_counts_as_one(peer: str, key: str) -> None:
    assert key_of(peer) == key
