"""What a notification says and when it is tried again; the queue before one receiver."""

from __future__ import annotations

import email
import email.policy
import struct
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from gateway.alarms.model import Severity, State, Transition
from gateway.alarms.notify.channel import MAX_RETRY_AFTER_S, Retry
from gateway.alarms.notify.credentials import read_secret
from gateway.alarms.notify.journald import entry_of
from gateway.alarms.notify.mail import message_of, subject_of
from gateway.alarms.notify.marks import Mark
from gateway.alarms.notify.notice import MAX_BODY_BYTES, Notice, Undelivered, trial_notice
from gateway.alarms.notify.recall import Sent, recall
from gateway.alarms.notify.template import COMMAND_FIELDS, check_template, fill
from gateway.alarms.notify.waiting import Waiting
from gateway.alarms.notify.webhook import retry_after_s, signature
from gateway.api.alarms import as_document
from gateway.logs import without_secrets
from tests.unit.notifykit import config, notice, transition

WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("webhook", {"url": "ftp://x"}, "is no address; expected e.g. https"),
    ("webhook", {"url": "http://u@x/"}, "holds a user"),
    ("webhook", {"url": "http://x:0x1/"}, "is no address"),
    ("mqtt", {"host": "b", "topic": "a/#"}, "without \\+ and #"),
    ("mqtt", {"host": "b", "topic": "a/{devise}"}, "did you mean '{device}'"),
    ("mqtt", {"host": "b", "ca_file": "x"}, "only with `tls: true`"),
    ("mqtt", {"host": "b", "password_file": "x"}, "expected `user` too"),
    ("mqtt", {"host": "b", "tls": True, "cert_file": "x"}, "belong together"),
    ("email", {"host": "m", "from": "a", "to": ["b@c"]}, "is no mail address"),
    ("email", {"host": "m", "from": "a@b", "to": ["b@c\nBcc: d@e"]}, "is no mail address"),
    ("email", {"host": "m", "from": "a@b", "to": ["b@c"], "user": "u"}, "belong together"),
    ("email", {"host": "m", "from": "a@b", "to": ["b@c"], "states": []}, "at least one"),
    ("command", {"command": ["ls"]}, "no absolute path; expected e.g. /usr/bin/ls"),
    ("command", {"command": ["/bin/{device}"]}, "no template"),
    ("command", {"command": ["/bin/ls", "{mesage}"]}, "did you mean '{message}'"),
    ("command", {"command": ["/bin/ls", "{message"]}, "a brace without its other one"),
    ("journald", {"severity": "worst"}, "severity"),
]


@pytest.mark.parametrize(("kind", "keys", "words"), WRONG)
def test_a_wrong_setting_is_told_in_words(kind: str, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        config(kind, **keys)


def test_a_password_never_goes_over_an_open_line() -> None:
    keys = {"host": "m", "from": "a@b", "to": ["b@c"], "user": "u", "password_file": "p"}
    with pytest.raises(ValidationError, match="over an open line"):
        config("email", security="none", **keys)


def test_the_document_has_what_the_history_has() -> None:
    told = transition(7, who="anna", why="seen")
    document = notice(7).document() | Notice(told, "hall-3").document()
    stored = as_document(told)
    assert {key: document[key] for key in stored if key != "notify"} == {
        key: value for key, value in stored.items() if key != "notify"
    }
    assert document["key"] == f"hall-3-7-{told.time_ns}"
    assert document["time"].endswith("Z")


def test_the_same_transition_has_the_same_key_in_every_try() -> None:
    told = transition(7)
    keys = {Notice(told, "halle 3/ü", is_late=late).key for late in (False, True)}
    assert keys == {f"halle_3__-7-{told.time_ns}"}


def test_a_text_without_end_makes_no_message_without_end() -> None:
    told = transition(device="ü" * 9000, message="\U0001f525" * 90_000, why="x" * 90_000)
    body = Notice(told, "hall-3").body()
    assert len(body) <= MAX_BODY_BYTES
    assert orjson.loads(body)["number"] == 1


def test_what_a_machine_sends_stays_on_its_line() -> None:
    told = transition(message="a\r\nBcc: all@plant.example\x1b[2J", device="p\n1")
    document = Notice(told, "hall-3").document()
    assert "\n" not in document["message"]
    assert "\x1b" not in document["message"]
    mail = message_of([Notice(told, "hall\r\n3")], "a@b.c", ["d@e.f"])
    parsed = email.message_from_bytes(mail.as_bytes(), policy=email.policy.default)
    assert parsed["Bcc"] is None
    assert parsed["To"] == "d@e.f"


def test_a_template_is_filled_once() -> None:
    fields = notice(message="{unit}").fields()
    assert fill("{id}: {message}", fields) == "press_1/force.high: {unit}"
    assert fields.keys() == COMMAND_FIELDS
    check_template(" ".join(f"{{{name}}}" for name in COMMAND_FIELDS), COMMAND_FIELDS)


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # the example of the specification's libraries
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    said = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert said == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_that_is_no_base64_is_told() -> None:
    with pytest.raises(Undelivered, match="no base64"):
        signature("whsec_%%%", "a", "1", b"")


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("17", 17, 17),
        ("", 0, 0),
        (None, 0, 0),
        ("soon", 0, 0),
        ("-5", 0, 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0, 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 1e9, 1e12),
        ("9" * 400, 1e8, 1e9),
    ],
)
def test_retry_after_in_either_form(text: str | None, least: float, most: float) -> None:
    assert least <= retry_after_s(text) <= most


def test_pauses_double_and_end_at_a_minute() -> None:
    retry = Retry()
    for failures, base_s in ((1, 1.0), (2, 2.0), (4, 8.0), (7, 60.0), (10_000, 60.0)):
        pause_s = retry.pause_s(failures, Undelivered("no"))
        assert 0.75 * base_s <= pause_s <= 1.25 * base_s
    asked_for = retry.pause_s(1, Undelivered("later", retry_after_s=1e9))
    assert asked_for == MAX_RETRY_AFTER_S
    assert retry.pause_s(1, Undelivered("no", operator=True)) >= 0.75 * retry.operator_s


def test_the_oldest_is_dropped_and_counted_when_the_queue_is_full() -> None:
    waiting = Waiting(3, 100)
    for number in range(1, 6):
        waiting.put(transition(number))
    assert [entry.transition.number for entry in waiting.take(9)] == [3, 4, 5]
    assert waiting.dropped == {"overflow": 2}
    waiting.told(waiting.untold())
    assert waiting.untold() == {}
    assert waiting.dropped == {"overflow": 2}


def test_what_is_too_old_is_dropped_and_counted() -> None:
    waiting = Waiting(10, 0.0)
    waiting.put(transition(1))
    assert waiting.take(9) == []
    assert waiting.dropped == {"too_old": 1}


def test_what_was_recalled_is_not_told_twice() -> None:
    waiting = Waiting(10, 100)
    waiting.put(transition(3))
    assert waiting.recall([transition(3), transition(2), transition(1)]) == 2
    waiting.put(transition(2))  # the engine tells of it only now
    waiting.put(transition(4))
    assert [entry.transition.number for entry in waiting.take(9)] == [1, 2, 3, 4]


class Stored:
    """A history of so many transitions, all at the same time."""

    def __init__(self, *numbers: int) -> None:
        at = time.time_ns()
        self.all = [transition(number, time_ns=at) for number in numbers]

    def sent(self, number: int) -> Sent:
        return next(Sent(t.number, t.time_ns) for t in self.all if t.number == number)

    def __call__(self, from_ns: int, to_ns: int, most: int) -> list[dict[str, Any]]:
        newest = [t for t in reversed(self.all) if from_ns <= t.time_ns < to_ns]
        return [as_document(t) for t in newest[:most]]


def everything(_: Transition) -> bool:
    return True


def test_recall_finds_what_came_after_the_mark() -> None:
    stored = Stored(1, 2, 3, 4, 5)
    found = recall(stored.sent(3), stored, everything, 3600, 10)
    assert [t.number for t in found.newest_first] == [5, 4]
    assert found.sent == stored.sent(3)


def test_recall_keeps_the_newest_and_counts_the_rest() -> None:
    found = recall(Sent(0, 0), Stored(*range(1, 901)), everything, 3600, 10)
    assert [t.number for t in found.newest_first] == list(range(900, 890, -1))
    assert found.more == 890


def test_a_new_receiver_is_not_told_of_the_past() -> None:
    stored = Stored(1, 2, 3)
    assert recall(None, stored, everything, 3600, 10) == (stored.sent(3), [], 0)


def test_a_new_database_begins_anew() -> None:
    before = Sent(4000, time.time_ns())
    found = recall(before, Stored(1, 2), everything, 3600, 10)
    assert [t.number for t in found.newest_first] == [2, 1]


def test_an_end_that_a_crash_cost_does_not_bring_the_whole_past_back() -> None:
    stored = Stored(1, 2, 3)
    sent = Sent(4, time.time_ns())  # told at once, but never on disk
    assert recall(sent, stored, everything, 3600, 10) == (sent, [], 0)


def test_a_transition_comes_back_as_it_was() -> None:
    stored = Stored(1)
    (again,) = recall(Sent(0, 0), stored, everything, 3600, 10).newest_first
    assert again == stored.all[0]


def test_a_mark_outlives_the_process(tmp_path: Path) -> None:
    mark = Mark(tmp_path / "notify" / "one.json")
    mark.load()
    assert mark.sent is None
    mark.move(Sent(7, 70))
    again = Mark(tmp_path / "notify" / "one.json")
    again.load()
    assert again.sent == Sent(7, 70)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"number": "x"}', b"\xff", b"[1]"])
def test_a_damaged_mark_is_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "one.json").write_bytes(content)
    mark = Mark(tmp_path / "one.json")
    mark.load()
    assert mark.sent is None


def test_a_secret_is_read_from_its_file_and_never_logged(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cr3t-of-the-plant\n")
    assert read_secret("it", file, None) == "s3cr3t-of-the-plant"
    assert "s3cr3t" not in without_secrets("sent s3cr3t-of-the-plant to nobody")


@pytest.mark.parametrize(("content", "words"), [("", "holds none"), ("a\nb", "one line")])
def test_a_file_that_is_no_secret_is_told(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "secret"
    file.write_text(content)
    with pytest.raises(Undelivered, match=words):
        read_secret("the secret", file, None)
    with pytest.raises(Undelivered, match="No such file"):
        read_secret("the secret", tmp_path / "absent", None)


def test_the_subject_says_how_bad_it_is() -> None:
    assert subject_of([notice()]) == "[hall-3] HIGH press_1/force.high unacknowledged"
    many = [notice(1), notice(2, severity=Severity.CRITICAL, alarm="stop"), notice(3)]
    assert subject_of(many) == (
        "[hall-3] 3 messages, the worst CRITICAL press_1/stop unacknowledged"
    )
    assert subject_of([trial_notice("shift", "hall-3", "anna")]) == "[hall-3] Test: no alarm"


def test_a_mail_tells_all_and_what_was_dropped() -> None:
    first = Notice(transition(1), "hall-3", dropped={"overflow": 3})
    late = Notice(transition(2, message="Öl läuft aus"), "hall-3", is_late=True)
    mail = message_of([first, late], "gw@plant.example", ["a@b.c", "d@e.f"])
    text = mail.get_content()
    assert "3 overflow" in text
    assert "Öl läuft aus" in text
    assert "value 12.5 kN, limit 10 kN" in text
    assert "late: it came before" in text
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"] == message_of([first, late], "x@y.z", ["a@b.c"])["Message-ID"]


def fields_in(entry: bytes) -> dict[str, str]:
    """An entry of journald's native protocol, read back."""
    found = {}
    while entry:
        name, _, rest = entry.partition(b"\n")
        (length,) = struct.unpack("<Q", rest[:8])
        found[name.decode()] = rest[8 : 8 + length].decode()
        entry = rest[9 + length :]
    return found


@pytest.mark.parametrize(
    ("severity", "state", "priority"),
    [
        (Severity.CRITICAL, State.UNACKNOWLEDGED, "2"),
        (Severity.LOW, State.UNACKNOWLEDGED, "5"),
        (Severity.CRITICAL, State.ACKNOWLEDGED, "6"),
        (Severity.CRITICAL, State.NORMAL, "6"),
    ],
)
def test_an_entry_of_the_journal_has_a_priority(
    severity: Severity, state: State, priority: str
) -> None:
    entry = fields_in(entry_of(notice(3, severity=severity, state=state)))
    assert entry["PRIORITY"] == priority
    assert entry["GATEWAY_ID"] == "press_1/force.high"
    assert entry["GATEWAY_SEVERITY"] == severity
    assert entry["GATEWAY_NUMBER"] == "3"


def test_an_entry_of_the_journal_cannot_be_given_fields() -> None:
    entry = fields_in(entry_of(notice(message="a\nPRIORITY=0\nUNIT=x")))
    assert entry["PRIORITY"] == "3"
    assert "UNIT" not in entry
