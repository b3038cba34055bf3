"""Write bass and drums beside a melody, in its key where that is told, and list who plays what.
Run: python examples/accompany_melody.py melody.mid band.mid ["D minor"] [MODEL]"""

import sys

import genaudio_core as ga


def main(source: str, target: str, key: str = '', model_name: str = 'live') -> None:
    model = ga.load(model_name)
    melody = ga.read_midi(source)
    band = model.accompany(melody, 'electric bass, drums', key=key or None, density=0.5, seed=1)
    band.save(target)
    for track in band.tracks:
        notes = [note.note for note in track.notes]
        if notes:
            print(f'{track.instrument}: {len(notes)} notes from {min(notes)} to {max(notes)}')
    for line in band.remarks:  # a wish that could not be met
        print(line)


if __name__ == '__main__':
    main(*sys.argv[1:])
