"""What the inputs and outputs of each kind of file are: it goes into every card, and docs/onnx.md says the same."""

from typing import Any

from genaudio_core.inference.model_card import ModelCard
from genaudio_core.music.layouts import DURATIONS, METERS, TYPES, VELOCITY_BIN
from genaudio_core.score.instruments import CODE_TO_PROGRAM, INSTRUMENTS

READING: dict[str, dict[str, str]] = {
    'decoder': {
        'field': '-1: take events in; 0, 1, ..: logits of that column of the next event',
        'events': 'codes (takes, time, fields), columns in the order of `fields`; 0 is undefined but in type',
        'index': 'place of each event in the sequence, from 0',
        'seqlens': 'events in the cache after this call, less one, for each take',
        'total': 'events in the cache after this call',
        'step': 'onset in steps of 1/12 quarter since the first event; the header has 0',
        'phase': 'steps since the bar line // 6, at most 47; 0 before the first meter event',
        'hidden_in': '`hidden` of the last event taken in; zeros while taking in',
        'chosen': 'the next event as far as it is chosen, in the order of `order`',
        'chosen_phase': 'phase of the next event once its beat and position are chosen, before that anything',
        'past_key_*, past_value_*': 'the cache: zeros first, then what came out as present_*; `total` rows of it count',
        'hidden': 'state behind each event taken in',
        'logits': 'of the field that was asked for, not normalised',
        'present_key_*, present_value_*': 'the cache to go on with, after field -1',
    },
    'arranger': {
        'pitch': 'MIDI notes (notes,), by onset, pitch and length',
        'phase': 'place in the beat, in twelfths',
        'causal': 'what is known at the key: the 12 numbers of genaudio_core/music/part_features.py',
        'whole': 'what lengths and later notes tell: 10 numbers; of no matter to live_scores',
        'instrument': 'code of each part',
        'rank': "which of its instrument's parts (0 to 3, the highest first) + 4 (how many, at most 4, less 1)",
        'numbers': 'lowest and highest note / 64 - 1, voices / 4 (at most 1), how many parts lie lower, higher / 4',
        'state': 'of the live reading: zeros first, then state_out',
        'live_scores': 'of each note on each part, by what came before; not normalised',
        'whole_scores': 'the same by the whole piece',
        'state_out': 'to go on with',
    },
    'arranger, published': {
        'time': 'onset in 24ths of a beat from the beginning of the piece, rising',
        'pitch': 'MIDI notes and 1',
        'duration': 'in 24ths of a beat; of no matter to networks without lengths',
        'hint': 'of each part of `config`: -1 before its first note, 0 at it, 1 after it; 0 if unknown',
        'scores': 'of each note on no part and on each part; not normalised',
    },
    'clipsep': {
        'spectrum': "energies of `bands` bands (front 'bands') or magnitudes of bins (front 'magnitude') of one window",
        'query': 'vectors, one a sound; of LabelSep numbers of labels; PIT has none',
        'masks': 'in 0..1, one a query; raise them to the power mask_power',
    },
    'query-text': {
        'ids': 'numbers of the features of the words, each once',
        'vector': 'of length one',
    },
    'query-audio': {
        'energy': 'energies of bands, windows of 64 frames, as the separator reads them',
        'vector': 'of each window, of length one',
    },
    'stream_separator': {
        'spectrum': 'real and imaginary part of the two channels (2, 2, bins) of the newest frame',
        'query': 'vectors, one a sound',
        'trunk_*, asked_*': 'what it remembers: zeros first, then next_*',
        'masks': 'in 0..1, one a query, of this frame',
        'next_trunk_*, next_asked_*': 'to go on with',
    },
    'synth-denoiser': {
        'x': 'noisy patches of a log-mel spectrogram, as `codec` packs it',
        't': 'time, 1 is noise and 0 clean',
        'query': 'vectors of length one',
        'kind': '0: nothing is asked, 1: as heard, 2: words',
        'start': '1: the window begins with the onset',
        'v': 'alpha noise - sigma clean',
    },
    'synth-prior': {
        'z': 'noisy vectors of length about the root of their size',
        't': 'time, 1 is noise and 0 clean',
        'text': 'vectors of words, times the root of their size',
        'v': 'alpha noise - sigma clean',
    },
    'synth-vocoder': {
        'mel': 'natural logarithms of magnitudes (1, frames, 96) of a log-mel spectrogram',
        'real': 'of the spectrum, bins above the last one are 0',
        'imaginary': 'the same',
    },
}  # fmt: skip
"""Kind of graph -> name of an input or output -> what it is."""


def reading(card: ModelCard) -> dict[str, Any]:
    """For a card: what the inputs and outputs of its graph are, and the tables that its codes mean."""
    published = card.details.get('config', {}).get('network') == 'published'
    found: dict[str, Any] = {'inputs_and_outputs': READING[f'{card.kind}, published' if published else card.kind]}
    if published:
        return found
    if card.kind in ('decoder', 'arranger'):
        found['instruments'] = [[name, CODE_TO_PROGRAM[code]] for code, name in enumerate(INSTRUMENTS, 1)]
    if card.kind == 'decoder':
        sizes = dict(zip(card.layout['fields'], card.layout['sizes'], strict=True))
        found |= {'types': list(TYPES[: sizes['type']]), 'durations': DURATIONS.tolist()}
        if 'meter' in sizes:
            found['meters'] = [list(meter) for meter in METERS]
        if 'velocity' in sizes:
            found['velocity'] = f'{VELOCITY_BIN} (code - 1) + {VELOCITY_BIN // 2}'
    return found
