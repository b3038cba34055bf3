"""`genaudio-train prepare-font`: see HELP."""

import argparse
from pathlib import Path
from typing import Any

from genaudio_core.command_line import check_outputs
from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.files import make_folder

HELP = 'make a SoundFont of recorded notes, to train with'
KIT = 'drum kit'
EXAMPLE = "genaudio-train prepare-font 'electric bass=samples/my-bass' violin=samples/fiddle -o data/fonts/own.sf2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('instruments', nargs='+', metavar='NAME=FOLDER',
                        help="an instrument and its recordings, a note each, named by it: A2.wav; "
                             "'drum kit=FOLDER' has a folder or file for each drum, named by it")  # fmt: skip
    parser.add_argument('-o', '--out', type=Path, required=True, help='.sf2 file to make')


def run(args: argparse.Namespace) -> dict[str, Any]:
    from genaudio_core.training.sounds.lexicon import BY_NAME, PROGRAM_TO_CONCEPT
    from genaudio_core.training.sounds.recorded_font import read_instrument, read_kit, write_font

    make_folder(Path(args.out).parent)
    check_outputs(args, 'out')
    known = dict.fromkeys(PROGRAM_TO_CONCEPT.values())
    folders: dict[str, list[Path]] = {}
    for text in args.instruments:
        name, separator, folder = text.partition('=')
        if not separator or not folder:
            raise GenaudioError(f"'{text}' must be NAME=FOLDER, e.g. cello=samples/cello.")
        if name != KIT and name not in known:
            hint = did_you_mean(name, known) or f' Known: {", ".join(known)}.'
            raise GenaudioError(f"'{name}' is not an instrument of General MIDI.{hint}")
        if not Path(folder).is_dir():
            raise GenaudioError(f'{folder} is not a folder.')
        folders.setdefault(name, []).append(Path(folder))
        room = 1 if name == KIT else len(BY_NAME[name].programs)
        if len(folders[name]) > room:
            raise GenaudioError(f'General MIDI has {room} of {name}; put further folders into a second font.')
    presets, kit = {}, None
    for name, places in folders.items():
        if name == KIT:
            kit = read_kit(places[0])
            continue
        instruments = [read_instrument(place) for place in places]
        for number, program in enumerate(BY_NAME[name].programs):
            presets[program] = instruments[number % len(instruments)]
    write_font(presets, args.out, kit=kit)
    megabytes = round(args.out.stat().st_size / 1e6, 1)
    return {'font': str(args.out), 'presets': len(presets), 'drums': len(kit or {}), 'megabytes': megabytes}
