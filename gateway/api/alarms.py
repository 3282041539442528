"""Alarms: those that stand, their rules, history and stored windows; acknowledge and shelve.

Whoever changes something must be an operator (`gateway.api.access`), and says why.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel
from starlette.responses import Response

from gateway.alarms.model import NotAllowed, Transition, UnknownAlarm
from gateway.api import alarmschemas
from gateway.api.access import operator
from gateway.api.answers import json_answer, list_answer, only
from gateway.api.blocking import Blocking
from gateway.api.bodies import F, action, body_of
from gateway.api.problems import Problem, unknown
from gateway.api.times import EXPECTED, parse_time
from gateway.api.view import GatewayView
from gateway.errors import GatewayError

NPZ = "application/x-npz"
MAX_LISTED = 10_000
CHANGING = "the alarms"
"""What is asked, with a limit of its own: a long list must not keep a person from acting."""

From = Annotated[str, Query(alias="from", description=f"First time: {EXPECTED}.")]
To = Annotated[str, Query(description=f"Last time: {EXPECTED}.")]
Alarm = Annotated[
    str | None, Query(description="Only of this alarm: device/alarm.", min_length=1, max_length=400)
]
Most = Annotated[
    int, Query(alias="max", ge=1, le=MAX_LISTED, description="List at most so many, the newest.")
]
Name = Annotated[
    str, Query(description="As GET /v1/alarms/captures has it.", min_length=1, max_length=400)
]
By = Annotated[str, Depends(operator)]
Acknowledge = Annotated[alarmschemas.Acknowledge, Depends(body_of(alarmschemas.Acknowledge))]
Shelve = Annotated[alarmschemas.Shelve, Depends(body_of(alarmschemas.Shelve))]
Unshelve = Annotated[alarmschemas.Unshelve, Depends(body_of(alarmschemas.Unshelve))]
TestNotifier = Annotated[alarmschemas.TestNotifier, Depends(body_of(alarmschemas.TestNotifier))]

T = TypeVar("T")

Errors = dict[int | str, dict[str, Any]]


def add_alarms(router: APIRouter, view: GatewayView, blocking: Blocking, errors: Errors) -> None:
    """Add the routes. ``errors``: descriptions of 400, 401, 403, 404 and 503."""
    _lists(router, view, blocking, errors)
    _captures(router, view, blocking, errors)
    _changes(router, view, blocking, errors)
    _notifiers(router, view, blocking, errors)


def _lists(router: APIRouter, view: GatewayView, blocking: Blocking, errors: Errors) -> None:
    quick = {status: about for status, about in errors.items() if status not in (404, 503)}

    @router.get(
        "/v1/alarms",
        dependencies=[Depends(only())],
        response_model=alarmschemas.ActiveAlarms,
        responses=quick,
    )
    async def alarms() -> Response:
        """Alarms that are not normal: the most severe first, then the oldest."""
        return await list_answer("alarms", view.alarms.active(), status=view.alarms.status())

    @router.get(
        "/v1/alarms/rules",
        dependencies=[Depends(only())],
        response_model=alarmschemas.AlarmRules,
        responses=quick,
    )
    async def rules() -> Response:
        """All alarms: the rule in words, its limits as they are now, and how it stands."""
        found = await _told(blocking.heavy("the list of rules", view.alarms.rules))
        return await list_answer("rules", found)

    @router.get(
        "/v1/alarms/history",
        dependencies=[Depends(only("from", "to", "alarm", "max"))],
        response_model=alarmschemas.AlarmHistory,
        responses=errors,
    )
    async def history(
        from_: From = "-1d", to: To = "now", alarm: Alarm = None, most: Most = 1000
    ) -> Response:
        """Transitions of alarms, the newest first, also of earlier runs."""
        now_ns = time.time_ns()
        from_ns, to_ns = _time("from", from_, now_ns), _time("to", to, now_ns)
        if from_ns >= to_ns:
            raise Problem(400, f"'from' ({from_}) is not before 'to' ({to})", "from < to")
        history = partial(view.alarms.history, from_ns, to_ns, most, alarm)
        found = await _told(blocking.heavy("the alarm history", history))
        if not found and alarm is not None:
            try:
                rules = await blocking.heavy("the list of rules", view.alarms.rules)
            except UnknownAlarm:  # a node of many gateways has none
                return await list_answer("transitions", found)
            known = [rule["id"] for rule in rules]
            if alarm not in known:  # one that was removed may still have a history
                raise unknown("alarm", alarm, known)
        return await list_answer("transitions", found)


def _captures(router: APIRouter, view: GatewayView, blocking: Blocking, errors: Errors) -> None:
    @router.get(
        "/v1/alarms/captures",
        dependencies=[Depends(only())],
        response_model=alarmschemas.AlarmCaptures,
        responses={status: about for status, about in errors.items() if status != 404},
    )
    async def captures() -> Response:
        """Raw windows that were stored around alarms, the newest first."""
        found = await _told(blocking.heavy("the alarm captures", view.alarms.captures))
        return json_answer({"captures": list(found)})

    @router.get(
        "/v1/alarms/capture.npz",
        dependencies=[Depends(only("name"))],
        response_class=Response,
        responses={
            200: {
                "description": "The samples, their spectrum and what they depend on.",
                "content": {NPZ: {"schema": {"type": "string", "format": "binary"}}},
            },
            **errors,
        },
    )
    async def capture(name: Name) -> Response:
        """One stored window as NumPy's .npz file."""
        found = await _told(blocking.heavy("the alarm captures", view.alarms.capture, name))
        return Response(found, media_type=NPZ)


def _changes(router: APIRouter, view: GatewayView, blocking: Blocking, errors: Errors) -> None:
    changing = _with_body(errors, {409: "The alarm's state does not allow it."})

    def change(what: str, body: type[BaseModel]) -> Callable[[F], F]:
        return action(router, f"/v1/alarms/{what}", body, alarmschemas.Changed, changing)

    async def changed(act: Callable[[], Transition]) -> Response:
        done = await _told(blocking.call(CHANGING, act))
        return json_answer({"transition": as_document(done)})

    @change("acknowledge", alarmschemas.Acknowledge)
    async def acknowledge(who: By, asked: Acknowledge) -> Response:
        """Acknowledge an alarm; one that is latched is reset by it."""
        return await changed(partial(view.alarms.acknowledge, asked.id, who, asked.why))

    @change("shelve", alarmschemas.Shelve)
    async def shelve(who: By, asked: Shelve) -> Response:
        """Put an alarm aside; it comes back by itself when the time is over."""
        return await changed(partial(view.alarms.shelve, asked.id, asked.for_s, who, asked.why))

    @change("unshelve", alarmschemas.Unshelve)
    async def unshelve(who: By, asked: Unshelve) -> Response:
        """Bring an alarm back that was put aside."""
        return await changed(partial(view.alarms.unshelve, asked.id, who, asked.why))


def _notifiers(router: APIRouter, view: GatewayView, blocking: Blocking, errors: Errors) -> None:
    shapes = alarmschemas.TestNotifier, alarmschemas.Sent

    @action(router, "/v1/alarms/notify-test", *shapes, _with_body(errors, {}))
    async def notify_test(who: By, asked: TestNotifier) -> Response:
        """Send a test message through a notifier; 503 with its words where that fails."""
        names = view.notifiers.names()
        if asked.notifier not in names:
            raise unknown("notifier", asked.notifier, names)
        begun = time.monotonic()
        name = asked.notifier
        # each may take minutes: together they must not take all threads
        await _told(blocking.call("the test of notifiers", view.notifiers.test, name, who))
        took_s = round(time.monotonic() - begun, 3)
        return json_answer({"notifier": name, "took_s": took_s})


def as_document(transition: Transition) -> dict[str, Any]:
    """A transition in the shape of `alarmschemas.AlarmTransition`."""
    return {
        "number": transition.number,
        "time_ns": transition.time_ns,
        "id": transition.id,
        "device": transition.device,
        "alarm": transition.alarm,
        "severity": transition.severity,
        "from_state": transition.from_state,
        "state": transition.state,
        "condition": transition.condition,
        "message": transition.message,
        "value": transition.value,
        "limit": transition.limit,
        "unit": transition.unit,
        "who": transition.who,
        "why": transition.why,
        "first_out": transition.first_out,
    }


def _with_body(errors: Errors, more: Mapping[int, str]) -> Errors:
    texts = {
        413: "The body is too large.",
        415: "The body does not say that it is JSON.",
        **more,
    }
    return {**errors, **{s: {**errors[400], "description": text} for s, text in texts.items()}}


def _time(name: str, text: str, now_ns: int) -> int:
    try:
        return parse_time(text, now_ns)
    except (ValueError, ArithmeticError) as error:
        raise Problem(400, f"'{name}' is no time: '{text}'", EXPECTED) from error


async def _told(answer: Awaitable[T]) -> T:
    """What the engine answers; what it cannot do as a Problem."""
    try:
        return await answer
    except UnknownAlarm as error:
        what, _, expected = str(error).partition("; ")
        raise Problem(404, what, expected or None) from error
    except NotAllowed as error:
        what, _, expected = str(error).partition("; ")
        raise Problem(409, what, expected or None) from error
    except GatewayError as error:
        raise Problem(503, str(error), "try again; the status says more") from error
