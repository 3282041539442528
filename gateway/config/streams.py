"""From the settings of streams and aggregates to their plans, when all devices are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from gateway.analysis.aggregates import AggregatePlan, plan_aggregate
from gateway.analysis.plan import (
    MAX_MEMORY_BYTES,
    Recipe,
    StreamPlan,
    feature_plan,
    sample_plan,
)
from gateway.analysis.states import StateRules
from gateway.config.maps import Labels, SourceMap
from gateway.config.recipes import RecipeMaker
from gateway.config.streamreader import Streamed
from gateway.driver import Driver, StreamDriver
from gateway.errors import Fault, GatewayError
from gateway.features.spec import fast_length
from gateway.model import Group, Table


@dataclass(slots=True)
class StreamRequest:
    """A device that streams, whose plan waits until every device is known."""

    driver: StreamDriver | None
    """None where it could not be made: then only further faults are sought."""
    source: SourceMap
    stream: Streamed
    values: Mapping[str, object]
    labels: Labels


@dataclass(slots=True)
class Planner:
    """Makes the plans; the faults are placed in the maps."""

    faults: list[Fault]
    streams: dict[str, StreamPlan] = field(default_factory=dict)
    aggregates: list[AggregatePlan] = field(default_factory=list)
    broken: Set[str] = frozenset()
    """Devices that could not be made: that their tags are not there is no further fault."""
    streaming: Set[str] = frozenset()
    """Devices that stream: their values are no inputs of another stream."""

    def plan_aggregates(self, driver: Driver, source: SourceMap, labels: Labels) -> None:
        """The aggregates of one device's groups; their tables join the group's."""
        configs = {g.name: g for g in source.groups if g.aggregates}
        known = {t.key for g in driver.groups for t in g.tables}
        for group in driver.groups:
            for name, config in configs[group.name].aggregates if group.name in configs else ():
                path = ("groups", group.name, "aggregates", name)
                place = source.document.place(path, key=True)
                try:
                    plan = plan_aggregate(
                        group.tables,
                        config.tags,
                        name,
                        config.functions,
                        config.window_s,
                        config.every_s,
                    )
                except (GatewayError, ValueError) as error:
                    self.faults += [place.fault(line) for line in str(error).split("\n")]
                    continue
                for each in plan:
                    if each.target.key in known:
                        message = f"there is a table '{each.target.key}' already; rename it"
                        self.faults.append(place.fault(message))
                    known.add(each.target.key)
                self.aggregates += plan

    def plan_stream(self, request: StreamRequest, tables: Sequence[Table]) -> None:
        """The plan of one device that streams; ``tables`` are those of all polled devices."""
        driver, stream = request.driver, request.stream
        config = stream.config
        if driver is None:
            if not stream.samples:
                maker = RecipeMaker(request, tables, self.faults, self.broken, self.streaming)
                self._recipes(maker, stream, request.values, stream.units())
            return
        if stream.samples:
            plan = sample_plan(
                driver.name, driver.channels, config.rate_hz, config.measurement, request.labels
            )
        else:
            maker = RecipeMaker(request, tables, self.faults, self.broken, self.streaming)
            units = {c.name: c.unit for c in driver.channels}
            states, made = self._recipes(maker, stream, request.values, units)
            shared = stream.analysis_of(None, request.values)
            samples, hop = fast_length(stream.rate_hz, shared.window_s, shared.hop_s)
            plan = StreamPlan(
                driver.name,
                driver.channels,
                stream.rate_hz,
                hop / stream.rate_hz,
                samples / stream.rate_hz,
                shared.publish_every_s,
                shared.history_s,
                states=states,
            )
            recipes = [recipe for recipe in made if recipe is not None]
            if not recipes or len(recipes) < len(made):
                return
            feature_plan(plan, recipes, config.measurement, request.labels)
            _check_memory(maker, plan)
        every_s = plan.tables[0].interval_s
        driver.groups = (Group(config.measurement, every_s, plan.tables),)
        self.streams[driver.name] = plan

    @staticmethod
    def _recipes(
        maker: RecipeMaker,
        stream: Streamed,
        values: Mapping[str, object],
        units: Mapping[str, str],
    ) -> tuple[StateRules | None, list[Recipe | None]]:
        """What is computed of each channel; ``units``: channel -> unit."""
        shared = stream.analysis_of(None, values)
        if shared.hop_s > shared.window_s:
            message = f"{shared.hop_s:g} s is more than window_s, {shared.window_s:g} s"
            maker.fault(None, "hop_s", f"{message}: samples would be left out")
        elif shared.publish_every_s < shared.hop_s:
            message = f"{shared.publish_every_s:g} s is less than hop_s, {shared.hop_s:g} s"
            maker.fault(None, "publish_every_s", message)
        samples, hop = fast_length(stream.rate_hz, shared.window_s, shared.hop_s)
        states = maker.states(shared)
        return states, [maker.recipe(name, unit, samples, hop) for name, unit in units.items()]


def _check_memory(maker: RecipeMaker, plan: StreamPlan) -> None:
    """Refuse what would end in a lack of memory while the machine runs."""
    most = f"expected at most {MAX_MEMORY_BYTES / 1e9:.1f} GB a device"
    if (size := plan.sample_bytes) > MAX_MEMORY_BYTES:
        key = "history_s" if plan.history_s > 6 * plan.window_s else "window_s"
        what = f"samples of {len(plan.channels)} channels at {plan.rate_hz:g} Hz"
        maker.fault(None, key, f"the {what} would take {size / 1e9:.1f} GB; {most}")
    if (size := plan.average_bytes) > MAX_MEMORY_BYTES:
        what = f"averages of {len(plan.channels)} channels, every {plan.hop_s:.2g} s,"
        maker.fault(None, "averages", f"the {what} would take {size / 1e9:.1f} GB; {most}")
