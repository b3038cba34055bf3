"""A musician of your own: it answers with what you played in the bars before, an octave up and softer.
Run: python examples/own_musician.py phrase.mid answer.mid"""

import sys

import bridge
import genaudio_core as ga

TEMPO = 120.0  # BPM


class Echo(bridge.Musician):
    """The session tells it every note, and asks ahead of time; beats are quarter notes."""

    def __init__(self) -> None:
        self.heard: dict[int, bridge.HeardNote] = {}

    def hear(self, notes):
        self.heard |= {note.id: note for note in notes}  # a note is told again when its length is known

    def answer(self, request: bridge.Request):
        length = request.end - request.start
        before = [n for n in self.heard.values() if request.start - length <= n.beat < request.start]
        before.sort(key=lambda n: n.beat)
        echo = [bridge.PlannedNote(n.beat + length, n.duration, n.note + 12, n.velocity // 2 + 1, 0) for n in before]
        for take in range(request.takes):
            yield bridge.PlannedMusic(request.id, take, tuple(echo), request.end, done=True)


def main(source: str, target: str) -> None:
    notes = sorted(note for track in ga.read_midi(source).tracks for note in track.notes)
    end = notes[-1].beat + 12  # with two bars more, for the last answer
    part = bridge.clock_part(0, end, TEMPO) + bridge.note_part(notes, 0, TEMPO)
    with bridge.InProcessBand('duet', musician=Echo(), notify=print) as band:
        band.play(part, end * 60 / TEMPO)
        band.score(TEMPO).save(target)


if __name__ == '__main__':
    main(*sys.argv[1:])
