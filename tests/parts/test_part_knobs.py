"""Density and range of single parts: exact where they must be, in whatever mode, from wherever they are turned."""

import tomllib
from dataclasses import replace

import pytest
import small_decoders
from live_band import Stage, check_no_hanging, preset

from bridge.midi.messages import note_off, note_on
from bridge.musicians.model_events import DescriptionEvent
from bridge.musicians.model_musician import ModelMusician
from bridge.musicians.musician import ChordAt, HeardNote, MusicControls, Request
from bridge.musicians.musician_process import SimulatedEngine
from bridge.musicians.rule_musician import FallbackMusician
from bridge.settings.band_preset import parse_preset
from bridge.settings.preset_text import preset_text
from bridge.settings.voice import part_knobs, set_parts
from genaudio_core.errors import GenaudioError
from genaudio_core.music.drum_grooves import groove
from genaudio_core.music.keys import parse_chord
from genaudio_core.music.layouts import DESCRIBED, PART
from genaudio_core.score.instruments import DRUMS, DRUMS_CODE, instrument_code

PARTS = ('piano', 'bass', 'pad', 'violin', 'violin', DRUMS)
LOOP = ((48, 60, 64, 67), (45, 57, 60, 64), (41, 57, 60, 65), (43, 55, 59, 62))  # C Am F G, a bar each


def controls(low=0, high=127, density=0.5):
    return MusicControls(low=low, high=high, density=density)


def musician(kind):
    """Rules, or a model with random weights, which plays whatever it may: no range is kept by accident."""
    return FallbackMusician() if kind == 'rules' else ModelMusician(small_decoders.decoder(kind))


def asked(role, own=(), bars=2, seed=1):
    names = ('C', 'Am', 'F', 'G')
    chords = tuple(ChordAt(16.0 + 4 * bar, parse_chord(names[bar % 4]), 'chart') for bar in range(bars))
    return Request(
        1, 16.0, 16.0 + 4 * bars, PARTS, role, chords=chords, groove=groove('auto', (4, 4)), own=own, seed=seed
    )


def notes_of(kind, request):
    playing = musician(kind)
    playing.hear([HeardNote(8 * bar + i, 4.0 * bar, 3.5, note, 80, 'piano')
                  for bar in range(4) for i, note in enumerate(LOOP[bar])])  # fmt: skip
    found = [note for piece in playing.answer(request) for note in piece.notes]
    playing.close()
    return found


RANGES = ((72, 84), (40, 51), (60, 71), (88, 100), (55, 67), (0, 127))


@pytest.mark.parametrize('role', ['accompany', 'free', 'continue'])
@pytest.mark.parametrize('kind', ['rules', 'live', 'described'])
def test_a_part_that_is_told_a_range_has_no_note_outside_of_it(kind, role):
    ranges = RANGES if kind != 'live' else (*RANGES[:3], (60, 80), (60, 80), RANGES[5])  # it tells no violins apart
    for seed in range(2):
        notes = notes_of(kind, asked(role, tuple(controls(*one) for one in ranges), seed=seed))
        assert {note.part for note in notes} >= {1, 2}
        for note in notes:
            low, high = ranges[note.part]
            assert low <= note.note <= high, note


@pytest.mark.parametrize('part', [1, 2, 5])
@pytest.mark.parametrize('kind', ['rules', 'described'])
def test_density_moves_the_number_of_notes_of_a_part_and_hardly_that_of_the_others(kind, part):
    if kind == 'rules' and part == 2:
        pytest.skip('the rules hold one chord for as long as it lasts')
    counts = []
    for density in (0.0, 0.5, 1.0):
        own = tuple(controls(density=density if number == part else 0.5) for number in range(len(PARTS)))
        kit = groove('auto', (4, 4), density=own[5].density)
        found = [
            note
            for seed in range(3)
            for note in notes_of(kind, replace(asked('accompany', own, seed=seed), groove=kit))
        ]
        counts.append([sum(note.part == number for note in found) for number in range(len(PARTS))])
    mine = [count[part] for count in counts]
    assert mine[0] <= mine[1] <= mine[2] and mine[2] >= 1.5 * mine[0], mine
    for number in {1, 2} - {part}:
        others = [count[number] for count in counts]
        assert max(others) <= 1.5 * min(others), others


def by_rule(role, density, instruments=('piano',), heard=(), groove_of=0.5):
    """Notes of the rules, of five seeds, where each part has a density of its own and the band 0.5."""
    found = []
    for seed in range(5):
        own = tuple(controls(density=density) for _ in instruments)
        playing = FallbackMusician()
        playing.hear(heard)
        request = Request(
            1, 16.0, 24.0, instruments, role, chords=(ChordAt(16.0, parse_chord('C'), 'chart'),), own=own, seed=seed,
            groove=groove('auto', (4, 4), density=groove_of),
        )  # fmt: skip
        found += [(seed, note.beat, note.note) for piece in playing.answer(request) for note in piece.notes]
    return found


def test_a_piano_by_rules_holds_chords_or_breaks_them():
    sparse, usual, dense = ({one[:2] for one in by_rule('accompany', density)} for density in (0.0, 0.5, 1.0))
    assert len(sparse) < len(usual) < len(dense)
    assert len(by_rule('accompany', 0.0)) >= 3 * len(sparse)  # whole chords, held


def test_a_melody_by_rules_has_the_density_of_its_part():
    sparse, usual, dense = (len(by_rule('free', density)) for density in (0.0, 0.5, 1.0))
    assert sparse < 0.8 * usual and usual < 0.8 * dense
    phrase = [HeardNote(i, 8 + i / 2, 0.4, 60 + i % 5, 80, 'piano') for i in range(16)]
    thinned, whole = (by_rule('continue', density, heard=phrase) for density in (0.0, 0.5))
    assert len(thinned) < 0.7 * len(whole) and all(beat == round(beat) or beat == 16 for _, beat, _ in thinned)


def test_drums_by_rules_strike_more_where_their_part_is_denser():
    usual, dense = (by_rule('accompany', density, (DRUMS,)) for density in (0.5, 1.0))
    assert set(usual) < set(dense) or len(dense) > len(usual)


def told_parts(playing):
    column = DESCRIBED.columns
    return [(one.step, one.fields[column['instrument']], one.fields[column['density']], one.fields[column['register']])
            for one in playing._fed if isinstance(one, DescriptionEvent) and one.fields[0] == PART]  # fmt: skip


def test_the_model_is_told_once_and_told_again_when_it_changes():
    playing = musician('described')
    bass = instrument_code('bass')

    def ask(number, start, *own):
        request = Request(
            number, start, start + 4, ('bass', DRUMS), 'accompany', groove=groove('auto', (4, 4)), own=own
        )
        list(playing.answer(request))
        return told_parts(playing)

    assert ask(1, 0.0) == []
    high = controls(40, 52, 1.0), controls()
    told = ask(2, 4.0, *high)
    assert [(step, code) for step, code, _, _ in told] == [(48, bass), (48, DRUMS_CODE)]
    assert told[0][3] == (40 + 52) // 2 // 6 + 1 and told[1][3] == 0 and told[0][2] > 2
    assert ask(3, 8.0, *high) == told
    sparse = ask(4, 12.0, controls(40, 52, 0.0), controls())
    assert sparse[2][:2] == (144, bass) and sparse[2][2] < told[0][2]
    assert [one[2:] for one in ask(5, 16.0)[3:]] == [(0, 0), (0, 0)]  # as the band again: nothing is told
    assert len(ask(6, 20.0)) == 5


@pytest.fixture(params=['accompany', 'free', 'arrange'])
def stage(request):
    parts = [{'instrument': 'bass', 'density': 1.0}, {'instrument': 'pad'}]
    one = Stage(preset(request.param, parts))
    one.session.engine = one.engine = SimulatedEngine(musician('described'), one.clock, settle=True)
    chords = [(0.1 + 2 * bar, note) for bar in range(16) for note in LOOP[bar % 4]]
    one.score = sorted([(time, note_on(0, note, 80)) for time, note in chords]
                       + [(time + 1.9, note_off(0, note)) for time, note in chords])  # fmt: skip
    return one


def test_a_range_that_is_set_while_it_plays_counts_from_the_next_note_on(stage):
    session = stage.session
    stage.play([one for one in stage.score if one[0] < 10], 10.0)
    channel = session.voices[0].channel
    assert any(note < 45 for _, _, own, note in stage.notes() if own == channel)
    session.apply({'set': 'low.bass', 'value': 45})
    session.apply({'set': 'high.bass', 'value': 56})
    before = stage.clock.now()
    assert session.mode.state == 'arranging' or any(due.note < 45 for due in session.scheduler.planned())
    stage.play([one for one in stage.score if one[0] >= 10], 30.0)
    since = {note for time, _, own, note in stage.notes() if own == channel and time > before + 0.05}
    assert since and since <= set(range(45, 57)) and not stage.said
    session.close()
    check_no_hanging(stage.sender.sent)


@pytest.mark.parametrize('message', [
    {'set': 'density.tuba', 'value': 0.5}, {'set': 'density.bass', 'value': 2}, {'set': 'low.bass', 'value': 5},
    {'set': 'high.bass', 'value': 30}, {'set': 'low.drums', 'value': 40}, {'set': 'density.bass', 'value': 'x'},
    {'set': 'low.bass', 'value': 'nan'}, {'set': 'density.', 'value': 0},
])  # fmt: skip
def test_a_wrong_one_costs_a_line(message):
    stage = Stage(preset('accompany', [{'instrument': name} for name in ('bass', 'drums')]))
    stage.session.apply(message)
    assert len(stage.said) == 1 and not stage.session.preset.part_values


def test_a_controller_learns_a_part():
    stage = Stage(preset('accompany', [{'instrument': name} for name in ('bass', 'drums')]))
    stage.session.apply({'learn': 'density.drums'})
    stage.play([(0.1, bytes([0xB0, 21, 0])), (0.2, bytes([0xB0, 21, 127]))], 0.3)
    assert stage.session.snapshot()['part_values'] == {'density.drums': 1.0}
    stage.session.apply({'learn': 'density.tuba'})
    assert 'not something' in stage.said[-1]


def test_they_stand_in_presets_and_after_set():
    table = {'parts': [{'instrument': 'violin', 'low': 60}, {'instrument': 'violin', 'density': 0.2}],
             'cc': {'7': 'density.violin_2'}}  # fmt: skip
    found = parse_preset(table, changes={'high.violin': '80', 'density.violin_2': 0.5, 'tempo': 90})
    assert dict(found.part_values) == {'low.violin': 60, 'high.violin': 80} and found['transport.tempo'] == 90
    assert parse_preset(tomllib.loads(preset_text(found))) == found
    for parts, changes in (
        ([{'instrument': 'violin', 'low': 60, 'high': 70}], {}), ([{'instrument': 'drums', 'low': 60}], {}),
        ([{'instrument': 'violin'}], {'low.viola': 60}), ([{'instrument': 'violin', 'density': 2}], {}),
    ):  # fmt: skip
        with pytest.raises(GenaudioError) as caught:
            parse_preset({'parts': parts}, changes=changes)
        assert '\n' not in str(caught.value)
    with pytest.raises(GenaudioError):
        parse_preset({'parts': [{'instrument': 'violin'}], 'cc': {'7': 'density.viola'}})


def test_every_range_of_every_instrument_holds_a_tone_of_every_chord():
    from genaudio_core.score.instruments import RANGE

    for name in RANGE:
        for full, knob in part_knobs([name]).items():
            assert set_parts([name], {}, {full: knob.low}) is not None and knob.low <= knob.default <= knob.high
