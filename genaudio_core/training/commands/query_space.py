"""`genaudio-train query-space`: see HELP."""

import argparse
from pathlib import Path

HELP = 'Make the space that queries live in (needs the teacher), or what the encoders make of each label.'
EXAMPLE = 'genaudio-train query-space --recordings shared/data/audio -o runs/query/space.npz'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-o', '--out', type=Path, required=True, help='.npz to write')
    parser.add_argument('--recordings', type=Path, help='folder with a manifest.csv whose labels join the space')
    parser.add_argument('--sounds', type=Path,
                        help='instead: packed sounds, to collect label -> vectors for `fit clipsep --queries`')
    parser.add_argument('--run', type=Path, help='with --sounds: folder with space.npz and audio.safetensors')
    parser.add_argument('--per-label', type=int, default=24)


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.errors import GenaudioError
    from genaudio_core.files import atomic_write, check_writable

    check_writable(args.out)
    if args.sounds is None:
        from genaudio_core.training.query_space import QuerySpace
        from genaudio_core.training.recordings import read_manifest

        labels = sorted({r.label for r in read_manifest(args.recordings)}) if args.recordings else []
        space = QuerySpace.build(labels)
        space.save(args.out)
        return {'space': str(args.out), 'concepts': len(space.names)}
    if args.run is None:
        raise GenaudioError('Give --run FOLDER with space.npz and audio.safetensors.')
    import numpy as np

    from genaudio_core.training.query_encoder import audio_vectors

    table = audio_vectors(args.run, args.sounds, args.per_label)
    with atomic_write(args.out) as temporary, open(temporary, 'wb') as file:
        np.savez(file, **table)  # pyright: ignore[reportArgumentType]
    return {'queries': str(args.out), 'labels': len(table)}
