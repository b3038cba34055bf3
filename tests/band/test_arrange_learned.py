"""Mode arrange with the bundled model: one note for each solo part of a chord, ends that find their notes, and rules
where the model is late.
"""

import pytest
from live_band import Stage, check_no_hanging, preset

from bridge.band import arrange
from bridge.live.in_process import InProcessBand
from bridge.midi.messages import note_off, note_on
from bridge.musicians.rule_musician import FallbackMusician
from genaudio_core.arranging.part_model import PartModel
from genaudio_core.files import find_model

PARTS = [{'instrument': name} for name in ('violin', 'violin', 'viola', 'cello')]
HYMN = [(67, 62, 59, 43), (67, 64, 60, 48), (69, 66, 62, 50), (71, 67, 62, 55), (72, 67, 64, 48), (71, 67, 62, 50)]


@pytest.fixture(scope='module')
def model() -> PartModel:
    return PartModel.load(find_model('arranger'))


def keys(chords=HYMN, *, spread: float = 0.004):
    """Chords of half a second, as a hand strikes them: not all keys at once, and in any order."""
    part = []
    for i, chord in enumerate(chords):
        order = chord[i % 4 :] + chord[: i % 4]
        part += [(1 + i / 2 + spread * k, note_on(0, key, 80)) for k, key in enumerate(order)]
        part += [(1 + i / 2 + 0.42 + spread * k, note_off(0, key)) for k, key in enumerate(chord)]
    return sorted(part)


def by_part(stage: Stage) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for _, _, channel, note in stage.notes():
        found.setdefault(channel, []).append(note)
    return found


def test_every_chord_is_one_note_for_each_player(model):
    stage = Stage(preset('arrange', PARTS), arranger=model)
    stage.play(keys(), 5.0)
    chords = [stage.notes()[i : i + 4] for i in range(0, 4 * len(HYMN), 4)]
    for chord, wanted in zip(chords, HYMN, strict=True):
        assert sorted(note for *_, note in chord) == sorted(wanted)
    # The cello has the bass; one that is struck alone first, and high, may be taken for the viola's.
    basses = [min((note, channel) for _, _, channel, note in chord)[1] for chord in chords]
    assert basses.count(3) >= len(HYMN) - 1
    # Of the first chord nobody knows how many keys will follow the first.
    assert all(len({channel for _, _, channel, _ in chord}) == 4 for chord in chords[1:])
    assert stage.session.mode.state == 'arranging'


def test_each_note_ends_when_its_key_comes_up(model):
    stage = Stage(preset('arrange', PARTS), arranger=model)
    stage.play(keys(), 5.0)
    down: dict[tuple[int, int], int] = {}
    for _, _, message in stage.sender.sent:
        kind, place = message[0] & 0xF0, (message[0] & 15, message[1])
        if kind == 0x90 and message[2]:
            down[place] = down.get(place, 0) + 1
        elif kind in (0x80, 0x90):
            down[place] = down.get(place, 0) - 1
    assert set(down.values()) == {0}


def test_no_key_is_lost_where_there_are_more_than_hands_or_none_has_the_note(model):
    stage = Stage(preset('arrange', PARTS[:1]), arranger=model)
    stage.play([(1.0, note_on(0, 60, 80)), (1.001, note_on(0, 64, 80)), (1.002, note_on(0, 67, 80)),
                (1.003, note_on(0, 71, 80)), (2.0, note_on(0, 20, 80))], 3.0)  # fmt: skip
    notes = [note for *_, note in stage.notes()]
    assert notes[:4] == [60, 64, 67, 71] and notes[4] % 12 == 20 % 12 and notes[4] >= 55


def most_at_once(stage: Stage, channel: int) -> int:
    sounding, most = set(), 0
    for _, _, message in stage.sender.sent:
        if message[0] & 15 == channel and message[0] & 0xF0 in (0x80, 0x90):
            down = message[0] & 0xF0 == 0x90 and message[2]
            sounding = sounding | {message[1]} if down else sounding - {message[1]}
            most = max(most, len(sounding))
    return most


@pytest.mark.parametrize('rules', [False, True])
def test_what_a_player_holds_makes_way_for_the_next_note(model, rules):
    """Keys that are held on: a flute plays one note at a time, a violin two, and what their keys end later is over."""
    held = [(1.0 + i / 4, note_on(0, 62 + i, 80)) for i in range(12)] + [(8.0, note_off(0, 62 + i)) for i in range(12)]
    for name, hands in (('flute', 1), ('violin', 2)):
        stage = Stage(preset('arrange', [{'instrument': name}]), arranger=None if rules else model)
        stage.play(held, 9.0)
        assert [note for *_, note in stage.notes()] == list(range(62, 74))
        assert most_at_once(stage, stage.notes()[0][2]) == hands
        check_no_hanging(stage.sender.sent)


def test_the_rules_play_on_where_the_model_is_late(model, monkeypatch):
    monkeypatch.setattr(arrange, 'DEADLINE', -1.0)
    stage = Stage(preset('arrange', PARTS), arranger=model)
    stage.play(keys(), 5.0)
    assert stage.session.mode.state == 'arranging by rules'
    assert sum(map(len, by_part(stage).values())) == 4 * len(HYMN)


def test_an_input_that_goes_leaves_nothing_sounding_to_the_model(model):
    """Keys whose ends never come count as held for ever, and must not make parts unplayable."""
    stage = Stage(preset('arrange', PARTS), arranger=model)
    stage.play([(1.0 + i / 10, note_on(0, 60 + i % 12, 80)) for i in range(60)], 8.0)
    assert len(stage.notes()) == 60


def test_a_band_that_changes_to_the_mode_while_it_plays_has_the_model_at_once():
    chosen = preset('respond', PARTS)
    with InProcessBand(chosen, musician=FallbackMusician(), notify=[].append) as band:
        band.play(keys(), 1.0)
        band.session.set('player.mode', 'arrange')
        band.play(keys(), 5.0)
        assert band.session.arranger is not None and len(band.sent) == 8 * len(HYMN)
    with InProcessBand(chosen, {'music.model': 'rules'}, notify=[].append) as band:
        band.session.set('player.mode', 'arrange')
        assert band.session.arranger is None  # as it was asked for
