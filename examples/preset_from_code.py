"""A preset from code: a trio that answers in D minor, checked, changed while it plays, and heard without any set-up.
Run: python examples/preset_from_code.py trio.mid [MODEL]  (MODEL 'rules' needs no model)"""

import sys

import bridge
import genaudio_core as ga

TEMPO = 100.0  # BPM
PRESET = {  # as in a .toml file; every setting is in bridge.PARAMETERS
    'player': {'mode': 'respond', 'bars_heard': 1, 'bars_answered': 1},
    'music': {'key': 'D minor', 'temperature': 0.9, 'seed': 4},
    'parts': [{'instrument': name} for name in ('violin', 'cello', 'piano')],
}


def main(target: str, model: str = '') -> None:
    try:
        bridge.parse_preset({'music': {'temprature': 0.9}})
    except ga.GenaudioError as error:
        print(error)  # a typo is answered with the nearest right word
    preset = bridge.parse_preset(PRESET, 'trio', changes={'music.model': model})
    melody = [ga.Note(beat, 0.9, note, 80) for beat, note in ((0, 62), (1, 65), (2, 69), (3, 74), (8, 69), (9, 67))]
    part = bridge.clock_part(0, 17, TEMPO) + bridge.note_part(melody, 0, TEMPO)
    half = 8 * 60 / TEMPO  # seconds
    with bridge.InProcessBand(preset, notify=print) as band:
        band.play([item for item in part if item[0] < half], half)
        band.session.set('music.density', 0.9)  # a live setting
        band.play([(at - half, message) for at, message in part if at >= half], half)
        trio = band.score(TEMPO)
    trio.save(target)
    print({track.instrument: len(track.notes) for track in trio.tracks})


if __name__ == '__main__':
    main(*sys.argv[1:])
