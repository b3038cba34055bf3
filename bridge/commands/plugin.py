"""``genaudio plugin``: the plug-ins for a DAW, put where it finds them, and told what their list does not hold."""

import argparse
from pathlib import Path
from typing import Any

from genaudio_core.command_line import whole
from genaudio_core.errors import GenaudioError

HELP = 'install the plug-ins for a DAW (VST3, CLAP, LV2), or remove them'
EXAMPLE = 'genaudio plugin install'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'what', choices=('install', 'uninstall', 'status', 'query', 'chords', 'preset', 'takes'),
        help='install: build (with g++ and DPF) and put them into ~/.vst3, ~/.clap and ~/.lv2; status: what is there, '
        'and whether it loads; of the plug-ins that play: query: give a stem words of your own; chords: give the band '
        'a chord chart; preset: give it a preset file of your own; takes: write what was kept into a folder',
    )  # fmt: skip
    parser.add_argument(
        'words', nargs='?', default='',
        help='"0.7 violin + 0.3 flute", "C | Am D7 | G" (empty: none), the preset file, or the folder',
    )  # fmt: skip
    parser.add_argument('--stem', type=whole('--stem', 1, 4), default=1, metavar='N', help='for query: 1 to 4')
    parser.add_argument('--to', type=Path, metavar='DIR', help='a folder instead of the home folder')


def run(args: argparse.Namespace) -> dict[str, Any]:
    from bridge.daw import installing, meeting_place, server

    if args.what == 'query':
        if not args.words.strip():
            raise GenaudioError('Say what to listen for, such as: genaudio plugin query "hand claps" --stem 2')
        told = server.say_to_plugins({'set_texts': 1, f'text{args.stem}': args.words.strip()})
        return {'plugins': told, f'stem {args.stem}': args.words.strip(), 'heard where': "its query is 'own words'"}
    if args.what in ('chords', 'preset', 'takes'):
        return {args.what: args.words, 'plugins': server.say_to_plugins(_for_the_band(args.what, args.words))}
    if args.words:
        raise GenaudioError(f"'{args.words}': only query, chords, preset and takes have more to say.")
    if args.what == 'install':
        return {'installed': [str(path) for path in installing.install(args.to)], 'engine': str(installing.record())}
    if args.what == 'uninstall':
        return {'removed': [str(path) for path in installing.uninstall(args.to)]}
    return {
        'installed': {str(path): installing.why_not_loaded(path) or 'ok' for path in installing.installed(args.to)},
        'engine': str(installing.record()) if installing.record().exists() else '',
        'running': meeting_place.discovery(),
    }


def _for_the_band(what: str, words: str) -> dict[str, Any]:
    """The message to the bands that play, checked first: an error belongs here, where a person reads it."""
    from bridge.settings.band_preset import load_preset
    from bridge.settings.parameters import PARAMETERS
    from genaudio_core.files import make_folder

    if what == 'chords':
        PARAMETERS['music.chords'].check('music.chords', words)
        return {'set_chords': words}
    if not words:
        raise GenaudioError(f'Say which {"preset file" if what == "preset" else "folder"}: genaudio plugin {what} PATH')
    if what == 'preset':
        load_preset(words)
        return {'set_preset': Path(words).read_text(encoding='utf-8')}
    return {'write_takes': str(make_folder(Path(words)).resolve())}
