"""`genaudio-train calibrate`: see HELP."""

import argparse
from pathlib import Path

from genaudio_core.command_line import seed, whole

HELP = 'Choose the sharpness of the masks of an offline separator on held-out mixtures.'
EXAMPLE = 'genaudio-train calibrate runs/clipsep --sounds data/sounds --space runs/query/space.npz'
SECONDS = 6.0  # of a mixture
BATCH = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'run', type=Path, help='run folder of genaudio-train fit clipsep; the choice is saved in its best.safetensors'
    )
    parser.add_argument('--sounds', type=Path, required=True, help='folder made by prepare-sounds')
    parser.add_argument('--space', type=Path, required=True, help='query space (.npz)')
    parser.add_argument('-n', '--number', type=whole('--number', 1, 1_000_000), default=96,
                        help='mixtures of two instruments (split: valid)')  # fmt: skip
    parser.add_argument('--seed', type=seed(), default=500)


def run(args: argparse.Namespace) -> dict:
    import random

    import torch

    from genaudio_core.analysis.separation import only_instruments
    from genaudio_core.errors import GenaudioError
    from genaudio_core.training.fit.clipsep import POWERS, Features, QueryBook, improvement_at, load_small, make_batch
    from genaudio_core.training.loops.checkpoints import read_checkpoint, write_checkpoint
    from genaudio_core.training.mixtures.solo_mixtures import MixtureConfig, MixtureMaker
    from genaudio_core.training.queries.space import QuerySpace
    from genaudio_core.training.sounds.packed_clips import SoundSet

    path = args.run / 'best.safetensors'
    model, _ = load_small(path)
    model.eval()
    sounds = SoundSet(args.sounds)
    mixer = MixtureMaker(sounds, 'valid', MixtureConfig(seconds=SECONDS, noise=0.0, related=0.0))
    only_instruments(mixer)
    if len(mixer.labels) < 2:
        raise GenaudioError(f"Too few instruments in the split 'valid' of {args.sounds} to choose by.")
    config = model.config
    frames = int(SECONDS * config.sample_rate / config.hop_length)
    frames -= frames % 64  # CLIPSep-small halves them at every level
    book, features = QueryBook(QuerySpace.load(args.space), spread=0.0), Features(config)
    found = {power: 0.0 for power in POWERS}
    rounds = max(1, -(-args.number // BATCH))
    for i in range(rounds):
        batch = make_batch(mixer, features, book, random.Random(args.seed + i), BATCH, frames, n_queries=2,
                           share_absent=0.0, n_sources=2)  # fmt: skip
        with torch.inference_mode():
            masks = model(batch['energy'], batch['query'])  # once for all powers
        for power in POWERS:
            found[power] += float(improvement_at(masks, batch, power).mean()) / rounds
    best = max(found, key=lambda power: found[power])
    weights, plain, info = read_checkpoint(path)
    write_checkpoint(path, weights, plain | {'mask_power': best}, info)
    return {'mask_power': best, 'si_sdri': {f'{power:g}': round(gain, 3) for power, gain in found.items()}}
