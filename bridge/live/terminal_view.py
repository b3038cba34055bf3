"""The terminal view: transport, what is heard and planned, deadline margin, counters; and the keys.

Without a terminal (a pipe, a service) only the lines for the person are printed.
"""

import codecs
import contextlib
import os
import re
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from genaudio_core.command_line import say

KEYS: dict[str, tuple[dict[str, Any], str]] = {
    ' ': ({'command': 'play'}, 'continue'),
    'h': ({'command': 'hush'}, 'hush'),
    'n': ({'command': 'next_take'}, 'next take'),
    'r': ({'command': 'again'}, 'again'),
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
# What a terminal sends as one: ESC [ [ A (Linux console), ESC [ 1 ; 5 A, ESC O P, ESC ] title BEL, Alt with a key.
_SEQUENCE = re.compile(
    r'\x1b(?:\[\[.|\[(?!\[)[0-?]*[ -/]*(?:[@-~]|[^ -~])|O.|[PX^_\]].*?(?:\x07|\x1b\\)|[^\[OPX^_\]\x1b])', re.DOTALL,
)  # fmt: skip
LONGEST_LINE = 2000  # characters of a line for the person
MAX_SEQUENCE = 4096  # characters of one
SLOW = 20  # looks for the rest of one, until it is given up
PASTED = 8  # so many different keys at once nobody presses
_MARK_PASTE, _LEAVE_PASTE = '\x1b[?2004h', '\x1b[?2004l'  # have the terminal say what is pasted
MODE_KEYS = {'1': 'respond', '2': 'take_over', '3': 'accompany', '4': 'free', '5': 'arrange'}


TROUBLE = {
    'xruns': 'xruns', 'lost_in': 'lost from a flood', 'lost_out': 'refused by ports', 'port_errors': 'port errors',
    'faults': 'faults', 'bad_bytes': 'bad bytes',
}  # fmt: skip
"""Counts of a snapshot that are shown when they are above 0."""


def message_for_key(key: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a key means, as a message to the session; empty if nothing. `values` are the present settings."""
    if key in KEYS:
        return KEYS[key][0]
    if key in MODE_KEYS:
        return {'set': 'player.mode', 'value': MODE_KEYS[key]}
    if key in STEPS and STEPS[key][0] in values:
        name, step = STEPS[key]
        from bridge.settings.parameters import PARAMETERS

        parameter = PARAMETERS[name]
        assert parameter.low is not None and parameter.high is not None
        return {'set': name, 'value': min(max(round(values[name] + step, 3), parameter.low), parameter.high)}
    return {}


def render(snapshot: Mapping[str, Any], lines: list[str]) -> Group:
    """Return what the view shows of a snapshot."""
    if not snapshot.get('values'):
        return Group(Text('Starting ...'), *map(Text, lines))
    snapshot = _shown(snapshot)
    values = snapshot['values']
    state = '[green]rolling[/]' if snapshot['rolling'] else '[yellow]stopped[/]'
    place = f'bar {snapshot["bar"]}  beat {snapshot["beat"]:.1f}  {snapshot["tempo"]:.1f} BPM'
    leader, takes = escape(snapshot['leader']), escape(snapshot['takes'] or '-')
    table = Table.grid(padding=(0, 2))
    table.add_row('transport', f'{state}  {place}  ({leader}, {snapshot.get("backend", "")})')
    table.add_row('band', f'{snapshot["mode"]}: [bold]{snapshot["state"]}[/]  takes {takes}')
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
    table.add_row(
        'parts',
        f'asked again for {snapshot["asked_again"]} notes, {snapshot["by_rule"]} by rule; '
        f'stood in for {snapshot["stood_in"]} bars, silent [{"red" if snapshot["silent_bars"] else "green"}]'
        f'{snapshot["silent_bars"]}[/]',
    )
    stats = '  '.join(f'{name} {value:g}' for name, value in snapshot['engine_stats'].items())
    table.add_row('engine', Text(f'{snapshot["engine"]}  {stats}  restarts {snapshot["restarts"]}'))
    trouble = [f'{what} {snapshot[name]}' for name, what in TROUBLE.items() if snapshot.get(name)]
    if trouble:
        table.add_row('trouble', f'[red]{"  ".join(trouble)}[/]')
    table.add_row(
        'settings',
        Text(
            '  '.join(
                f'{name.split(".")[1]} {values[name]}' for name in values if name.startswith('music.') and values[name]
            )
        ),
    )
    bound = '  '.join(f'CC {number} {target}' for number, target in snapshot['controllers'].items())
    if bound:
        table.add_row('controllers', Text(bound))
    keys = '  '.join(f'[bold]{"space" if key == " " else key}[/] {what}' for key, (_, what) in KEYS.items())
    keys += (
        '  [bold]1..5[/] mode  [bold]+ -[/] temperature  [bold]] \\[[/] density  [bold]> <[/] loudness  [bold]q[/] quit'
    )
    title = Text(f'genaudio  {snapshot["preset"]}')
    return Group(Panel(table, title=title), Text.from_markup(keys), *map(Text, lines))


def _shown(value: Any) -> Any:
    """The same figures with every name as `printable` has it: they are of files, models and ports of others."""
    if isinstance(value, Mapping):
        return {_shown(name): _shown(one) for name, one in value.items()}
    return printable(value) if isinstance(value, str) else value


def printable(line: str) -> str:
    """Return `line` without what a terminal would obey, and not endless."""
    line = line if len(line) <= LONGEST_LINE else f'{line[:LONGEST_LINE]}...'
    return ''.join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line)


class Keys:
    """Bytes of a terminal in, keys out: single characters. What is longer is taken as a whole and means nothing here.

    That is arrows and function keys (escape sequences), text that is pasted, and every character beyond ASCII.
    """

    _PASTE_ENDS = '\x1b[201~'

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder('utf-8')('ignore')
        self._rest = ''  # the beginning of an escape sequence
        self._pasting = False
        self._waited = 0

    def feed(self, data: bytes) -> list[str]:
        """Return the keys that were pressed; call it with nothing when nothing came, to tell a lone Escape."""
        text = self._decoder.decode(data)
        if not text:
            self._waited += not data
            # A lone one is the key Escape: a sequence comes in one piece, or nearly.
            if self._waited > SLOW:
                self._rest, self._pasting = '', False
            elif self._rest == '\x1b':
                self._rest = ''
            return []
        text, self._rest, self._waited = self._rest + text, '', 0
        found: list[str] = []
        while text:
            if self._pasting:
                _, end, after = text.partition(self._PASTE_ENDS)
                if not end:
                    self._rest = text[-len(self._PASTE_ENDS) :]  # its end may be cut in two
                    break
                self._pasting, text = False, after
                continue
            if text[0] != '\x1b':
                found.append(text[0])
                text = text[1:]
                continue
            text = '\x1b' + text.lstrip('\x1b')  # Alt with an arrow has one more
            sequence = _SEQUENCE.match(text)
            if sequence is None:
                self._rest = text if len(text) < MAX_SEQUENCE else ''  # more is to come
                break
            self._pasting = sequence[0] == '\x1b[200~'
            text = text[sequence.end() :]
        keys = [key for key in found if key.isascii()]
        # A terminal that does not mark what is pasted sends it at once.
        return [] if len(set(keys)) > PASTED else keys


class View:
    """Shows snapshots and lines, reads keys.

    Parameters
    ----------
    terminal : bool, optional
        Whether to take over the terminal; by default where there is one. Keys are read in either case.

    Attributes
    ----------
    gone : bool
        The terminal was closed.
    has_keys : bool
        Whether there is a terminal to read them from.
    """

    def __init__(self, *, terminal: bool | None = None) -> None:
        self.lines: deque[str] = deque(maxlen=6)
        there = _is_terminal(sys.stdin)
        self.interactive = there and _is_terminal(sys.stderr) if terminal is None else terminal
        self.gone = False
        self.has_keys = there
        self._keys = Keys()
        self._taken: contextlib.ExitStack | None = None
        self._live: Live | None = None

    def say(self, line: str) -> None:
        """Show one line for the person; from any thread. Names of ports and files in it may hold anything."""
        line = printable(line)
        self.lines.append(line)
        if self._live is None:
            say(line)

    def show(self, snapshot: Mapping[str, Any]) -> None:
        """Show a snapshot of the session, where there is a terminal."""
        self._take()
        if self._live is not None:
            self._live.update(render(snapshot, list(self.lines)), refresh=True)

    @contextlib.contextmanager
    def running(self) -> Iterator['View']:
        """Take over the terminal, and give it back."""
        self._take()
        try:
            yield self
        finally:
            self.give_back()

    def _take(self) -> None:
        """Take the terminal when it is ours: not while the shell has put us into the background."""
        if self._taken is not None or not self.has_keys or self.gone or not _in_foreground():
            return
        with contextlib.ExitStack() as stack:
            stack.enter_context(_raw_keys())
            if self.interactive:
                live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
                self._live = stack.enter_context(live)
            self._taken = stack.pop_all()

    def give_back(self) -> None:
        """Give the terminal back: at the end, and before Ctrl-Z stops us. `show` takes it again."""
        stack, self._taken, self._live = self._taken, None, None
        if stack is not None:
            with contextlib.suppress(OSError):  # it may be gone
                stack.close()

    def pressed(self) -> list[str]:
        """Return the keys pressed since, without waiting."""
        if self._taken is None or self.gone:
            return []
        try:
            return self._keys.feed(_read_keys())
        except (EOFError, OSError):
            self.gone = True
            return []


def _is_terminal(stream: Any) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False


def _in_foreground() -> bool:
    if not hasattr(os, 'tcgetpgrp'):
        return True
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return True  # no terminal that controls us, such as one of a test


@contextlib.contextmanager
def _raw_keys() -> Iterator[None]:
    try:
        import termios
        import tty
    except ImportError:  # Windows: msvcrt needs no preparation
        yield
        return
    try:
        before = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
    except termios.error:  # it was closed just now
        yield
        return
    marks = _is_terminal(sys.stderr)  # not into a log
    if marks:
        print(_MARK_PASTE, end='', file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if marks:
            print(_LEAVE_PASTE, end='', file=sys.stderr, flush=True)
        with contextlib.suppress(termios.error):
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _read_keys() -> bytes:
    """The keys typed since.

    Raises
    ------
    EOFError, OSError
        If the terminal is gone.
    """
    if os.name == 'nt':
        import msvcrt

        found = ''
        while msvcrt.kbhit():  # type: ignore[attr-defined]
            key = msvcrt.getwch()  # type: ignore[attr-defined]
            if key in '\0\xe0':  # an arrow or a function key: a second one follows
                msvcrt.getwch()  # type: ignore[attr-defined]
            else:
                found += key
        return found.encode()
    import select

    if not select.select([sys.stdin], [], [], 0)[0]:
        return b''
    data = os.read(sys.stdin.fileno(), 65536)
    if not data:
        raise EOFError
    return data
