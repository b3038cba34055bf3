"""A mode of your own: it answers with one bar whenever the keys have been silent for a beat.
Run: python examples/own_mode.py phrase.mid answer.mid [MODEL]  (MODEL 'rules' needs no model)"""

import sys

import bridge
import genaudio_core as ga

TEMPO = 120.0  # BPM


class AfterAPause(bridge.BaseMode):
    """The session calls `on_note` for each key and `step` a few hundred times a second; beats are quarter notes."""

    last = None  # beat of the newest key that has not been answered

    def on_note(self, event: bridge.NoteOn, beat: float) -> None:
        self.last = beat
        self.band.drop(beat, release=True)  # you play again: the band gives way

    def step(self, now: float, beat: float) -> None:
        if self.last is not None and beat > self.last + 1:
            start = self.band.transport.next_bar(self.band.transport.beat_at(now + self.band.lead()))
            self.band.ask(start, start + self.band.transport.bar)
            self.last = None


def main(source: str, target: str, model: str = '') -> None:
    notes = sorted(note for track in ga.read_midi(source).tracks for note in track.notes)
    end = max(note.beat + note.duration for note in notes) + 8  # two bars more, for the last answer
    part = bridge.clock_part(0, end, TEMPO) + bridge.note_part(notes, 0, TEMPO)
    with bridge.InProcessBand('duet', {'music.model': model}, mode=AfterAPause, notify=print) as band:
        band.play(part, end * 60 / TEMPO)
        answer = band.score(TEMPO)
    answer.save(target)
    print(f'{answer.n_notes} notes from beat {min((n.beat for n in answer.tracks[0].notes), default=0):g}')


if __name__ == '__main__':
    main(*sys.argv[1:])
