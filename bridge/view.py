"""The terminal view: transport, what is heard and planned, deadline margin, counters; and the keys.

Without a terminal (a pipe, a service) only the lines for the person are printed.
"""

import contextlib
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

KEYS: dict[str, tuple[dict[str, Any], str]] = {
    ' ': ({'command': 'play'}, 'continue'),
    'h': ({'command': 'hush'}, 'hush'),
    'n': ({'command': 'next_take'}, 'next take'),
    'u': ({'command': 'undo'}, 'undo'),
    'k': ({'command': 'keep'}, 'keep'),
    't': ({'command': 'tap'}, 'tap'),
    's': ({'command': 'start'}, 'start'),
    'x': ({'command': 'stop'}, 'stop'),
    'p': ({'command': 'panic'}, 'panic'),
}
STEPS: dict[str, tuple[str, float]] = {
    '+': ('music.temperature', 0.05), '-': ('music.temperature', -0.05),
    ']': ('music.density', 0.05), '[': ('music.density', -0.05),
    '>': ('music.velocity', 0.05), '<': ('music.velocity', -0.05),
}  # fmt: skip
MODE_KEYS = {'1': 'respond', '2': 'take_over', '3': 'accompany', '4': 'free', '5': 'arrange'}


def message_for_key(key: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a key means, as a message to the session; empty if nothing. `values` are the present settings."""
    if key in KEYS:
        return KEYS[key][0]
    if key in MODE_KEYS:
        return {'set': 'player.mode', 'value': MODE_KEYS[key]}
    if key in STEPS and STEPS[key][0] in values:
        name, step = STEPS[key]
        from bridge.parameters import PARAMETERS

        parameter = PARAMETERS[name]
        assert parameter.low is not None and parameter.high is not None
        return {'set': name, 'value': min(max(round(values[name] + step, 3), parameter.low), parameter.high)}
    return {}


def render(snapshot: Mapping[str, Any], lines: list[str]) -> Group:
    """Return what the view shows of a snapshot."""
    if not snapshot.get('values'):
        return Group(Text('Starting ...'), *map(Text, lines))
    values = snapshot['values']
    state = '[green]rolling[/]' if snapshot['rolling'] else '[yellow]stopped[/]'
    place = f'bar {snapshot["bar"]}  beat {snapshot["beat"]:.1f}  {snapshot["tempo"]:.1f} BPM'
    table = Table.grid(padding=(0, 2))
    table.add_row('transport', f'{state}  {place}  ({snapshot["leader"]}, {snapshot.get("backend", "")})')
    table.add_row('band', f'{snapshot["mode"]}: [bold]{snapshot["state"]}[/]  takes {snapshot["takes"] or "-"}')
    table.add_row('heard', f'{snapshot["heard"]} notes, {snapshot["held"]} held')
    table.add_row(
        'planned', f'{snapshot["planned"]} notes, {snapshot["sounding"]} sound, {snapshot["played"]} played so far'
    )
    ready = snapshot['ready_ms']
    handover = snapshot['handover_ms']
    table.add_row(
        'on time',
        f'ready {"-" if ready is None else f"{ready:.0f} ms"} ahead  '
        f'hand-over {"-" if handover is None else f"{handover:.1f} ms"}  '
        f'missed [{"red" if snapshot["missed"] else "green"}]{snapshot["missed"]}[/] of {snapshot["units"]}  '
        f'late {snapshot["late"]}',
    )
    stats = '  '.join(f'{name} {value:g}' for name, value in snapshot['engine_stats'].items())
    table.add_row('engine', f'{snapshot["engine"]}  {stats}  restarts {snapshot["restarts"]}')
    table.add_row(
        'settings',
        '  '.join(
            f'{name.split(".")[1]} {values[name]}' for name in values if name.startswith('music.') and values[name]
        ),
    )
    bound = '  '.join(f'CC {number} {target}' for number, target in snapshot['controllers'].items())
    if bound:
        table.add_row('controllers', bound)
    keys = '  '.join(f'[bold]{"space" if key == " " else key}[/] {what}' for key, (_, what) in KEYS.items())
    keys += (
        '  [bold]1..5[/] mode  [bold]+ -[/] temperature  [bold]] \\[[/] density  [bold]> <[/] loudness  [bold]q[/] quit'
    )
    return Group(Panel(table, title=f'genaudio  {snapshot["preset"]}'), Text.from_markup(keys), *map(Text, lines))


class View:
    """Shows snapshots and lines, reads keys."""

    def __init__(self, *, terminal: bool | None = None) -> None:
        self.lines: deque[str] = deque(maxlen=6)
        self.interactive = sys.stdin.isatty() and sys.stderr.isatty() if terminal is None else terminal
        self._live: Live | None = None

    def say(self, line: str) -> None:
        """Show one line for the person."""
        self.lines.append(line)
        if self._live is None:
            print(line, file=sys.stderr, flush=True)

    def show(self, snapshot: Mapping[str, Any]) -> None:
        if self._live is not None:
            self._live.update(render(snapshot, list(self.lines)), refresh=True)

    @contextlib.contextmanager
    def running(self) -> Iterator['View']:
        """Take over the terminal, and give it back."""
        if not self.interactive:
            yield self
            return
        with _raw_keys(), Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
            self._live = live
            try:
                yield self
            finally:
                self._live = None

    def pressed(self) -> str:
        """Return the keys pressed since, without waiting."""
        return _read_keys() if self.interactive else ''


@contextlib.contextmanager
def _raw_keys() -> Iterator[None]:
    try:
        import termios
        import tty
    except ImportError:  # Windows: msvcrt needs no preparation
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _read_keys() -> str:
    if os.name == 'nt':
        import msvcrt

        found = ''
        while msvcrt.kbhit():  # type: ignore[attr-defined]
            found += msvcrt.getwch()  # type: ignore[attr-defined]
        return found
    import select

    if select.select([sys.stdin], [], [], 0)[0]:
        return os.read(sys.stdin.fileno(), 64).decode(errors='ignore')
    return ''
