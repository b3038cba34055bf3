"""What a panel is told of a session: everything once, and what a full pipe has refused the next time."""

import pytest
from live_band import Stage, preset
from panel_stage import LOOP

from bridge.live import snapshot
from bridge.live.snapshot import Scenes
from bridge.midi.messages import note_off, note_on
from bridge.panel.notes import HELD, unpacked


class Told:
    """A session that a pianist plays to, and what a panel has got of it."""

    def __init__(self) -> None:
        parts = [{'instrument': name} for name in ('bass', 'drums', 'pad')]
        self.stage = Stage(preset('accompany', parts, music__takes=2))
        self.session = self.stage.session
        self.scenes = Scenes(self.session)
        self.heard, self.played, self.margins, self.takes = [], [], [], []
        self.bars = 0

    def play(self, bars: int, passes) -> None:
        """Play; `passes(n)` says whether the pipe takes the n-th scene."""
        for bar in range(self.bars, self.bars + bars):
            start = 2.0 * bar + 0.1
            notes = LOOP[bar % 4]
            score = [(start, note_on(0, n, 80)) for n in notes] + [(start + 1.9, note_off(0, n)) for n in notes]
            for step in range(1, 9):
                until = start + 0.25 * step
                self.stage.play([one for one in score if until - 0.25 <= one[0] < until], until)
                self.look(passes(8 * bar + step))
        self.bars += bars

    def look(self, takes: bool) -> dict:
        scene = self.scenes.make()
        if takes:
            self.scenes.told()
            self.heard += unpacked(scene['heard'])
            self.played += unpacked(scene['played'])
            self.margins += scene['margins']
            self.takes += [scene['take']] if 'take' in scene else []
        return scene


@pytest.mark.parametrize('nth', [1, 2, 7, 15])
def test_everything_is_told_once_however_often_the_pipe_is_full(nth):
    one = Told()
    one.play(8, lambda n: n % nth == 0)
    for _ in range(40):
        last = one.look(True)
    assert not last['heard'] and not last['played'] and not last['margins'] and 'take' not in last
    session = one.session
    keys = [(round(note.beat, 3), note.note) for note in session.heard if not note.held]
    assert sorted((beat, note) for beat, _, note, *_ in one.heard) == sorted(keys) and len(keys) >= 28
    assert len(one.played) == session.scheduler.played == len(one.stage.notes()) > 50
    assert sorted(note for _, _, note, *_ in one.played) == sorted(note for *_, note in one.stage.notes())
    numbers = [number for number, _, _ in session.deadlines.margins]
    assert len(one.margins) >= len(numbers) > 3 and one.margins[-len(numbers):] == [
        (line, margin) for _, line, margin in session.deadlines.margins
    ]  # fmt: skip
    beats = [line for line, _ in one.margins]
    assert beats == sorted(set(beats))


def test_each_take_of_the_last_answer_is_told_as_it_is_now():
    one = Told()
    one.play(6, lambda n: True)
    for _ in range(10):
        one.look(True)
    answer = one.session.takes.current
    assert answer is not None
    for take in (0, 1):
        told = [each for each in one.takes if each['answer'] == answer.request.id and each['number'] == take][-1]
        assert [(note[2], note[3]) for note in unpacked(told['notes'])] == [
            (note.note, note.velocity) for note in answer.notes(take)
        ]
        assert (told['chosen'], told['of'], told['end']) == (answer.take, 2, answer.end)
    before = len(one.takes)
    one.session.apply({'take': 2})
    one.look(True)
    one.look(True)
    assert [each['chosen'] for each in one.takes[before:]] == [1, 1]


def test_what_is_held_goes_on_and_memory_does_not_grow(monkeypatch):
    monkeypatch.setattr(snapshot, 'MOST_KEPT', 30)
    one = Told()
    one.play(24, lambda n: True)
    assert len(one.scenes._known) <= 30 and len(one.heard) == len(set(one.heard)) > 80
    start = 2.0 * one.bars + 0.1
    one.stage.play([(start, note_on(0, 60, 80))], start + 1.0)
    held = unpacked(one.look(True)['held'])
    assert [(note[2], note[5]) for note in held] == [(60, HELD)] and held[0][1] == pytest.approx(2.0, abs=0.1)
