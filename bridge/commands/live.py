"""``genaudio live``: the daemon."""

import argparse
import signal
import time
from pathlib import Path
from typing import Any

from bridge.instrument import InstrumentProcess, with_session
from bridge.learned import Learned
from bridge.osc import OscServer
from bridge.pads_jack import PadsProcess
from bridge.preset import Preset, find_preset, load_preset
from bridge.supervisor import Supervisor
from bridge.view import View, message_for_key
from genaudio_core.errors import GenaudioError

HELP = 'play with a band that answers in time, inside a DAW session'
EXAMPLE = 'genaudio live duet --set temperature=0.9 --set bars_heard=4'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('preset', help="name of a preset (see 'genaudio presets') or path of a .toml file")
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE', help='change a setting')
    parser.add_argument('--osc', type=int, metavar='PORT', help='listen for OSC on this UDP port of 127.0.0.1')
    parser.add_argument('--folder', default='.', help='where takes you keep are written (default: here)')
    parser.add_argument('--name', default='genaudio', help='client name that other programs see (default: genaudio)')
    parser.add_argument('--seconds', type=float, help='end after this long')
    parser.add_argument('--forget', action='store_true', help='drop the controllers learned for this preset')
    parser.add_argument('--no-view', action='store_true', help='only print what happens')


def parse_changes(items: list[str]) -> dict[str, Any]:
    """Return KEY=VALUE items as a mapping; values stay texts, settings know their types.

    Raises
    ------
    GenaudioError
        If an item has no '='.
    """
    changes = {}
    for item in items:
        key, equals, value = item.partition('=')
        if not equals:
            raise GenaudioError(f"--set takes KEY=VALUE, such as temperature=0.9, not '{item}'.")
        changes[key.strip()] = value.strip()
    return changes


class Reloader:
    """Reloads a preset file when it changes; one with errors is told, and what plays goes on."""

    def __init__(self, path: Path, changes: dict[str, Any]) -> None:
        self._path, self._changes = path, changes
        self._seen = self._stamp()

    def _stamp(self) -> tuple[int, int] | None:
        try:
            state = self._path.stat()
        except OSError:
            return None
        return state.st_mtime_ns, state.st_size

    def look(self, view: View) -> Preset | None:
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return None
        self._seen = stamp
        try:
            preset = load_preset(self._path, self._changes)
        except GenaudioError as error:
            view.say(f'{error} Playing on with the preset as it was.')
            return None
        view.say(f'{self._path} is reloaded.')
        return preset


class _Instrument(InstrumentProcess):
    """The plug-in that plays the answer. What it delays is sent earlier."""

    def __init__(self, preset: Preset, session: str, supervisor: Supervisor):
        if preset['ports.backend'] not in ('auto', 'jack'):
            raise GenaudioError("An [instrument] hears JACK ports: set ports.backend = 'jack'.")
        assert preset.instrument is not None
        super().__init__(with_session(preset.instrument, session), f'{session}-instrument')
        self.preset = preset
        self._supervisor, self._counted = supervisor, (0.0, 0.0)

    def poll(self) -> list[str]:
        lines = super().poll()
        wanted = (self.latency, self.preset['transport.latency_ms'])
        if self.ready and self.latency and wanted != self._counted:
            self._counted = wanted
            self._supervisor.send(set='transport.latency_ms', value=wanted[1] + 1000 * self.latency)
            name, late = self.instrument.plugin.name, 1000 * self.latency
            lines.append(f'{name} is {late:.1f} ms late; notes go out as much earlier.')
        return lines


def run(args: argparse.Namespace) -> dict[str, Any]:
    path = find_preset(args.preset)
    changes = parse_changes(args.set)
    preset = load_preset(path, changes)
    if not Path(args.folder).is_dir():
        raise GenaudioError(f'The folder {args.folder} does not exist.')
    view = View(terminal=False if args.no_view else None)
    ends: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda caught, frame: ends.append(caught))
    learned = Learned(view.say)
    if args.forget:
        learned.forget(preset.name)
    supervisor = Supervisor(learned.apply(preset), view.say, folder=args.folder, client_name=args.name)
    osc = pads = instrument = None

    def send(**message: Any) -> None:
        if 'pad' not in message:
            supervisor.send(**message)
        elif pads is None:
            view.say('OSC: this preset has no [pads] table.')
        else:
            pads.load(message['pad'], message['file'])

    reloader = Reloader(path, changes)
    until = time.monotonic() + args.seconds if args.seconds else None
    try:
        pads = PadsProcess(preset.pads, f'{args.name}-pads') if preset.pads else None
        instrument = _Instrument(preset, args.name, supervisor) if preset.instrument else None
        osc = OscServer(args.osc, send, view.say) if args.osc is not None else None
        view.say(f'{preset["about.title"] or preset.name}: ports {", ".join(preset["ports.inputs"])} and '
                 f'{", ".join(preset["ports.outputs"])}. Ctrl-C ends.')  # fmt: skip
        with view.running():
            while not ends and (until is None or time.monotonic() < until):
                if not supervisor.poll(0.05):
                    raise GenaudioError('The MIDI process could not be kept alive; see the lines above.')
                for told in (*(pads.poll() if pads else ()), *(instrument.poll() if instrument else ())):
                    view.say(told)
                view.show(supervisor.snapshot)
                if supervisor.snapshot.get('preset') == preset.name:
                    learned.remember(preset, supervisor.snapshot['controllers'])
                for key in view.pressed():
                    if key == 'q':
                        ends.append(0)
                    elif message := message_for_key(key, supervisor.snapshot.get('values', {})):
                        supervisor.send(**message)
                if (reloaded := reloader.look(view)) is not None:
                    preset = reloaded
                    supervisor.send(preset=learned.apply(preset))
                    if instrument is not None:
                        instrument.preset = preset
    finally:
        if osc is not None:
            osc.close()
        if pads is not None:
            pads.stop()
        if instrument is not None:
            instrument.stop()
        supervisor.stop()
    final = supervisor.snapshot
    names = ('heard', 'played', 'missed', 'units', 'late', 'restarts', 'kept')
    return {name: final.get(name, 0) for name in names} | {'midi_restarts': supervisor.restarts}
