"""Continue a MIDI file three times, each take another way, and print where the new part begins.
Run: python examples/continue_phrase.py phrase.mid song.mid [MODEL]  (writes song-1.mid, song-2.mid, song-3.mid)"""

import sys
from pathlib import Path

import genaudio_core as ga


def main(source: str, target: str, model_name: str = 'live') -> None:
    model = ga.load(model_name)
    phrase = ga.read_midi(source)
    for line in phrase.warnings:  # what of a damaged file could not be read
        print(line)
    for seed in (1, 2, 3):
        song = model.continue_(phrase, beats=8, temperature=0.9, seed=seed)
        path = Path(target)
        path = path.with_stem(f'{path.stem}-{seed}')
        song.save(path)
        new = song.n_notes - phrase.n_notes
        print(f'{path.name}: {new} new notes after beat {phrase.end:g}, {song.seconds_at(song.end):.1f} s in all')


if __name__ == '__main__':
    main(*sys.argv[1:])
