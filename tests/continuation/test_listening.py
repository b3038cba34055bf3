"""A band that listens, whatever the model would play by itself: here it plays at random."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tiny_decoder import FakeBuffers, FakeDecoder

import genaudio_core.continuation.continuer as continuation
from genaudio_core.continuation.accompaniment import accompany, infill
from genaudio_core.continuation.generation import continue_score, generate
from genaudio_core.continuation.roles import bars_between
from genaudio_core.continuation.sampling import Controls
from genaudio_core.music import band_metrics as metrics
from genaudio_core.music.harmonising import harmonise
from genaudio_core.music.keys import parse_chart
from genaudio_core.music.layouts import DESCRIBED, LIVE, MMT
from genaudio_core.score.instruments import DRUMS
from genaudio_core.score.notes import Meter, Note, Score, Track

METERS = [(4, 4), (3, 4), (6, 8), (5, 4), (7, 8), (2, 4), (12, 8), (9, 8), (5, 8)]
fewer = settings(
    max_examples=20, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    monkeypatch.setattr(continuation, 'Buffers', FakeBuffers)


def wild(encoding=LIVE, seed=0, context=512) -> Any:
    """It would play anything at any time, though not in every bar."""
    rng = np.random.default_rng(seed)

    def rule(field: str, chosen: object) -> np.ndarray:
        size = encoding.sizes[encoding.index(field)]
        return (-0.5 * np.arange(size) if field == 'beat' else rng.normal(0, 2, size)).astype(np.float32)

    return FakeDecoder(encoding, context, rule)


def scale_tune(meter=(4, 4), bars=8, tonic=60, steps=(0, 2, 4, 5, 7, 9, 11), seed=0, rests=0.1) -> Track:
    """A tune in a scale, that begins and ends on its tonic."""
    rng = np.random.default_rng(seed)
    length = meter[0] * 4 / meter[1]
    notes, degree, beat = [], 0, 0.0
    while beat < bars * length - 0.4:
        duration = min(float(rng.choice([0.5, 0.5, 1.0, 1.5])), bars * length - beat)
        last = beat + duration >= bars * length - 0.4
        degree = 0 if last else int(np.clip(degree + rng.integers(-2, 3), -3, 8))
        octave, step = divmod(degree, len(steps))
        if rng.random() > rests or not notes or last:
            notes.append(Note(beat, duration * 0.95, tonic + 12 * octave + steps[step], 90))
        beat += duration
    return Track.of('oboe', notes)


def new_notes(made: Score, name: str) -> list[Note]:
    return sorted(note for track in made.tracks if track.instrument == name for note in track.notes)


@fewer
@given(st.sampled_from(METERS), st.integers(0, 999), st.integers(55, 72), st.booleans())
def test_every_named_part_plays_in_every_bar_beside_a_tune_in_its_key_and_off_its_semitones(meter, seed, tonic, minor):
    steps = (0, 2, 3, 5, 7, 8, 10) if minor else (0, 2, 4, 5, 7, 9, 11)
    tune = scale_tune(meter, 6, tonic, steps, seed)
    score = Score([tune], meters=[Meter(0.0, *meter)])
    band = ['piano', 'electric-bass', 'flute', DRUMS]
    made = accompany(wild(seed=seed), score, band, seed=seed, listen=True)
    assert made.score.tracks[0].notes == tune.notes
    bars = [bar for bar in metrics.bars_of(score, 0.0, 6 * meter[0] * 4 / meter[1]) if bar.start < score.end - 0.5]
    harmony = harmonise(score, seed=seed)
    classes = {c for _, key in harmony.keys for c in key.classes} | {
        c for one in harmony.chords for c in one.chord.pitch_classes
    }
    beside = []
    for name in band:
        mine = new_notes(made.score, name)
        assert metrics.presence(mine, bars) == 1
        assert all(note.beat < score.end and note.duration > 0 for note in mine)
        if name != DRUMS:
            beside += mine
            assert metrics.out_of_range(mine, name) == 0
            assert metrics.too_many_voices(mine, name) == 0
            assert metrics.in_key(mine, classes) == 1
    # Of a tune of sixteen notes the second one is more than 12%: meter 3/4, seed 364, tonic 65, minor.
    assert metrics.clash(tune.notes, beside) <= max(0.12, 2 / len(tune.notes))
    # A chord without its tones on the tune's semitones may leave its root out.
    assert metrics.bass_on_root(new_notes(made.score, 'electric-bass'), harmony.chords) >= 0.8
    assert made.by_rule is not None
    assert made.cued is not None
    assert 0 <= made.by_rule <= made.cued <= 1


@pytest.mark.parametrize('seed', range(4))
def test_drums_beside_a_tune_have_the_backbeat(seed):
    score = Score([scale_tune(seed=seed)])
    drums = new_notes(accompany(wild(seed=seed), score, [DRUMS], seed=seed, listen=True).score, DRUMS)
    assert metrics.backbeat(drums, metrics.bars_of(score, 0, 28), (1.0, 3.0)) == 1
    kicks = [note for note in drums if note.note in (35, 36)]
    assert metrics.backbeat([note._replace(note=38) for note in kicks], metrics.bars_of(score, 0, 28), (0.0,)) == 1


def test_after_an_upbeat_the_band_comes_in_with_the_tune():
    tune = Track.of('violin', [Note(3.0, 0.9, 67, 90), *(Note(4.0 + i, 0.9, 60 + 2 * (i % 4), 90) for i in range(12))])
    made = accompany(wild(), Score([tune]), ['piano', 'bass'], seed=3, listen=True)
    new = [*new_notes(made.score, 'piano'), *new_notes(made.score, 'bass')]
    assert 3.0 <= min(note.beat for note in new) <= 4.0


def test_parts_play_on_where_the_tune_pauses():
    tune = Track.of('violin', [*(Note(float(i), 0.9, 60, 90) for i in range(4)), Note(30.0, 2.0, 60, 90)])
    made = accompany(wild(), Score([tune]), ['piano', 'bass', DRUMS], seed=1, listen=True)
    bars = metrics.bars_of(made.score, 0, 32)
    assert all(metrics.presence(new_notes(made.score, name), bars) == 1 for name in ('piano', 'bass', DRUMS))


def test_a_chart_decides_the_chords():
    score = Score([Track.of('violin', [Note(float(i), 0.9, 72, 90) for i in range(16)])])
    made = accompany(wild(), score, ['bass'], seed=1, listen=True, chart=parse_chart('F Am C F'))
    roots = [min(n for n in new_notes(made.score, 'bass') if n.beat >= at).note % 12 for at in (0, 4, 8, 12)]
    assert roots == [5, 9, 0, 5]


def band(meter=(4, 4), bars=8) -> Score:
    length = meter[0] * 4 / meter[1]
    chords = [(0, 4, 7), (9, 0, 4), (5, 9, 0), (7, 11, 2)]
    comp, low, kit = [], [], []
    for bar in range(bars):
        tones = chords[bar % 4]
        at = bar * length
        comp += [Note(at + place, 0.4, 60 + tone, 80) for place in (0.5, 1.5) for tone in tones]
        low += [Note(at + place, 0.9, 36 + tones[0] % 12, 90) for place in (0.0, length - 1.0)]
        kit += [Note(at, 0.2, 36, 100), Note(at + 1, 0.2, 38, 100)]
        kit += [Note(at + i / 2, 0.2, 42, 70) for i in range(int(length * 2))]
    tracks = [scale_tune(meter, bars), Track.of('piano', comp), Track.of('electric-bass', low), Track.of(DRUMS, kit)]
    for track in tracks:
        track.notes.sort()
    return Score(tracks, meters=[Meter(0.0, *meter)])


@fewer
@given(st.sampled_from(METERS), st.integers(0, 999), st.sampled_from([LIVE, DESCRIBED]))
def test_a_band_goes_on_in_its_rhythm_register_and_loop_of_chords(meter, seed, encoding):
    score = band(meter)
    length = meter[0] * 4 / meter[1]
    made = continue_score(wild(encoding, seed), score, 4 * length, seed=seed, start=8 * length, listen=True)
    old, new = metrics.bars_of(score, 0, 8 * length), metrics.bars_of(made.score, 8 * length, 12 * length)
    for before, after in zip(score.tracks, made.score.tracks, strict=True):
        added = sorted(note for note in after.notes if note.beat >= 8 * length - 1e-6)
        assert [note for note in after.notes if note.beat < 8 * length - 1e-6] == before.notes
        assert metrics.presence(added, new) >= (0.75 if before.instrument == 'oboe' else 1)
        assert metrics.rhythm_likeness(added, new, before.notes, old) >= 0.85
        if not before.is_drum:
            assert metrics.register_likeness(added, before.notes) >= 0.95
    low = sorted(n for n in made.score.tracks[2].notes if n.beat >= 8 * length - 1e-6)
    roots = [next(n.note % 12 for n in low if n.beat >= bar.start - 0.1) for bar in new]
    assert roots == [0, 9, 5, 7]
    assert metrics.backbeat(made.score.tracks[3].notes, new, (1.0,)) == 1


def test_a_band_can_be_asked_for_other_chords_and_other_players():
    made = continue_score(
        wild(), band(), 16, seed=4, start=32, chart=parse_chart('Dm G'), listen=True,
        controls=Controls(instruments=('electric-bass', 'cello')),
    )  # fmt: skip
    added = {name: [n for n in new_notes(made.score, name) if n.beat >= 32] for name in ('electric-bass', 'cello')}
    bars = metrics.bars_of(made.score, 32, 48)
    assert all(metrics.presence(notes, bars) == 1 for notes in added.values())
    roots = [next(n.note % 12 for n in added['electric-bass'] if n.beat >= bar.start) for bar in bars]
    assert roots == [2, 7, 2, 7]
    assert not [n for n in new_notes(made.score, 'piano') if n.beat >= 32]


@fewer
@given(st.integers(2, 6), st.integers(1, 2), st.integers(0, 999))
def test_bars_are_filled_by_the_parts_of_both_sides(first, bars, seed):
    score = band()
    begin, end = 4.0 * (first - 1), 4.0 * (first - 1 + bars)
    made = infill(wild(seed=seed), score, begin, end, candidates=1, seed=seed, listen=True)
    gap = metrics.bars_of(score, begin, end)
    for before, after in zip(score.tracks, made.score.tracks, strict=True):
        kept = [note for note in before.notes if not begin <= note.beat < end]
        assert [note for note in after.notes if not begin <= note.beat < end] == kept
        if before.instrument != 'oboe':
            assert metrics.presence([note for note in after.notes if begin <= note.beat < end], gap) == 1
    low = made.score.tracks[2].notes
    roots = [next(n.note % 12 for n in low if n.beat >= bar.start - 0.1) for bar in gap]
    assert roots == [[0, 9, 5, 7][round(bar.start / 4) % 4] for bar in gap]


def test_bars_can_be_filled_over_other_chords():
    made = infill(wild(), band(), 8, 16, candidates=1, seed=3, listen=True, chart=parse_chart('Dm G'))
    low = made.score.tracks[2].notes
    bars = metrics.bars_of(band(), 8, 16)
    assert [next(n.note % 12 for n in low if n.beat >= bar.start - 0.1) for bar in bars] == [2, 7]


def test_who_is_named_plays_out_of_nothing_too():
    names = ('piano', 'flute', DRUMS)
    made = generate(wild(seed=2), 32, instruments=names, meter=(3, 4), seed=2, listen=True)
    bars = metrics.bars_of(made.score, 0, 30)
    assert all(metrics.presence(new_notes(made.score, name), bars) == 1 for name in names)
    assert metrics.too_many_voices(new_notes(made.score, 'flute'), 'flute') == 0


@pytest.mark.parametrize('command', ['accompany', 'continue', 'infill'])
def test_two_seeds_play_two_answers_and_one_seed_the_same(command):
    def made(seed: int) -> list[Note]:
        if command == 'accompany':
            result = accompany(wild(), Score([scale_tune()]), ['piano', 'bass', DRUMS], seed=seed, listen=True)
        elif command == 'continue':
            result = continue_score(wild(), band(), 16, seed=seed, start=32, listen=True)
        else:
            result = infill(wild(), band(), 8, 16, candidates=1, seed=seed, listen=True)
        begin, end = {'continue': (32, 99), 'infill': (8, 16), 'accompany': (0, 99)}[command]
        tracks = [track for track in result.score.tracks if command != 'accompany' or track.instrument != 'oboe']
        return sorted(note for track in tracks for note in track.notes if begin <= note.beat < end)

    first = made(1)
    assert first == made(1)
    assert metrics.equal_notes(first, made(2)) < 0.9


@pytest.mark.parametrize(
    ('encoding', 'controls'), [(MMT, Controls()), (LIVE, Controls(published_top_k=True)), (LIVE, None)]
)
def test_published_layout_and_sampling_and_the_free_model_play_as_ever(encoding, controls):
    score = Score([scale_tune()])

    def notes(**listen) -> list[Note]:
        flat: Any = FakeDecoder(encoding, 1024)
        made = accompany(flat, score, ['piano'], seed=5, controls=controls, **listen)
        assert (made.by_rule is None) == ('listen' not in listen or controls is not None)
        return new_notes(made.score, 'piano')

    assert (notes() == notes(listen=True)) == (controls is not None)


def test_bars_follow_changes_of_meter():
    score = Score(meters=[Meter(0.0, 1, 4), Meter(1.0, 4, 4), Meter(9.0, 7, 8)])
    bars = bars_between(score, 0.0, 16.0)
    assert [(bar.begin, bar.length) for bar in bars] == [(0, 12), (12, 48), (60, 48), (108, 42), (150, 42)]
