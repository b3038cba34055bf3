"""``genaudio live``: the daemon."""

import argparse
import contextlib
import os
import queue
import time
from pathlib import Path
from typing import Any

from bridge.live.osc import OscServer
from bridge.live.port_process import COUNTED
from bridge.live.preset_reload import Reloader
from bridge.live.supervisor import Supervisor
from bridge.live.terminal_view import View, message_for_key
from bridge.pads.jack_pads import PadsProcess
from bridge.plugins.instrument import InstrumentProcess
from bridge.settings.band_preset import Preset, find_preset, load_preset
from bridge.settings.instrument_table import with_session
from bridge.settings.learned_controllers import Learned
from bridge.settings.parameters import parse_changes
from bridge.system.real_time import REAL_TIME_ADVICE, may_be_real_time
from bridge.system.signals import Told
from genaudio_core.command_line import MAX_SECONDS, number, whole
from genaudio_core.errors import GenaudioError

HELP = 'play with a band that answers in time, inside a DAW session'
LOOK = 0.05  # seconds between two looks at the keys, the preset file and the rest
EXAMPLE = 'genaudio live duet --set temperature=0.9 --set bars_heard=4'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('preset', help="name of a preset (see 'genaudio presets') or path of a .toml file")
    parser.add_argument('--set', action='append', default=[], metavar='NAME=VALUE', help='change a setting')
    parser.add_argument('--osc', type=whole('--osc', 1, 65535), metavar='PORT',
                        help='listen for OSC on this UDP port of 127.0.0.1')  # fmt: skip
    parser.add_argument('--folder', default='.', help='folder for the takes you keep (default: this one)')
    parser.add_argument('--name', default='genaudio', help='client name that other programs see (default: genaudio)')
    parser.add_argument(
        '--seconds', type=number('--seconds', above=0, high=MAX_SECONDS), help='stop after this many seconds'
    )
    parser.add_argument('--forget', action='store_true', help='forget the controllers learned for this preset')
    parser.add_argument('--no-view', action='store_true', help='only print messages')


class _Instrument(InstrumentProcess):
    """The plug-in that plays the answer. What it delays is sent earlier."""

    _told = 0.0  # seconds that the person knows of

    def __init__(self, preset: Preset, session: str, supervisor: Supervisor):
        if preset['ports.backend'] not in ('auto', 'jack'):
            raise GenaudioError("An [instrument] needs JACK: set ports.backend = 'jack'.")
        assert preset.instrument is not None
        super().__init__(with_session(preset.instrument, session), f'{session}-instrument')
        self._supervisor = supervisor
        self.preset = preset

    @property
    def preset(self) -> Preset:
        """What the session plays by, without what the plug-in delays."""
        return self._preset

    @preset.setter
    def preset(self, preset: Preset) -> None:
        self._preset = preset
        self._counted: tuple[float, float] | None = None  # the session has it anew, and knows nothing of the plug-in

    def poll(self) -> list[str]:
        lines = super().poll()
        wanted = (self.latency, self.preset['transport.latency_ms'])
        if not self.ready or (self._counted is None and not self.latency):
            return lines
        if wanted != self._counted:
            self._counted = wanted  # also when it is down to 0
            self._supervisor.send(set='transport.latency_ms', value=wanted[1] + 1000 * self.latency)
            if self.latency != self._told:
                self._told = self.latency
                name, late = self.instrument.plugin.name, 1000 * self.latency
                lines.append(f'{name} is {late:.1f} ms late; notes go out as much earlier.')
        return lines


class _Band:
    """The processes of a session, and the person's hand on them."""

    def __init__(self, args: argparse.Namespace, view: View, preset: Preset, path: Path, changes: dict[str, Any]):
        self.args, self.view, self.preset = args, view, preset
        self.learned = Learned(view.say)
        if args.forget:
            self.learned.forget(preset.name)
        self.reloader = Reloader(path, changes)
        self.osc = self.pads = self.instrument = None
        self._files: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()  # for pads, from OSC's thread
        self.supervisor = Supervisor(self.learned.apply(preset), view.say, folder=args.folder, client_name=args.name)

    def start_others(self) -> None:
        """Start what stands beside the port process."""
        preset, name = self.preset, self.args.name
        self.pads = PadsProcess(preset.pads, f'{name}-pads') if preset.pads else None
        self.instrument = _Instrument(preset, name, self.supervisor) if preset.instrument else None
        self.osc = OscServer(self.args.osc, self._by_osc, self.view.say) if self.args.osc is not None else None

    def _by_osc(self, **message: Any) -> None:
        """Called in OSC's thread."""
        if 'pad' in message:
            self._files.put((message['pad'], message['file']))
        else:
            self.supervisor.send(**message)

    def look(self, told: Told) -> None:
        """One look at everything."""
        view, supervisor = self.view, self.supervisor
        told.look(self._pause, self._resume)
        if not supervisor.poll(LOOK):
            raise GenaudioError('The MIDI process kept ending; see the lines above.')
        for line in (*(self.pads.poll() if self.pads else ()), *(self.instrument.poll() if self.instrument else ())):
            view.say(line)
        self._load_pads()
        view.show(supervisor.snapshot)
        if supervisor.snapshot.get('preset') == self.preset.name:
            self.learned.remember(self.preset, supervisor.snapshot['controllers'])
        for key in view.pressed():
            if key == 'q':
                told.end('q')
            elif message := message_for_key(key, supervisor.snapshot.get('values', {})):
                supervisor.send(**message)
        if view.gone:
            told.end('the terminal is gone')
        if (reloaded := self.reloader.look(view.say)) is not None:
            self._use(reloaded)

    def _use(self, preset: Preset) -> None:
        if preset.pads != self.preset.pads or preset.instrument != self.preset.instrument:
            self.view.say('[pads] and [instrument] change only when genaudio is restarted.')
        self.preset = preset
        self.supervisor.send(preset=self.learned.apply(preset))
        if self.instrument is not None:
            self.instrument.preset = preset

    def _load_pads(self) -> None:
        while not self._files.empty():
            number, file = self._files.get()
            if self.pads is None:
                self.view.say('OSC: this preset has no pads; add a table [pads].')
            else:
                self.pads.load(number, file)

    def _pause(self) -> None:
        self.supervisor.pause()
        for other in (self.pads, self.instrument):
            if other is not None:
                other.obey('silence')
        self.view.give_back()
        self.view.say('Stopped: nothing sounds until you continue (fg).')

    def _resume(self) -> None:
        self.supervisor.resume()
        self.view.say('Playing again.')

    def stop(self) -> None:
        """End every note first, then all else."""
        with contextlib.ExitStack() as last:  # each of them, whatever happens to the others
            if self.instrument is not None:
                last.callback(self.instrument.stop)
            if self.pads is not None:
                last.callback(self.pads.stop)
            if self.osc is not None:
                last.callback(self.osc.close)
            last.callback(self.supervisor.stop)


def run(args: argparse.Namespace) -> dict[str, Any]:
    path = find_preset(args.preset)
    changes = parse_changes(args.set)
    preset = load_preset(path, changes)
    if not Path(args.folder).is_dir():
        raise GenaudioError(f'The folder {args.folder} does not exist.')
    view = View(terminal=False if args.no_view else None)
    until = time.monotonic() + args.seconds if args.seconds else None
    with Told() as told:
        band = _Band(args, view, preset, path, changes)
        try:
            band.start_others()
            view.say(f'{preset["about.title"] or preset.name}: ports {", ".join(preset["ports.inputs"])} and '
                     f'{", ".join(preset["ports.outputs"])}. Ctrl-C ends.')  # fmt: skip
            if hasattr(os, 'sched_setscheduler') and not may_be_real_time():
                view.say(f'Notes may come late on a busy machine: {REAL_TIME_ADVICE}.')
            with view.running():
                while not told.ended and (until is None or time.monotonic() < until):
                    band.look(told)
        finally:
            band.stop()
    final = band.supervisor.snapshot
    names = (*COUNTED, 'restarts', 'kept')
    osc_garbage = band.osc.garbage if band.osc else 0
    return {name: final.get(name, 0) for name in names} | {
        'midi_restarts': band.supervisor.restarts, 'osc_garbage': osc_garbage,
        'refused_messages': band.supervisor.refused,
    }  # fmt: skip
