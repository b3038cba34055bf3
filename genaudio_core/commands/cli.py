"""The command `genaudio-train`."""

import sys
from collections.abc import Sequence

from genaudio_core.entry import Group, names_of, run_command

ABOUT = 'Prepare data, train, evaluate and study the models.'
GROUPS = (
    Group(
        'data',
        {
            'prepare': 'make one compact data file from folders of scores',
            'write-bands': 'write band music by rule, with its chords, to train on',
            'prepare-sounds': 'render scores and pack recordings: labelled sounds to train separators on',
            'prepare-font': 'make a SoundFont of recorded notes, to train with',
            'prepare-bands': 'render windows of MIDI bands as stems, to train the live separator on',
            'prepare-synthesis': 'pack spectrograms of single sounds, to train synthesis on',
            'query-space': 'make the space that queries live in, and what the encoders make of each label',
        },
        'genaudio-train prepare ~/scores -o data/scores.safetensors',
    ),
    Group(
        'training',
        {
            'fit': 'train a model from a data file; resumes where it stopped',
            'finetune': 'make a personal model from a handful of your own files',
            'calibrate': 'choose how hard the masks of an offline separator are, on held-out mixtures',
            'release': 'pack the best weights of a run, to be exported and shipped',
        },
        'genaudio-train finetune --files my/*.mid --out runs/mine --minutes 10',
    ),
    Group(
        'evaluation',
        {
            'evaluate': 'measure a trained model against held-out music',
            'evaluate-arranger': 'measure how well an arranger tells known parts, beside the baselines of its paper',
            'evaluate-band': 'measure how a band plays together, compared with real and written music',
            'evaluate-separation': 'measure a separator on unseen mixtures: SDR, SIR, SAR, SI-SDR',
            'evaluate-stems': 'measure both separators on unseen bands and real songs',
            'evaluate-synthesis': 'measure made sounds: Frechet distance, query match, samplers, vocoders',
            'compare-separation': 'train CLIPSep-small and its baselines and measure them in one table',
            'attention': 'draw what the attention heads of a music model look at',
        },
        'genaudio-train evaluate live --data data/scores.safetensors --samples 50',
    ),
)
COMMANDS = names_of(GROUPS)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command('genaudio-train', ABOUT, 'genaudio_core.commands', GROUPS, argv)


if __name__ == '__main__':
    sys.exit(main())
