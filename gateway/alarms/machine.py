"""The states of one alarm, after ANSI/ISA-18.2-2016: pure, without time or I/O.

Underneath lies what the condition and the acknowledgements made of it; on top of that a person may
have shelved it, and the design may suppress it. Choices where the standard leaves them:

- Shelving covers every state, and the condition is followed beneath. What comes back is
  UNACKNOWLEDGED where the condition holds, LATCHED where it was latched, else NORMAL: whoever
  shelved it has seen it.
- A shelved alarm cannot be acknowledged, it must be unshelved first.
- Suppression by design ends the condition, but hides nothing that nobody has acknowledged: a
  machine that trips changes its operating state, and the alarm that says why stays in sight.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.alarms.model import NotAllowed, State


@dataclass(slots=True)
class Machine:
    """One alarm. Each event changes it in place; what changed is seen in `state`."""

    latch: bool = False
    inner: State = State.NORMAL
    """NORMAL, UNACKNOWLEDGED, ACKNOWLEDGED, RETURNED or LATCHED."""
    shelved: bool = False
    suppressed: bool = False

    @property
    def state(self) -> State:
        """As people see it."""
        if self.shelved:
            return State.SHELVED
        if self.suppressed and self.inner is State.NORMAL:
            return State.SUPPRESSED
        return self.inner

    @property
    def active(self) -> bool:
        """Whether the condition holds."""
        return self.inner in (State.UNACKNOWLEDGED, State.ACKNOWLEDGED)

    def raised(self) -> None:
        """The condition holds, its delay is over."""
        if not self.active and not self.suppressed:
            self.inner = State.UNACKNOWLEDGED

    def cleared(self) -> None:
        """The condition is gone, its delay is over."""
        if not self.active:
            return
        if self.latch:
            self.inner = State.LATCHED
        elif self.inner is State.ACKNOWLEDGED:
            self.inner = State.NORMAL
        else:
            self.inner = State.RETURNED

    def acknowledge(self) -> None:
        """A person has seen it. NotAllowed says why not."""
        if self.shelved:
            raise NotAllowed("it is shelved; unshelve it first")
        if self.inner is State.UNACKNOWLEDGED:
            self.inner = State.ACKNOWLEDGED
        elif self.inner in (State.RETURNED, State.LATCHED):
            self.inner = State.NORMAL
        elif self.inner is State.ACKNOWLEDGED:
            raise NotAllowed("it is acknowledged already")
        else:
            raise NotAllowed(f"it is {self.state.value}: there is nothing to acknowledge")

    def shelve(self) -> None:
        """A person puts it aside, or extends that."""
        self.shelved = True

    def unshelve(self) -> None:
        """It comes back, by a person or at its end. NotAllowed where it is not shelved."""
        if not self.shelved:
            raise NotAllowed("it is not shelved")
        self.shelved = False
        if self.active:
            self.inner = State.UNACKNOWLEDGED
        elif self.inner is State.RETURNED:
            self.inner = State.NORMAL

    def suppress(self, on: bool) -> None:
        """By design it is not judged now, or is judged again."""
        if on:
            self.cleared()
        self.suppressed = on

    def restart(self) -> None:
        """Its rule is another one: begin at NORMAL. What a person shelved stays shelved."""
        self.inner = State.NORMAL
        self.suppressed = False
