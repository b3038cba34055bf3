"""Files of a hundred thousand notes and a million events: the work grows with the file, not with its square."""

from typing import Any

import mido
import pytest

from bridge.commands.offline.infill import bar_range
from genaudio_core.music import piano_roll
from genaudio_core.score import joining
from genaudio_core.score.notes import Note, Score, Track
from genaudio_core.score.reading import midi_bytes, read_midi
from genaudio_core.score.smf import Event, File, TrackChunk, build


@pytest.fixture
def ends(monkeypatch) -> list:
    """One entry each time that all notes of a score are looked at for its end."""
    looked: list = []
    usual: Any = Score.end.fget
    monkeypatch.setattr(Score, 'end', property(lambda score: looked.append(1) or usual(score)))
    return looked


def long_score(n: int) -> Score:
    return read_midi(midi_bytes(Score([Track(notes=[Note(i / 4, 0.2, 40 + i % 40) for i in range(n)])])))


def test_bars_are_found_without_walking_all_notes_for_each(ends):
    assert bar_range(long_score(4000), '240-241') == (956.0, 964.0)
    assert len(ends) < 5


def test_a_picture_walks_the_notes_once_and_has_no_patch_for_each(ends, tmp_path, monkeypatch):
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

    made = []
    usual = Patch.__init__
    monkeypatch.setattr(Patch, '__init__', lambda *args, **options: made.append(1) or usual(*args, **options))
    collections = []
    add = Axes.add_collection
    monkeypatch.setattr(
        Axes, 'add_collection', lambda self, item, **o: collections.append(item) or add(self, item, **o)
    )
    piano_roll.draw_made(tmp_path / 'roll.png', long_score(2000))
    assert len(ends) < 5 and len(made) < 1000
    assert [len(item.get_paths()) for item in collections] == [2000]


def test_controllers_are_told_apart_once_and_stay_messages_of_their_own(monkeypatch):
    told = []
    usual = mido.Message.from_bytes
    monkeypatch.setattr(mido.Message, 'from_bytes', lambda data: told.append(1) or usual(data))
    bends = [Event(i, bytes((0xE0, i & 1, 64))) for i in range(5000)]
    file = File(tracks=[TrackChunk([Event(0, b'\x90\x3c\x50'), *bends, Event(5000, b'\x80\x3c\0')], 5000)])
    score = read_midi(build(file))
    others = [message for _, message in score.tracks[0].others]
    assert len(told) == 2 and len({id(message) for message in others}) == 5000
    assert others[1] == usual(b'\xe0\x01\x40') and others[1].copy(pitch=0).pitch == 0
    assert midi_bytes(score) == build(file)


def test_notes_join_a_file_of_many_tracks_without_comparing_all_with_all(monkeypatch):
    asked = []
    usual = joining._channel
    monkeypatch.setattr(joining, '_channel', lambda track: asked.append(1) or usual(track))
    score = Score([Track(name=str(i), notes=[Note(0.0, 1.0, 60)]) for i in range(400)])
    count = joining.append_notes(score.copy(), [Track(notes=[Note(2.0, 1.0, 60)])], 4.0, like=score)
    assert count == 1 and len(asked) < 3 * 400
