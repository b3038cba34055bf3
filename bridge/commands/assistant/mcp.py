"""``genaudio mcp``: the band for an assistant, over the Model Context Protocol on standard input and output."""

import argparse
import contextlib
import functools
from typing import Any

from bridge.commands.assistant.sessions import Joined, Playing, Started
from bridge.panel.board import plain
from bridge.panel.facts import presets, told_of
from bridge.settings.control_messages import checked
from bridge.settings.parameters import COMMANDS, PARAMETERS
from bridge.settings.voice import part_knobs
from genaudio_core.errors import GenaudioError

HELP = 'let an assistant set up and play a band (Model Context Protocol)'
EXAMPLE = 'genaudio mcp --folder takes'
ABOUT = (
    'A band that listens: it hears a musician by MIDI and answers or accompanies in time. Call start (or join) first. '
    'What each tool returns under "said" is what genaudio has told the person since: errors are among it.'
)
FIGURES = (
    'rolling', 'leader', 'bar', 'beat', 'tempo', 'mode', 'state', 'preset', 'parts', 'takes', 'heard', 'held',
    'planned', 'played', 'sounding', 'missed', 'units', 'late', 'engine', 'switches', 'part_values', 'controllers',
    'values', 'inputs', 'outputs', 'connections',
)  # fmt: skip
"""What of a session's snapshot an assistant is told."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--folder', default='.', help='folder for the takes you keep (default: this one)')
    parser.add_argument('--name', default='genaudio', help='client name that other programs see (default: genaudio)')


def run(args: argparse.Namespace) -> None:
    try:
        import mcp  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise GenaudioError(f"An assistant needs the package {error.name}: pip install 'genaudio[mcp]'.") from error
    desk = Desk(args.folder, args.name)
    with contextlib.closing(desk):
        make_server(desk).run('stdio')


class Desk:
    """The session that the assistant has, if any. Every method from any thread."""

    def __init__(self, folder: str = '.', name: str = 'genaudio') -> None:
        self._folder, self._name = folder, name
        self._session: Playing | None = None

    @property
    def session(self) -> Playing:
        """The session that plays.

        Raises
        ------
        GenaudioError
            If there is none, or it has ended.
        """
        if self._session is None:
            raise GenaudioError('No band plays: call start or join first.')
        if self._session.over:
            raise GenaudioError(f'{self._session.over} Call start or join.')
        return self._session

    def begin(self, make: Any) -> dict[str, Any]:
        """Have a session of `make`'s; one that plays must be stopped first."""
        if self._session is not None and not self._session.over:
            raise GenaudioError('A band plays already: call stop first.')
        self.close()
        self._session = make()
        return self.told()

    def start(self, preset: str, settings: dict[str, Any], panel: bool) -> dict[str, Any]:
        """Start a band of its own."""
        return self.begin(lambda: Started(preset, settings, folder=self._folder, name=self._name, panel=panel))

    def join(self, link: str) -> dict[str, Any]:
        """Join one that plays."""
        return self.begin(lambda: Joined(link))

    def say(self, **message: Any) -> dict[str, Any]:
        """Tell the session something, and return what it says to it."""
        session = self.session
        session.send(checked(message))
        session.settle()
        return self.told()

    def told(self) -> dict[str, Any]:
        """What is new, in short."""
        session = self.session
        now = session.state()
        return {'said': session.new_lines(), **{name: now.get(name) for name in ('preset', 'mode', 'rolling', 'parts')}}

    def state(self) -> dict[str, Any]:
        """All that is known."""
        session = self.session
        now = session.state()
        return {'said': session.new_lines(), **{name: now[name] for name in FIGURES if name in now}}

    def close(self) -> None:
        """End what was started, or let go of what was joined."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


def make_server(desk: Desk) -> Any:
    """Return the server of the SDK, with tools that do what OSC and the panel can do."""
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    server = MCPServer('genaudio', instructions=ABOUT, log_level='WARNING')

    def tool(function: Any) -> None:
        @functools.wraps(function)
        def in_one_line(*args: Any, **named: Any) -> Any:
            """What is wrong is told to the assistant as the failure of its call, without a traceback."""
            try:
                return function(*args, **named)
            except GenaudioError as error:
                raise ToolError(str(error)) from None

        server.tool()(in_one_line)

    @tool
    def list_presets() -> dict[str, Any]:
        """The presets: name, title, when to use each, mode and parts."""
        return presets()

    @tool
    def list_settings() -> dict[str, Any]:
        """Settings that can change while it plays (for `set`), knobs of the parts there are, and commands."""
        with contextlib.suppress(GenaudioError):
            parts = desk.session.state().get('parts', [])
            return plain({'settings': told_of(PARAMETERS | part_knobs(parts)), 'commands': COMMANDS})
        return plain({'settings': told_of(PARAMETERS), 'commands': COMMANDS})

    @tool
    def start(preset: str = 'duet', settings: dict[str, Any] | None = None, panel: bool = False) -> dict[str, Any]:
        """Start a band on the MIDI ports of this machine, by the name of a preset, with changes such as {"tempo": 96}.

        With `panel` its page is served too, and `said` has the link for the person.
        """
        return desk.start(preset, settings or {}, panel)

    @tool
    def join(link: str) -> dict[str, Any]:
        """Join a session that plays, by the link that `genaudio live --panel` has printed."""
        return desk.join(link)

    @tool
    def stop() -> str:
        """End the band that was started here (every note ends), or let go of the session that was joined."""
        desk.close()
        return 'stopped'

    @tool
    def state() -> dict[str, Any]:
        """What plays now: place, tempo, mode, parts, counts of notes and of missed deadlines, settings, lines."""
        return desk.state()

    @tool
    def set(name: str, value: float | bool | str) -> dict[str, Any]:
        """Change a setting: "density", "music.chords", or of a part "mute.bass", "density.bass", "low.bass"."""
        return desk.say(set=name, value=value)

    @tool
    def mode(name: str) -> dict[str, Any]:
        """How the band plays: respond, take_over, accompany, free or arrange."""
        return desk.say(set='player.mode', value=name)

    @tool
    def command(name: str) -> dict[str, Any]:
        """One of: play (answer now), hush, next_take, undo, keep (write a MIDI file), tap, start, stop, panic."""
        return desk.say(command=name)

    @tool
    def take(number: int) -> dict[str, Any]:
        """Go to this take of the last answer, from 1."""
        return desk.say(take=number)

    @tool
    def again(part: str = 'all', bar: int | None = None) -> dict[str, Any]:
        """Have a part such as "bass" composed again, in a bar that is still to come (from 1), or in all of them."""
        return desk.say(again=part, **({} if bar is None else {'bar': bar}))

    @tool
    def learn(target: str) -> dict[str, Any]:
        """The next MIDI controller that the person moves moves this setting from now on."""
        return desk.say(learn=target)

    @tool
    def play_preset(name: str) -> dict[str, Any]:
        """Go over to another preset while it plays."""
        return desk.say(preset=name)

    @tool
    def save_preset(name: str) -> dict[str, Any]:
        """Write what plays, as it is set now, as a preset of the user's own under a new name."""
        return desk.say(save=name)

    @tool
    def panic() -> dict[str, Any]:
        """End every note at once."""
        return desk.say(command='panic')

    return server
