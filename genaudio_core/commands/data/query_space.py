"""`genaudio-train query-space`: see HELP."""

import argparse
from pathlib import Path

from genaudio_core.command_line import check_outputs, whole

HELP = 'Make the query space: ours (needs the teacher) or that of your CLIP or CLAP.'
EXAMPLE = """genaudio-train query-space --recordings shared/data/audio -o runs/query/space.npz
  genaudio-train query-space --encoder clip-vit-base-patch32 --own mine -o clip.npz --variants clip-variants.npz"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-o', '--out', type=Path, required=True, help='.npz to write')
    parser.add_argument('--recordings', type=Path, help='folder with a manifest.csv whose labels join the space')
    parser.add_argument(
        '--sounds', type=Path, help='instead: packed sounds, to collect label -> vectors for `fit clipsep --queries`'
    )
    parser.add_argument('--space', type=Path, help='with --sounds: the space (.npz) that --run was trained in')
    parser.add_argument('--run', type=Path, help='with --sounds: run folder of genaudio-train fit query-audio')
    parser.add_argument('--per-label', type=whole('--per-label', 1, 100_000), default=24)
    parser.add_argument(
        '--encoder',
        type=Path,
        metavar='WEIGHTS',
        help='instead: your own CLIP or CLAP, a file of open_clip or a folder of transformers',
    )
    parser.add_argument('--encoder-model', default='ViT-B-32', help="open_clip's name of the model in that file")
    parser.add_argument(
        '--own',
        type=Path,
        nargs='+',
        default=[],
        help='with --encoder: folders of pictures, videos or recordings, in folders named after sounds',
    )
    parser.add_argument('--variants', type=Path, help='with --encoder: .npz to write for `fit clipsep --queries`')


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.errors import GenaudioError
    from genaudio_core.files import atomic_write

    check_outputs(args, 'out', 'variants')
    if args.encoder is not None:
        return _own(args)
    if args.sounds is None:
        from genaudio_core.training.queries.space import QuerySpace
        from genaudio_core.training.sounds.recordings import read_manifest

        labels = sorted({r.label for r in read_manifest(args.recordings)}) if args.recordings else []
        space = QuerySpace.build(labels)
        space.save(args.out)
        return {'space': str(args.out), 'concepts': len(space.names)}
    if args.run is None or args.space is None:
        raise GenaudioError('Give --run FOLDER, of genaudio-train fit query-audio, and --space FILE with it.')
    import numpy as np

    from genaudio_core.training.queries.audio_encoder import audio_vectors
    from genaudio_core.training.queries.space import QuerySpace

    checkpoint = args.run / 'best.safetensors'
    table = audio_vectors(checkpoint, QuerySpace.load(args.space), args.sounds, args.per_label)
    with atomic_write(args.out) as temporary, open(temporary, 'wb') as file:
        np.savez(file, **table)  # pyright: ignore[reportArgumentType]
    return {'queries': str(args.out), 'labels': len(table)}


def _own(args: argparse.Namespace) -> dict:
    import numpy as np

    from genaudio_core.command_line import notice
    from genaudio_core.files import atomic_write
    from genaudio_core.query.own_encoder import EncoderProcess
    from genaudio_core.training.queries.own_space import build_own_space

    space, variants = build_own_space(EncoderProcess(args.encoder, args.encoder_model), args.own, notice)
    space.save(args.out)
    if args.variants:
        with atomic_write(args.variants) as temporary, open(temporary, 'wb') as file:
            np.savez(file, **variants)  # pyright: ignore[reportArgumentType]
    assert space.queries is not None
    return {'space': str(args.out), 'encoder': space.queries['encoder'], 'dim': space.dim,
            'variants': sum(map(len, variants.values()))}  # fmt: skip
