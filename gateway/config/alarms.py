"""Reads ``alarms:`` of the gateway's file and of device maps; makes the rules of all devices."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gateway.alarms.making import RuleMaker
from gateway.alarms.rules import AlarmPlan, Rule
from gateway.alarms.settings import RULES, AlarmsConfig, RuleConfig
from gateway.analysis.plan import MAX_MEMORY_BYTES, StreamPlan
from gateway.config.collect import Collector
from gateway.config.fingerprints import fingerprint
from gateway.config.placeholders import fill
from gateway.config.validation import name_fault, nearest, outline, without
from gateway.errors import Fault
from gateway.model import Table
from gateway.yamlfile.document import Document, Path_, Section

KEPT_LONGER_S = 10.0
"""Samples are kept so much longer than a window: it is copied when its last one is there."""

_NAME = re.compile(r"[^/.\s]{1,60}")


@dataclass(slots=True)
class ReadRule:
    """One entry of a ``rules:``, as it was read."""

    name: str
    config: RuleConfig
    document: Document
    path: Path_

    def fault(self, keys: tuple[str, ...], message: str) -> Fault:
        """A fault at a key of the entry; a number is a place in a list."""
        at = self.document.value(self.path)
        path: Path_ = self.path
        if keys and isinstance(at, dict) and keys[0] in at:
            path = (*path, *(int(key) if key.isdigit() else key for key in keys))
        return self.document.place(path).fault(message)

    def filled(self, values: Mapping[str, object]) -> RuleConfig:
        """Its settings, the placeholders of names and expressions filled."""

        def text(given: str) -> str:
            return fill(given, values) or given

        changes: dict[str, object] = {}
        for key in (*self.config.keys_of_names, "when", "while_"):
            given = getattr(self.config, key, None)
            if isinstance(given, str):
                changes[key] = text(given)
        inputs = getattr(self.config, "inputs", None)
        if inputs:
            changes["inputs"] = {name: text(tag) for name, tag in inputs.items()}
        return self.config.model_copy(update=changes)


def read_alarms(file: Collector) -> tuple[AlarmsConfig, list[ReadRule]]:
    """``alarms:`` of the gateway's file; its faults go to the collector."""
    section = file.section(("alarms",))
    default = AlarmsConfig.model_validate({})
    if section is None:
        return default, []
    _, usable = file.validate(AlarmsConfig, outline(section, "rules"), ("alarms",))
    return usable or default, list(read_rules(file, ("alarms", "rules")))


def read_rules(
    file: Collector, path: Path_, note: Callable[[str, Path_], bool] = lambda text, path: True
) -> Iterator[ReadRule]:
    """The rules at ``path``; ``note`` remembers the placeholders of a text."""
    for name, section in file.entries(path):
        its = (*path, name)
        if not _NAME.fullmatch(name) and not name_fault(name):
            message = f"'{name}' is no name of a rule; expected no '/', '.' or blank, at most 60"
            file.fault(its, f"{message} characters", key=True)
            continue
        config = _read_rule(file, section, its)
        if config is None:
            continue
        found = ReadRule(name, config, file.document, its)
        texts = [(key, getattr(config, key, None)) for key in (*config.keys_of_names, "when")]
        texts.append(("while", config.while_))
        fine = [note(text, (*its, key)) for key, text in texts if isinstance(text, str)]
        for key, text in getattr(config, "inputs", {}).items():
            fine.append(note(text, (*its, "inputs", key)))
        if all(fine):
            yield found


def _read_rule(file: Collector, section: Section, path: Path_) -> RuleConfig | None:
    if "kind" not in section and (kind := _kind_meant(section)):
        file.fault(path, f"'kind' is missing; did you mean 'kind: {kind}'?", key=True)
        return None
    kind = file.choice(section, path, "kind", lambda: RULES)
    if kind is None:
        return None
    if kind not in RULES:
        file.fault((*path, "kind"), f"unknown kind '{kind}'; {nearest(kind, RULES, 'kinds')}")
        return None
    config, _ = file.validate(RULES[kind], section, path)
    return config


def _kind_meant(section: Section) -> str | None:
    """The kind whose own keys the entry has; None where none has more than the others."""
    keys = set(section)
    shared = {f.alias or name for name, f in RuleConfig.model_fields.items()} | {"tag", "unit"}
    found = {
        kind: len(keys & (set(config.model_fields) - shared)) for kind, config in RULES.items()
    }
    best = max(found.values())
    winners = [kind for kind, hits in found.items() if hits == best]
    return winners[0] if best and len(winners) == 1 else None


@dataclass(slots=True)
class AlarmPlanner:
    """Makes the rules when all devices are known; the faults are placed in their files."""

    faults: list[Fault]
    config: AlarmsConfig
    own: list[ReadRule]
    """Rules of the gateway's file."""
    notifiers: Collection[str] = ()
    of_maps: list[tuple[str, ReadRule, Mapping[str, object]]] = field(default_factory=list)
    """Device, rule of its map, values of the placeholders."""
    prints: dict[str, str] = field(default_factory=dict)
    """Alarm id -> hash of all that its rule says."""
    longer: dict[str, float] = field(default_factory=dict)
    """Device that streams -> seconds of samples that its alarms need to be kept."""

    def add(self, device: str, rules: Iterable[ReadRule], values: Mapping[str, object]) -> None:
        """The rules of a device's map."""
        self.of_maps += [(device, rule, values) for rule in rules]

    def plan(
        self,
        tables: list[Table],
        streams: Mapping[str, StreamPlan],
        broken: Callable[[str], bool],
    ) -> AlarmPlan:
        """All rules. ``tables``: those that tags may be of."""
        states = {
            name: [*(state for state, _ in plan.states.rules), plan.states.otherwise]
            for name, plan in streams.items()
            if plan.states is not None
        }
        maker = RuleMaker(tables, states, broken)
        made: dict[str, ReadRule] = {}
        rules: list[Rule] = []
        everything = [*self.of_maps, *((None, rule, {}) for rule in self.own)]
        for device, read, values in everything:
            config = read.filled(values)
            found = maker.of(device, lambda keys, text, read=read: self._fault(read, keys, text))  # type: ignore[misc]
            for rule in found.make(read.name, config):
                if (first := made.get(rule.id)) is not None:
                    place = first.document.place(first.path, key=True)
                    where = f"{place.file}:{place.line}"
                    self._fault(read, (), f"there is an alarm '{rule.id}' already ({where})")
                    break
                made[rule.id] = read
                rules.append(rule)
                told = [rule.print, rule.message.parts, config.notify, config.capture]
                self.prints[rule.id] = fingerprint(told)
                self._keep_longer(rule, read, streams)
            self._check_notifiers(read, config)
        return AlarmPlan(rules, self.config.flood, self.config.history, self.config.captures)

    def settings_print(self, section: Section | None) -> str:
        """Of ``alarms:`` without the rules, which have prints of their own."""
        return fingerprint(without(section, "rules"))

    def _fault(self, read: ReadRule, keys: tuple[str, ...], message: str) -> None:
        self.faults.append(read.fault(keys, message))

    def _check_notifiers(self, read: ReadRule, config: RuleConfig) -> None:
        for index, name in enumerate(config.notify or ()):
            if name not in self.notifiers:
                hint = nearest(name, self.notifiers, "notifiers")
                message = f"unknown notifier '{name}'; {hint}"
                self._fault(read, ("notify", str(index)), message)

    def _keep_longer(self, rule: Rule, read: ReadRule, streams: Mapping[str, StreamPlan]) -> None:
        """See to it that the samples of a window are still there when it is stored."""
        plan = streams.get(rule.channel.table.device) if rule.channel is not None else None
        if rule.capture is None or plan is None:
            return
        wanted_s = plan.window_s + rule.capture.pre_s + rule.capture.post_s + KEPT_LONGER_S
        if wanted_s <= plan.history_s:
            return
        plan.history_s = self.longer[plan.device] = wanted_s
        if plan.sample_bytes > MAX_MEMORY_BYTES:
            size, most = plan.sample_bytes / 1e9, MAX_MEMORY_BYTES / 1e9
            message = f"the samples of '{plan.device}' would take {size:.1f} GB of memory"
            self._fault(read, ("capture",), f"{message}; expected at most {most:.1f} GB")
