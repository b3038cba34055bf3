"""`genaudio rehearse`: a preset against a written part, without a DAW.

The file's tracks and the band's come out as separate tracks. Tempo and meter are those of the file (the meter of its
first bar, unless --set says another).
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from bridge.commands._preset import add_preset_arguments, settings_listed
from bridge.commands.offline import _scores as generating
from genaudio_core.command_line import notice, number, show, whole

HELP = 'Play a preset against a MIDI file without a DAW: the band of `genaudio live`, on a simulated clock.'
EXAMPLE = 'genaudio rehearse band chords.mid -o band.mid --seed 1 --set density=0.7 --json'
DETAILS = settings_listed
_METER = {'transport.beats_per_bar', 'transport.beat_unit'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_preset_arguments(parser)
    parser.add_argument('input', type=Path, help='MIDI file: what you play')
    parser.add_argument('-o', '--out', type=Path, required=True, help='MIDI file to write; - writes it to stdout')
    parser.add_argument('--picture', type=Path, help='also draw a piano roll (.png, .svg or .pdf)')
    parser.add_argument('--seed', type=whole('--seed'), help="the same seed makes the same music (default: preset's)")
    parser.add_argument('--plan-ms', type=number('--plan-ms', 0, 60_000, unit='ms'), default=30.0,
                        help='simulated time that each plan of the band takes (default: 30)')  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    from bridge.live.preset_rehearsal import fitted, rehearse
    from bridge.musicians.choose import make_musician, model_path
    from bridge.settings.band_preset import find_preset, load_preset
    from bridge.settings.parameters import find_parameter, parse_changes

    began = time.monotonic()
    generating.check_output(args)
    changes = parse_changes(args.set)
    if args.seed is not None:
        changes['music.seed'] = args.seed
    preset = load_preset(find_preset(args.preset), changes)
    score = generating.read(args.input)
    own_meter = bool(_METER & {find_parameter(name)[0] for name in changes})
    preset = fitted(preset, score, str(args.input), own_meter=own_meter)
    if len(score.meters) > 1 and not own_meter:
        beat = score.meters[1].beat
        notice(f'{args.input} changes its meter at beat {beat:g}; the band keeps that of the first bar, as live.')
    model = preset['music.model']
    made = rehearse(preset, score, make_musician(model), plan_seconds=args.plan_ms / 1000)
    if made.silent:
        notice(f'{" and ".join(made.silent)} {"has" if len(made.silent) == 1 else "have"} nothing to play.')
    generating.write(args.out, made.score)
    if args.picture:
        from genaudio_core.music.piano_roll import bar_lines, draw

        draw(args.picture, made.parts, title=f'{preset.name}: {args.input.name}', bars=bar_lines(made.score))
    meter = f'{preset["transport.beats_per_bar"]}/{preset["transport.beat_unit"]}'
    result = {
        'preset': preset.name, 'mode': preset['player.mode'], **made.figures, 'silent': list(made.silent),
        'tempo': round(score.tempos[0].tempo, 3), 'meter': meter, 'plan_ms': args.plan_ms,
        'seconds': round(time.monotonic() - began, 3), 'model': str(model_path(model) or 'rules'),
        'seed': preset['music.seed'], 'out': str(args.out),
    }  # fmt: skip
    if args.out == generating.STDOUT:
        show(result, args.json, sys.stderr)
        return None
    return result
