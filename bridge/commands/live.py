"""``genaudio live``: the daemon."""

import argparse
import os
import sys
import time

from bridge.commands._preset import add_preset_arguments, settings_listed
from bridge.live.in_process import preset_of
from bridge.live.live_band import LiveBand
from bridge.live.terminal_view import View, message_for_key
from bridge.panel.panel import add_panel_arguments, panel_address
from bridge.settings.control_messages import from_line
from bridge.settings.learned_controllers import Learned
from bridge.settings.parameters import parse_changes
from bridge.system.line_input import LineInput, reader_of
from bridge.system.real_time import REAL_TIME_ADVICE, may_be_real_time
from bridge.system.signals import SignalWatch
from genaudio_core.command_line import MAX_SECONDS, number, whole
from genaudio_core.errors import GenaudioError

HELP = 'play with a band that answers in time, inside a DAW session'
EXAMPLE = 'genaudio live duet --set temperature=0.9 --set bars_heard=4'
DETAILS = settings_listed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_preset_arguments(parser)
    parser.add_argument('--osc', type=whole('--osc', 1, 65535), metavar='PORT',
                        help='listen for OSC on this UDP port of 127.0.0.1')  # fmt: skip
    add_panel_arguments(parser)
    parser.add_argument('--listen', nargs='?', const='', metavar='FONT',
                        help='hear the band without a synthesizer, over JACK: through this SoundFont, or the best '
                        'that is installed')  # fmt: skip
    parser.add_argument('--folder', default='.', help='folder for the takes you keep (default: this one)')
    parser.add_argument('--name', default='genaudio', help='client name that other programs see (default: genaudio)')
    parser.add_argument(
        '--seconds', type=number('--seconds', above=0, high=MAX_SECONDS), help='stop after this many seconds'
    )
    parser.add_argument('--forget', action='store_true', help='forget the controllers learned for this preset')
    parser.add_argument('--no-view', action='store_true', help='only print messages')


def _look(told: SignalWatch, view: View, band: LiveBand, lines: LineInput) -> None:
    """One look at everything."""

    def pause() -> None:
        band.pause()
        view.give_back()
        view.say('Stopped: nothing sounds until you continue (fg).')

    def resume() -> None:
        band.resume()
        view.say('Playing again.')

    told.look(pause, resume)
    band.look()
    view.show(band.snapshot)
    for key in view.pressed():
        if key == 'q':
            told.end('q')
        elif message := message_for_key(key, band.snapshot.get('values', {})):
            band.send(**message)
    for line in lines.wait(0):
        try:
            band.take(**from_line(line))
        except GenaudioError as error:
            view.say(str(error))
    if view.gone:
        told.end('the terminal is gone')


def run(args: argparse.Namespace) -> dict[str, int]:
    changes = parse_changes(args.set)
    preset = preset_of(args.preset, changes)
    view = View(terminal=False if args.no_view else None)
    learned = Learned(view.say)
    if args.forget:
        learned.forget(preset.name)
    until = time.monotonic() + args.seconds if args.seconds else None
    lines = LineInput() if view.has_keys or sys.stdin is None else reader_of(sys.stdin)
    with (
        SignalWatch() as told,
        LiveBand(
            args.preset, changes, name=args.name, folder=args.folder, save=True, osc=args.osc,
            panel=panel_address(args), listen=args.listen, reload=True, learned=learned, notify=view.say,
        ) as band,
    ):  # fmt: skip
        view.say(f'{preset["about.title"] or preset.name}: ports {", ".join(preset["ports.inputs"])} and '
                 f'{", ".join(preset["ports.outputs"])}. Ctrl-C ends.')  # fmt: skip
        if hasattr(os, 'sched_setscheduler') and not may_be_real_time():
            view.say(f'Notes may come late on a busy machine: {REAL_TIME_ADVICE}.')
        with view.running():
            while not told.ended and (until is None or time.monotonic() < until):
                _look(told, view, band, lines)
    return band.counts
