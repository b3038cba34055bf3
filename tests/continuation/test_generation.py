import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_decoder import FakeBuffers, FakeDecoder

import genaudio_core.continuation.continuer as continuation
from genaudio_core.continuation.accompaniment import accompany, infill
from genaudio_core.continuation.generation import balanced, continue_score, end_of, generate
from genaudio_core.continuation.sampling import Controls
from genaudio_core.errors import GenaudioError
from genaudio_core.music.layouts import LIVE, MMT
from genaudio_core.score import smf
from genaudio_core.score.notes import Meter, Note, Score, Track
from genaudio_core.score.reading import midi_bytes, read_midi


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    monkeypatch.setattr(continuation, 'Buffers', FakeBuffers)


def lively(field, chosen):
    """Onsets mostly within the beat, everything else alike."""
    size = LIVE.sizes[LIVE.index(field)]
    return -2.0 * np.arange(size) if field == 'beat' else np.zeros(size)


def decoder(encoding=LIVE, context=256, rule=lively) -> FakeDecoder:
    return FakeDecoder(encoding, context, rule)


def absolute(field, chosen):
    return np.zeros(MMT.sizes[MMT.index(field)])


def notes_of(score: Score, before: float | None = None) -> list:
    return sorted(
        (track.instrument, *note)
        for track in score.tracks
        for note in track.notes
        if before is None or note.beat < before
    )


@pytest.mark.parametrize('encoding', [LIVE, MMT])
@pytest.mark.parametrize('context', [96, 1024])
def test_a_long_piece_is_accompanied_to_its_end(encoding, context):
    """Absolute beats end at 256, and a context is full sooner: the past is shortened, and nothing else moves."""
    given = Score([Track.of('piano', [Note(float(beat), 0.5, 60, 64) for beat in range(0, 400, 4)])])
    made = accompany(decoder(encoding, context, absolute if encoding is MMT else lively), given, ['violin'], seed=1)
    assert [note.beat for note in made.score.tracks[0].notes] == list(range(0, 400, 4))
    new = [note.beat for track in made.score.tracks if track.instrument == 'violin' for note in track.notes]
    for begin in range(0, 400, 100):
        assert [beat for beat in new if begin <= beat < begin + 100], begin


def test_timing_is_freer_and_pitch_tighter_out_of_nothing_unless_told_otherwise():
    drawn = balanced(Controls(temperature=0.5, per_field={'beat': {'temperature': 2.0}}))
    assert drawn.per_field['pitch'] == {'temperature': pytest.approx(0.47)}
    assert drawn.per_field['position'] == {'temperature': pytest.approx(0.5), 'top_p': 1.0}
    assert drawn.per_field['beat'] == {'temperature': 2.0}
    published = Controls(published_top_k=True)
    assert balanced(published) == published


def test_the_given_part_stays_and_the_new_one_begins_where_it_ends(phrase):
    made = continue_score(decoder(), phrase, 8, seed=3)
    assert made.start == 16.0
    assert notes_of(made.score, 16.0) == notes_of(phrase)
    new = [note for track in made.score.tracks for note in track.notes if note.beat >= 16]
    assert len(new) == made.notes > 0
    assert all(16 <= note.beat < 24 and note.beat + note.duration <= 24 + 1e-9 for note in new)
    assert made.score.instruments == phrase.instruments


def test_the_same_seed_plays_the_same_and_another_one_does_not(phrase):
    first, again, other = (continue_score(decoder(), phrase, 8, seed=seed) for seed in (1, 1, 2))
    assert notes_of(first.score) == notes_of(again.score) != notes_of(other.score)


def test_other_instruments_may_be_asked_for(phrase):
    made = continue_score(decoder(), phrase, 8, controls=Controls(instruments=('flute',)), seed=0)
    assert {name for name, beat, *_ in notes_of(made.score) if beat >= 16} == {'flute'}


def test_a_session_longer_than_the_context_goes_on(phrase):
    made = continue_score(decoder(context=96), phrase, 64, seed=0)
    new = [note.beat for track in made.score.tracks for note in track.notes if note.beat >= 16]
    assert len(new) > 200 and max(new) > 78 and np.diff(np.unique(new)).max() <= 5


def test_the_published_layout_outlives_its_256_beats(phrase):
    made = continue_score(decoder(MMT, 512, absolute), phrase, 400, seed=0)
    assert max(note.beat for track in made.score.tracks for note in track.notes) > 400


def test_a_late_release_does_not_delay_the_answer():
    assert end_of(Score([Track(notes=[Note(0, 15.9, 60)])])) == 16
    assert end_of(Score([Track(notes=[Note(0, 16.2, 60)])])) == 16
    assert end_of(Score([Track(notes=[Note(0, 13.5, 60)])])) == 14


@pytest.mark.parametrize(('length', 'context'), [(70, 256), (200, 256), (200, 24), (5000, 256), (900_000, 64)])
@pytest.mark.parametrize('meter', [(4, 4), (7, 8)])
def test_after_a_long_last_chord_nothing_is_written_into_it(length, context, meter):
    given = [Note(float(i), 1.0, 60 + i) for i in range(8)] + [Note(0.0, float(length), 40)]
    score = Score([Track(0, notes=sorted(given))], meters=[Meter(0.0, *meter)])
    made = continue_score(decoder(context=context), score, 8, seed=1)
    new = [note for track in made.score.tracks for note in track.notes if note not in given]
    assert made.start == length and made.notes == len(new) > 0
    assert all(length <= note.beat < length + 8 for note in new)


def test_a_late_release_does_not_end_the_next_note_of_its_key():
    def middle_c_at_once(field, chosen):
        logits = np.zeros(LIVE.sizes[LIVE.index(field)])
        logits[{'beat': 2, 'position': 1, 'pitch': 61, 'duration': 12}.get(field, 1)] = 99.0
        return logits

    score = Score([Track(0, notes=[Note(float(i), 1.0, 60) for i in range(7)] + [Note(7.0, 1.125, 60)])])
    made = continue_score(decoder(rule=middle_c_at_once), score, 1, seed=0)
    notes = sorted(made.score.tracks[0].notes)
    assert made.start == 8.0 and notes[:8] == score.tracks[0].notes
    assert notes[8].beat == 8.125 and notes[8].beat + notes[8].duration == 9.0


def test_what_cannot_be_continued_is_told(phrase):
    drums = Score([Track(0, True, notes=[Note(0, 1, 36)])])
    with pytest.raises(GenaudioError, match='only drums'):
        continue_score(decoder(MMT, rule=absolute), drums, 4)
    with pytest.raises(GenaudioError, match='no note to continue'):
        continue_score(decoder(), Score(), 4)
    for beats in (0, -1):
        with pytest.raises(GenaudioError, match='`beats`'):
            continue_score(decoder(), phrase, beats)


def test_generation_for_instruments_and_meter():
    made = generate(decoder(), 12, instruments=('church-organ', 'viola'), meter=(3, 4), seed=2)
    assert set(made.score.instruments) <= {'church-organ', 'viola'} and made.notes
    assert made.score.meters == [Meter(0.0, 3, 4)]


def test_unconditional_generation_names_its_own_ensemble():
    ensembles = {tuple(generate(decoder(), 4, seed=seed).score.instruments) for seed in range(6)}
    assert len(ensembles) > 1 and () not in ensembles


def test_accompaniment_keeps_the_given_and_adds_only_the_asked(phrase):
    made = accompany(decoder(), phrase, ['flute', 'drums'], seed=4)
    given = [row for row in notes_of(made.score) if row[0] not in ('flute', 'drums')]
    assert given == notes_of(phrase)
    assert made.notes > 0 and made.score.end <= phrase.end + 1e-9
    with pytest.raises(GenaudioError, match='play already'):
        accompany(decoder(), phrase, ['piano'])


def test_infill_changes_only_the_bars_asked_for(phrase):
    made = infill(decoder(), phrase, 4, 8, candidates=2, seed=1)
    kept = [row for row in notes_of(made.score) if not 4 <= row[1] < 8]
    assert kept == [row for row in notes_of(phrase) if not 4 <= row[1] < 8]
    assert made.notes > 0
    with pytest.raises(GenaudioError, match='Nothing comes before'):
        infill(decoder(), phrase, 0, 4)


def test_infill_takes_the_candidate_that_leads_to_the_future(monkeypatch, phrase):
    import genaudio_core.continuation.accompaniment as accompaniment

    fits = iter([-3.0, -1.0, -2.0])
    monkeypatch.setattr(accompaniment, '_likelihood', lambda *_: next(fits))
    best = infill(decoder(), phrase, 4, 8, candidates=3, seed=1)
    monkeypatch.setattr(accompaniment, '_likelihood', lambda *_: 0.0)
    alone = infill(decoder(), phrase, 4, 8, candidates=1, seed=1)
    fits = iter([-3.0, -1.0])
    monkeypatch.setattr(accompaniment, '_likelihood', lambda *_: next(fits))
    second = infill(decoder(), phrase, 4, 8, candidates=2, seed=1)
    assert notes_of(best.score) == notes_of(second.score) != notes_of(alone.score)


messages = st.one_of(
    st.builds(lambda s, c, a, b: bytes((s | c, a, b)), st.sampled_from([0x80, 0x90, 0x90, 0x90, 0xB0]),
              st.integers(0, 3), st.integers(50, 60), st.integers(0, 127)),
    st.builds(lambda c, p: bytes((0xC0 | c, p)), st.integers(0, 9), st.integers(0, 127)),
    st.builds(lambda c, v: bytes((0xB0 | c, 123, v)), st.integers(0, 3), st.integers(0, 127)),
    st.builds(lambda port: bytes((0xFF, 0x21, port)), st.integers(0, 2)),
    st.builds(lambda text: b'\xff\x05' + text, st.binary(max_size=9)),
    st.builds(lambda tempo: b'\xff\x51' + tempo.to_bytes(3, 'big'), st.integers(200_000, 0xFFFFFF)),
    st.builds(lambda n, d: bytes((0xFF, 0x58, n, d, 24, 8)), st.integers(1, 255), st.integers(0, 6)),
)  # fmt: skip


@st.composite
def midi_files(draw) -> smf.File:
    chunks = []
    for rows in draw(st.lists(st.lists(st.tuples(st.integers(0, 900), messages), max_size=20), min_size=1, max_size=4)):
        ticks = np.cumsum([wait for wait, _ in rows]).tolist()
        events = [smf.Event(tick, data) for tick, (_, data) in zip(ticks, rows, strict=True)]
        chunks.append(smf.TrackChunk(events, (ticks[-1] if ticks else 0) + draw(st.integers(0, 999))))
    kind = draw(st.sampled_from([0, 1, 2])) if len(chunks) == 1 else draw(st.sampled_from([1, 2]))
    if kind == 2:
        for chunk in chunks:
            chunk.events = [event for event in chunk.events if event.data[:2] != b'\xff\x21']
    return smf.File(kind, draw(st.sampled_from([1, 5, 96, 480, 0xE728])), chunks)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(midi_files(), st.sampled_from(['continue', 'accompany']))
def test_whatever_a_file_holds_stays_in_it(file, command):
    score = read_midi(smf.build(file))
    try:
        if command == 'continue':
            made = continue_score(decoder(), score, 4, seed=1)
        else:
            made = accompany(decoder(), score, ['celesta', 'drums'], seed=1)
    except GenaudioError:
        return
    again = smf.parse(midi_bytes(made.score))
    finer = again.division // file.division if file.division < 0x8000 else 1
    assert again.format == file.format or file.format == 0
    for before, after in zip(file.tracks, again.tracks, strict=False):
        rest = iter(after.events)
        assert all(smf.Event(tick * finer, data) in rest for tick, data in before.events)
    heard = read_midi(midi_bytes(made.score))
    assert heard.n_notes == made.score.n_notes == score.n_notes + made.notes
    if file.division < 0x8000:  # an SMPTE tick may lie between two tempos, and a beat with it
        given, kept = (sorted((t.program, *n) for t in s.tracks for n in t.notes) for s in (score, heard))
        assert all(note in kept for note in given)
