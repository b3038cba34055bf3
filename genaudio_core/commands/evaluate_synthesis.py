"""`genaudio-train evaluate-synthesis`: see HELP."""

import argparse
import json
from pathlib import Path

import numpy as np

from genaudio_core.command_line import check_outputs, number, say, seed, whole
from genaudio_core.errors import GenaudioError
from genaudio_core.progress import counting

HELP = 'measure made sounds against held-out ones: Frechet distance, query match, samplers, vocoders, a figure'
EXAMPLE = (
    'genaudio-train evaluate-synthesis --data data/synthesis.safetensors --sounds data/sounds '
    '--figure docs/synthesis.png -o docs/synthesis.json'
)
GRID = ('snare drum', 'kick drum', 'hi-hat', 'drums', 'piano', 'violin', 'electric bass', 'flute', 'rain', 'dog bark')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--data', type=Path, required=True, help='made by prepare-synthesis')
    parser.add_argument('--model', type=Path, help='.onnx file of a denoiser (default: the bundled one)')
    parser.add_argument('--ways', default='IQ,ZS,PD,words', help='ways of asking, comma-separated')
    parser.add_argument('--per-label', type=whole('--per-label', 1, 100_000), default=2,
                        help='sounds of each label and way')  # fmt: skip
    parser.add_argument('--guidance', type=number('--guidance', 0, 20), default=3.0)
    parser.add_argument('--steps', type=whole('--steps', 2, 500), help='of the sampler')
    parser.add_argument('--seed', type=seed(), default=1)
    parser.add_argument('--samplers', type=whole('--samplers', 1, 100_000), metavar='N',
                        help='also compare samplers, on N sounds')  # fmt: skip
    parser.add_argument('--sounds', type=Path, help='folder made by prepare-sounds: also compare vocoders')
    parser.add_argument('--figure', type=Path, metavar='PNG', help='draw a grid of spectrograms')
    parser.add_argument('--no-table', action='store_true', help='leave out the long table of ways of asking')
    parser.add_argument('-o', '--out', type=Path, help='.json to write')


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.analysis import synthesis as analysis
    from genaudio_core.files import atomic_write
    from genaudio_core.query.audio_encoder import AudioEncoder
    from genaudio_core.query.text_encoder import TextEncoder
    from genaudio_core.synthesis.synthesizer import Synthesizer
    from genaudio_core.training.sounds.packed_mels import SynthesisData

    ways = [way for way in args.ways.split(',') if way]
    if unknown := [way for way in ways if way not in analysis.WAYS]:
        raise GenaudioError(f"'{unknown[0]}' is not a way of asking; there are: {', '.join(analysis.WAYS)}.")
    check_outputs(args, 'out', 'figure')
    data = SynthesisData(args.data)
    synthesizer = Synthesizer.load(args.model, threads=1)
    text = TextEncoder.load()
    concepts = np.stack([text.encode(name) for name in data.names])
    result: dict = {
        'model': synthesizer.card.sha256[:12], 'trained': synthesizer.card.details.get('trained'),
        'guidance': args.guidance, 'seed': args.seed,
        'embedding': 'our own query-audio encoder and mel statistics; not CLAP, not VGGish',
    }  # fmt: skip
    if not args.no_table:
        with counting() as progress:
            table = analysis.evaluate(
                synthesizer, AudioEncoder.load(), concepts, data, ways=ways, per_label=args.per_label,
                guidance=args.guidance, steps=args.steps, seed=args.seed, progress=progress,
            )  # fmt: skip
        result['ways'] = table
        for line in analysis.as_table(table):
            say(line)
    if args.samplers:
        with counting() as progress:
            result['samplers'] = analysis.study_sampler(
                synthesizer, concepts, data, sounds=args.samplers, guidance=args.guidance, progress=progress
            )
    if args.sounds:
        result['vocoders'] = vocoders(synthesizer, args.sounds)
    if args.figure:
        analysis.draw_grid(synthesizer, concepts, data, GRID, args.figure, guidance=args.guidance, seed=args.seed)
        result['figure'] = str(args.figure)
    if args.out:
        with atomic_write(args.out) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + '\n')
    return result


def vocoders(synthesizer, folder: Path, n: int = 24) -> dict:
    """Compare ways from mel to sound on `n` held-out clips of two seconds, of as many labels."""
    import random

    from genaudio_core.analysis.synthesis import study_vocoder
    from genaudio_core.synthesis.synthesizer import Vocoder
    from genaudio_core.training.sounds.packed_clips import SoundSet

    sounds = SoundSet(folder)
    rng = random.Random(5)
    by_label = sounds.by_label(c for c in sounds.select(split='test', min_seconds=2.2) if c.sample_rate == 44100)
    clips = []
    for label in sorted(by_label):
        clip = rng.choice(by_label[label])
        audio = sounds.read(clip, rng.randrange(clip.n_samples - 88200), 88_200).mean(axis=0)
        if np.abs(audio).max() > 0.01:
            clips.append(audio)
    rng.shuffle(clips)
    network = synthesizer.vocoder
    ways = {f'Griffin-Lim, {rounds} rounds': Vocoder(refine=rounds).sound for rounds in (12, 48)}

    def with_rounds(rounds: int):
        def sound(mel: np.ndarray, n_samples: int) -> np.ndarray:
            before, network.refine = network.refine, rounds
            try:
                return network.sound(mel, n_samples)
            finally:
                network.refine = before

        return sound

    ways |= {f'vocoder, {rounds} rounds': with_rounds(rounds) for rounds in (0, 4, 12, 32)}
    return study_vocoder(ways, clips[:n])
