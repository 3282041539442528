"""The pages of `gateway top`, drawn with textual."""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.coordinate import Coordinate
from textual.screen import ModalScreen
from textual.widgets import ContentSwitcher, DataTable, Footer, Input, Static

from gateway.commands import topfeed
from gateway.commands.console import state_colour
from gateway.commands.topfeed import Cell, Frame, Line
from gateway.errors import GatewayError
from gateway.terminal import count, duration, printable

if TYPE_CHECKING:
    from gateway.api.client import Client

PAGES = ("devices", "values", "alarms", "sinks")
COLUMNS = {
    "devices": topfeed.DEVICE_COLUMNS,
    "values": topfeed.VALUE_COLUMNS,
    "alarms": topfeed.ALARM_COLUMNS,
    "sinks": topfeed.SINK_COLUMNS,
}
MOST_VALUES = 300
"""Values that are listed; a search finds the others."""


def _text(cell: Cell) -> Text:
    # a Text, because a plain string may hold what textual takes for markup
    style = state_colour(cell.state) if cell.state else ""
    return Text(cell.text, style=style, no_wrap=True)


class Grid(DataTable[Text]):
    """A table that is brought up to date cell by cell and keeps its cursor on its line."""

    def __init__(self, page: str) -> None:
        super().__init__(id=f"{page}-table", cursor_type="row", cell_padding=1)
        self._columns = COLUMNS[page]
        self._lines: list[Line] = []

    def on_mount(self) -> None:
        """Make the columns."""
        self.add_columns(*(Text(name) for name in self._columns))

    @property
    def chosen(self) -> str:
        """The key of the line under the cursor; empty where there is none."""
        at = self.cursor_row
        return self._lines[at].key if 0 <= at < len(self._lines) else ""

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines and no others."""
        if [line.key for line in lines] != [line.key for line in self._lines]:
            self._fill(lines)
            return
        for row, (old, new) in enumerate(zip(self._lines, lines, strict=True)):
            for column, (was, cell) in enumerate(zip(old.cells, new.cells, strict=True)):
                if was != cell:
                    wider = len(cell.text) > len(was.text)
                    self.update_cell_at(Coordinate(row, column), _text(cell), update_width=wider)
        self._lines = list(lines)

    def _fill(self, lines: Sequence[Line]) -> None:
        chosen = self.chosen
        self._lines = list(lines)
        self.clear()
        for line in lines:
            self.add_row(*map(_text, line.cells))
        places = [row for row, line in enumerate(lines) if line.key == chosen]
        self.move_cursor(row=places[0] if places else 0)


class Acknowledge(ModalScreen[tuple[str, str] | None]):
    """Asks who acknowledges an alarm, and why."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel")]

    def __init__(self, alarm: str) -> None:
        super().__init__()
        self._alarm = alarm

    def compose(self) -> ComposeResult:
        """The two questions."""
        with Vertical(id="ask"):
            yield Static(Text(f"Acknowledge {printable(self._alarm)}"))
            yield Input(value=_user(), placeholder="who", id="who", compact=True)
            yield Input(placeholder="why", id="why", compact=True)
            yield Static("Enter: acknowledge   Esc: cancel")

    def on_mount(self) -> None:
        """Who is known mostly."""
        who = self.query_one("#who", Input)
        (self.query_one("#why", Input) if who.value else who).focus()

    def on_input_submitted(self) -> None:
        """Acknowledge once it is known who does, and why."""
        inputs = [self.query_one(id_, Input) for id_ in ("#who", "#why")]
        who, why = (each.value.strip() for each in inputs)
        if who and why:
            self.dismiss((who, why))
        else:
            inputs[1 if who else 0].focus()

    def action_cancel(self) -> None:
        """Leave it as it is."""
        self.dismiss(None)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return ""


class Top(App[None]):
    """The live pages: devices, values, alarms, sinks."""

    ENABLE_COMMAND_PALETTE = False
    # textual declares it as of an instance
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (9, "-low"), (18, "-high")]  # noqa: RUF012
    CSS = """
    #head { height: 2; }
    #head.away { background: ansi_red; color: ansi_white; text-style: bold; }
    ContentSwitcher { height: 1fr; }
    Grid { height: 1fr; }
    .away Grid { text-style: dim; }
    .text { height: auto; max-height: 7; border-top: solid ansi_default; }
    .-low .text { max-height: 3; }
    .-tiny .text { display: none; }
    .-tiny #head { height: 1; }
    #search { display: none; }
    #search.open { display: block; }
    Acknowledge { align: center middle; }
    #ask { width: 60; height: auto; border: round ansi_default; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(n), f"page('{page}')", page.capitalize()) for n, page in enumerate(PAGES, 1)),
        Binding("slash", "search", "Search", key_display="/"),
        Binding("a", "acknowledge", "Acknowledge"),
        Binding("escape", "leave", "All", show=False),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, client: Client, where: str, interval_s: float) -> None:
        super().__init__()
        self._client = client
        self._where = where
        self._interval_s = interval_s
        self._frame: Frame | None = None
        self._heard_at = time.monotonic()
        self._failure = ""
        self._device: str | None = None
        """Of whose values the page of values is; None: of all."""
        self._found = ""
        """How many values the page of values has."""
        self._now = asyncio.Event()

    def compose(self) -> ComposeResult:
        """Head, the page, and the keys."""
        yield Static(id="head")
        with ContentSwitcher(initial="devices"):
            for page in PAGES:
                with Vertical(id=page):
                    if page == "values":
                        yield Input(placeholder="search", id="search", compact=True)
                    yield Grid(page)
                    yield Static(id=f"{page}-text", classes="text")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Begin to ask."""
        self.theme = "ansi-dark"  # the terminal's own colours, whichever they are
        self._grid("devices").focus()
        self.run_worker(self._watch())

    async def _watch(self) -> None:
        while self._is_whole():
            self._now.clear()
            try:
                frame = await asyncio.to_thread(topfeed.ask, self._client, self._wanted())
            except GatewayError as error:
                self._failure = str(error)
            else:
                self._frame, self._failure = frame, ""
                self._heard_at = time.monotonic()
            if not self._is_whole():
                return
            self._show()
            try:
                await asyncio.wait_for(self._now.wait(), self._interval_s)
            except TimeoutError:
                continue

    def _is_whole(self) -> bool:
        """Whether its parts are there: while it closes they go one by one."""
        return len(self.query(Grid)) == len(PAGES) and bool(self.query("#head"))

    def _wanted(self) -> str | None:
        """The device of whose values to ask."""
        if self.page == "values":
            return self._device
        chosen = self._grid("devices").chosen
        known = self._frame.status["devices"].get(chosen) if self._frame else None
        bad = known is not None and known["tags_bad"]
        return chosen if bad and self.page == "devices" else topfeed.NOTHING

    @property
    def page(self) -> str:
        """The page that is seen."""
        return str(self.query_one(ContentSwitcher).current)

    def _grid(self, page: str) -> Grid:
        return self.query_one(f"#{page}-table", Grid)

    # -- showing ------------------------------------------------------------------------------

    def _show(self) -> None:
        self._show_head()
        if self._frame is None:
            return
        status = self._frame.status
        page = self.page
        if page == "devices":
            self._grid(page).show(topfeed.device_lines(status))
        elif page == "alarms":
            self._grid(page).show(topfeed.alarm_lines(self._frame.alarms))
        elif page == "sinks":
            self._grid(page).show(topfeed.sink_lines(status))
        else:
            self._show_values(self._frame)
        self._show_text()

    def _show_head(self) -> None:
        head = self.query_one("#head", Static)
        away = bool(self._failure)
        self.screen_stack[0].set_class(away, "away")
        head.set_class(away, "away")
        if away:
            silent = duration(round(time.monotonic() - self._heard_at))
            old = f"; what is below is {silent} old" if self._frame else ""
            head.update(Text(f"NOT CONNECTED{old}; trying again\n{printable(self._failure)}"))
            return
        if self._frame is None:
            head.update(Text(f"asking the gateway at {printable(self._where)} ..."))
            return
        status = self._frame.status
        about, problems = status["gateway"], status["problems"]
        first = Text(f"{printable(about['name'])}: ")
        first.append(status["state"], style=state_colour(status["state"]))
        first.append(f", running for {duration(round(about['uptime_s']))}")
        if alarms := self._frame.alarms:
            first.append(f", {count(len(alarms), 'alarm')}", style="bold red")
        first.append(f"  {time.strftime('%H:%M:%S')}\n")
        if problems:
            more = f" (+{len(problems) - 1})" if len(problems) > 1 else ""
            first.append(f"! {printable(problems[0])}{more}", style="yellow")
        head.update(first)

    def _show_values(self, frame: Frame) -> None:
        search = self.query_one("#search", Input).value
        lines, found = topfeed.value_lines(self._of_device(frame), search, MOST_VALUES)
        self._grid("values").show(lines)
        said = count(found, "value")
        if self._device is not None:
            said += f" of {self._device} (Esc: of all)"
        if search:
            said += f" with '{search}'"
        if found > MOST_VALUES:
            said += f": the first {MOST_VALUES}; / finds the others"
        self._found = printable(said)

    def _of_device(self, frame: Frame) -> list[dict[str, Any]]:
        # those of another device may have been asked for before the page was turned
        device = self._device
        return [v for v in frame.values if device in (None, v["labels"].get("device"))]

    def _show_text(self) -> None:
        """What there is to say of the line under the cursor."""
        if self._frame is None:
            return
        page, frame = self.page, self._frame
        chosen = self._grid(page).chosen
        if page == "devices":
            lines = topfeed.device_text(chosen, frame.status, frame.values)
        elif page == "values":
            lines = [self._found, *topfeed.value_text(chosen, frame.values)]
        elif page == "alarms":
            lines = topfeed.alarm_text(chosen, frame.alarms)
        else:
            lines = topfeed.sink_text(chosen, frame.status)
        self.query_one(f"#{page}-text", Static).update(Text("\n".join(lines)))

    # -- keys ---------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Search and acknowledge each have their page."""
        del parameters
        place = {"search": "values", "acknowledge": "alarms"}.get(action)
        return place is None or place == self.page

    def action_page(self, page: str) -> None:
        """Turn to a page; the values of all devices."""
        self._device = None
        self._turn_to(page)

    def _turn_to(self, page: str) -> None:
        self.query_one(ContentSwitcher).current = page
        self._grid(page).focus()
        self.refresh_bindings()
        self._show()
        self._now.set()

    def action_search(self) -> None:
        """Search as it is typed."""
        search = self.query_one("#search", Input)
        search.add_class("open")
        search.focus()

    def action_leave(self) -> None:
        """End the search, then the choice of a device."""
        search = self.query_one("#search", Input)
        if search.has_class("open"):
            search.remove_class("open")
            search.value = ""
        elif self.page == "values" and self._device is not None:
            self._device = None
            self._now.set()
        self._grid(self.page).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Find at once."""
        if event.input.id == "search" and self._frame is not None:
            self._show_values(self._frame)
            self._show_text()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep what was found and go through it."""
        if event.input.id == "search":
            self._grid("values").focus()

    def on_data_table_row_highlighted(self) -> None:
        """Tell of the line that the cursor came to."""
        self._show_text()
        if self._wanted():
            self._now.set()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter on a device: its values."""
        if event.data_table.id == "devices-table" and (chosen := self._grid("devices").chosen):
            self._device = chosen
            self._turn_to("values")

    async def action_acknowledge(self) -> None:
        """Acknowledge the alarm under the cursor."""
        if alarm := self._grid("alarms").chosen:
            self.run_worker(self._acknowledge(alarm))

    async def _acknowledge(self, alarm: str) -> None:
        given = await self.push_screen_wait(Acknowledge(alarm))
        if given is None:
            return
        body = {"id": alarm, "who": given[0], "why": given[1]}
        try:
            await asyncio.to_thread(self._client.post_json, "/v1/alarms/acknowledge", body=body)
        except GatewayError as error:
            self.notify(printable(str(error)), severity="error", markup=False)
        self._now.set()
