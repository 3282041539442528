"""What each kind of rule is made into: its conditions, with the words for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.alarms.baseline import Deviation
from gateway.alarms.conditions import (
    MOST_OF_ZONE,
    OF_ZONE,
    Bad,
    BearingLine,
    Condition,
    Expressed,
    Limit,
    Rate,
    Stale,
)
from gateway.alarms.settings import (
    BadRule,
    BearingRule,
    DeviationRule,
    ExpressionRule,
    LimitsRule,
    RateRule,
    RuleConfig,
    StaleRule,
    ZoneRule,
)
from gateway.analysis.livetags import LiveTag
from gateway.analysis.settings import ZonesConfig
from gateway.errors import GatewayError
from gateway.features.zones import boundaries, find_zones

if TYPE_CHECKING:
    from gateway.alarms.making import RuleMaker

_VELOCITY = "mm/s"
_PER_S = {"s": 1.0, "min": 60.0, "h": 3600.0}
_LIMITS = ("low_low", "low", "high", "high_high")


@dataclass(slots=True)
class Made:
    """One condition of a rule."""

    condition: Condition
    text: str
    message: str
    unit: str = ""
    suffix: str = ""
    """Of the alarm's name, where the rule makes several."""
    extreme: bool = False
    others: tuple[str, ...] = ()
    """Keys of the rule that are the other conditions' alone."""


def make(config: RuleConfig, maker: RuleMaker) -> list[Made]:
    """The conditions of a rule; the faults are the maker's to tell."""
    return _MAKERS[type(config)](config, maker)


def _unit(tag: LiveTag) -> str:
    return tag.table.units[tag.column] or ""


def _with(number: float, unit: str) -> str:
    return f"{number:g} {unit}".strip()


def _limits(config: LimitsRule, maker: RuleMaker) -> list[Made]:
    tag = maker.number_tag(config.tag, config.unit)
    unit = _unit(tag)
    made = []
    for key in _LIMITS:
        limit = getattr(config, key)
        if limit is None:
            continue
        upper = key.startswith("high")
        sign, word = (">", "above") if upper else ("<", "below")
        made.append(
            Made(
                Limit(tag, key, limit, upper, config.hysteresis),
                _returning(f"{tag.text} {sign} {_with(limit, unit)}", config.hysteresis, unit),
                f"{{tag}} is {{value}} {{unit}}, {word} {{limit}} {{unit}}",
                unit,
                key,
                key in ("low_low", "high_high"),
                tuple(other for other in _LIMITS if other != key),
            )
        )
    return made


def _returning(text: str, hysteresis: float, unit: str) -> str:
    return f"{text}, hysteresis {_with(hysteresis, unit)}" if hysteresis else text


def _rate(config: RateRule, maker: RuleMaker) -> list[Made]:
    tag = maker.number_tag(config.tag)
    per_s = _PER_S[config.per]
    unit = f"{_unit(tag)}/{config.per}"
    sides = []
    if config.rising is not None:
        sides.append(f"rises by more than {config.rising:g} {unit}")
    if config.falling is not None:
        sides.append(f"falls by more than {config.falling:g} {unit}")
    condition = Rate(tag, config.rising, config.falling, per_s, config.window_s, config.hysteresis)
    text = f"{tag.text} {' or '.join(sides)} over {config.window_s:g} s"
    message = "{tag} changes by {value} {unit}, limit {limit} {unit}"
    return [Made(condition, _returning(text, config.hysteresis, unit), message, unit)]


def _zones_of(given: str | ZonesConfig, maker: RuleMaker) -> tuple[float, float, float]:
    if isinstance(given, str):
        return maker.attempt(("zones",), lambda: find_zones(given)).boundaries
    return boundaries(given.boundaries_mm_s)


def _velocity_tag(config: Any, maker: RuleMaker) -> LiveTag:
    tag = maker.number_tag(config.tag, config.unit)
    if _unit(tag) != _VELOCITY:
        maker.attempt(("tag",), lambda: _refuse(tag))
    return tag


def _refuse(tag: LiveTag) -> None:
    near = [c for c in tag.table.columns if c.startswith("velocity_rms")]
    hint = f"; did you mean '{near[-1]}'?" if near else ""
    raise GatewayError(
        f"'{tag.text}' is in {_unit(tag) or 'no unit'}; zones are of velocities in mm/s{hint}"
    )


def _deviation(config: DeviationRule, maker: RuleMaker) -> list[Made]:
    from gateway.alarms.making import digest

    boundary = None
    if config.zones is not None:
        tag = _velocity_tag(config, maker)
        boundary = _zones_of(config.zones, maker)[1]
    else:
        tag = maker.number_tag(config.tag, config.unit)
    unit = _unit(tag)
    learn = config.learn
    learned_of = digest(
        (tag.table.device, tag.text, unit, config.states, config.while_),
        learn.model_dump() if learn else None,
    )
    condition = Deviation(
        tag,
        config.baseline,
        learn.rows if learn else 0,
        learn.least_s if learn else 0.0,
        learned_of,
        config.above,
        config.above_percent,
        config.below,
        config.below_percent,
        boundary,
        config.hysteresis,
    )
    base = "its learned baseline" if config.baseline is None else _with(config.baseline, unit)
    sides = []
    if boundary is not None:
        most = _with(MOST_OF_ZONE * boundary, unit)
        sides.append(f"+ {_with(OF_ZONE * boundary, unit)}, at most {most}")
    if config.above is not None:
        sides.append(f"+ {_with(config.above, unit)}")
    if config.above_percent is not None:
        sides.append(f"+ {config.above_percent:g} %")
    if config.below is not None:
        sides.append(f"- {_with(config.below, unit)}")
    if config.below_percent is not None:
        sides.append(f"- {config.below_percent:g} %")
    text = f"{tag.text} beyond {base} {' or '.join(sides)}"
    message = "{tag} is {value} {unit}, too far from its baseline: limit {limit} {unit}"
    return [Made(condition, _returning(text, config.hysteresis, unit), message, unit)]


def _zone(config: ZoneRule, maker: RuleMaker) -> list[Made]:
    tag = _velocity_tag(config, maker)
    _, bc, cd = _zones_of(config.zones, maker)
    made = []
    for zone, limit in (("C", bc), ("D", cd)):
        if zone in config.at:
            text = f"{tag.text} in zone {zone}: > {_with(limit, _VELOCITY)}"
            made.append(
                Made(
                    Limit(tag, f"zone {zone}", limit, True, config.hysteresis),
                    _returning(text, config.hysteresis, _VELOCITY),
                    f"{{tag}} is {{value}} {{unit}}: zone {zone}, above {{limit}} {{unit}}",
                    _VELOCITY,
                    zone,
                    zone == "D",
                    ("at",),
                )
            )
    return made


def _stale(config: StaleRule, maker: RuleMaker) -> list[Made]:
    tag = maker.tag(config.tag, "tag")
    text = f"{tag.text} has no value for {config.after_s:g} s"
    message = "{tag} has had no value for {value} s"
    return [Made(Stale(tag, config.after_s), text, message, "s")]


def _bad(config: BadRule, maker: RuleMaker) -> list[Made]:
    tag = maker.tag(config.tag, "tag")
    what = "BAD or UNCERTAIN" if config.uncertain else "BAD"
    return [Made(Bad(tag, config.uncertain), f"{tag.text} is {what}", f"{{tag}} is {what}")]


def _expression(config: ExpressionRule, maker: RuleMaker) -> list[Made]:
    expression, named = maker.expression(config.when, ("when",), maker.inputs(config))
    if not named:
        maker.attempt(("when",), _no_tag)
    if config.device is not None:
        devices = sorted({table.device for table in maker.tables})
        if config.device not in devices and not maker.broken(config.device):
            known = ", ".join(devices[:20])
            maker.fault(("device",), f"unknown device '{config.device}'; devices: {known}")
    return [Made(Expressed(expression, named), config.when, config.when.replace("{", "")
                 .replace("}", ""))]  # fmt: skip


def _no_tag() -> None:
    raise GatewayError("it names no tag; expected a condition such as press_1.process.speed > 5")


def _bearing(config: BearingRule, maker: RuleMaker) -> list[Made]:
    what = "ratio" if config.ratio is not None else "amplitude"
    limit = config.ratio if config.ratio is not None else config.amplitude
    prefix = f"{config.channel}.{config.line}"

    def averaged(name: str) -> LiveTag:
        try:
            return maker.find(f"{name}_avg")  # steadier than the newest window
        except GatewayError:
            return maker.find(name)

    level = maker.attempt(("channel",), lambda: averaged(f"{prefix}_{what}"))
    count = maker.attempt(("channel",), lambda: maker.find(f"{prefix}_harmonics"))
    unit = _unit(level)
    condition = BearingLine(
        level, count, limit or 0.0, config.harmonics, config.line, config.hysteresis
    )
    text = f"{level.text} > {_with(limit or 0.0, unit)} with at least {config.harmonics} harmonics"
    message = f"{{tag}} is {{value}} {{unit}}, above {{limit}} {{unit}}: {config.line} stands out"
    return [Made(condition, _returning(text, config.hysteresis, unit), message, unit)]


_MAKERS: dict[type[RuleConfig], Callable[[Any, Any], list[Made]]] = {
    LimitsRule: _limits,
    RateRule: _rate,
    DeviationRule: _deviation,
    ZoneRule: _zone,
    StaleRule: _stale,
    BadRule: _bad,
    ExpressionRule: _expression,
    BearingRule: _bearing,
}
