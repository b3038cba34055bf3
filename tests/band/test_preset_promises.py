"""What the text of each preset promises, rehearsed with several seeds by rules and by the bundled model."""

from collections import Counter
from functools import lru_cache

import pytest

from bridge.live.preset_rehearsal import BAND, Rehearsal, fitted, rehearse
from bridge.musicians.choose import make_musician
from bridge.settings.band_preset import available, find_preset, load_preset
from genaudio_core.analysis.band_prompts import comp, spell, tune
from genaudio_core.music.band_metrics import Bar, backbeat, bass_on_root, chord_fit, in_key, presence, too_many_voices
from genaudio_core.music.chord_recognition import Segment, slots_of
from genaudio_core.music.keys import pitch_classes
from genaudio_core.score.instruments import DRUMS, RANGE
from genaudio_core.score.notes import Meter, Note, Score, Tempo, Track

BARS = 12
SEEDS = (0, 1)
BOTH = pytest.mark.parametrize(('model', 'seed'), [('rules', 0), ('rules', 1), ('', 0)])  # '' is the bundled model
HEARD = 2  # bars of yours after which the band is measured


def loop(text: str, bar: float = 4.0) -> tuple[Segment, ...]:
    once = spell(text, bar)
    length = once[-1].beat + once[-1].duration
    return tuple(
        Segment(turn * length + one.beat, one.duration, one.chord)
        for turn in range(round(BARS * bar / length))
        for one in once
    )


CHORDS = loop('C | Am | F | G')
RIFF = [Note(4.0 * bar + at, 0.4, 40, 96) for bar in range(BARS) for at in (0, 0.75, 1.5, 2.5, 3.5)]
SOLO = tune('C5:.5 D5:.5 E5:1 G5:.5 A5:.5 G5:1 | E5:1 D5:.5 C5:.5 A4:2 | C5:.5 D5:.5 F5:1 E5:1 D5:1 | C5:2 r:2', 4.0)
SLOW = tune('A4:1 C5:1 E5:1 | F5:2 D5:1 | E5:1 D5:1 B4:1 | C5:2 A4:1', 3.0)
HYMN = tune('G4:1 G4:1 A4:1 B4:1 | C5:2 B4:2 | D5:1 B4:1 A4:1 G4:1 | A4:3 r:1', 4.0)


def again(notes, length, times):
    return [note._replace(beat=note.beat + length * turn) for turn in range(times) for note in notes]


def hands(chords, bar=4.0):
    return comp(chords, bar, [(beat, 0.9) for beat in range(round(bar))], low=55)


PARTS = {
    'band': (hands(CHORDS), (4, 4), 104.0), 'busker': (hands(CHORDS), (4, 4), 108.0),
    'house': (hands(CHORDS), (4, 4), 124.0), 'drummer': (RIFF, (4, 4), 112.0),
    'string-quartet': (again(HYMN, 16.0, 3), (4, 4), 84.0), 'continuo': (again(SLOW, 12.0, 3), (3, 4), 110.0),
    'trading-fours': (again(SOLO, 32.0, 2), (4, 4), 140.0), 'endless': ([Note(0.0, 1.0, 62, 70)], (4, 4), 80.0),
}  # fmt: skip


@lru_cache
def made(name: str, model: str, seed: int, bars: int = BARS) -> Rehearsal:
    """What a preset makes of its part."""
    notes, meter, tempo = PARTS[name]
    bar = meter[0] * 4 / meter[1]
    notes = [note for note in notes if note.beat < bars * bar]
    if name == 'endless':
        notes = [*notes, Note(bars * bar - 1.0, 1.0, 65, 70)]
    score = Score([Track.of('piano', sorted(notes))], [Tempo(0.0, tempo)], [Meter(0.0, *meter)])
    chosen = load_preset(find_preset(name), {'music.seed': seed, 'music.model': model})
    return rehearse(fitted(chosen, score, name), score, make_musician(model))


def parts(rehearsed: Rehearsal) -> dict[str, list[Note]]:
    return {
        track.name.removeprefix(BAND): track.notes for track in rehearsed.score.tracks if track.name.startswith(BAND)
    }


def bars(bar=4.0, first=HEARD, last=BARS) -> list[Bar]:
    return [Bar(number * bar, (number + 1) * bar) for number in range(first, last)]


def everybody_plays(found, where, least=0.95):
    shares = {name: presence(notes, where) for name, notes in found.items()}
    assert min(shares.values()) >= least, shares


def clean(rehearsed: Rehearsal, model: str, by_rule=0.1):
    figures = rehearsed.figures
    assert figures['hung_notes'] == figures['struck_twice'] == figures['missed_deadlines'] == 0
    assert model == 'rules' or figures['by_rule'] < by_rule
    for track in rehearsed.score.tracks:
        if track.name.startswith(BAND) and track.instrument != DRUMS:
            low, high = RANGE[track.instrument]
            assert all(low <= note.note <= high for note in track.notes), track.name


def follows_the_loop(found, bass, chords=CHORDS):
    later = [one for one in chords if one.beat >= HEARD * 4.0]
    assert bass_on_root(found[bass], later) >= 0.9
    pitched = [note for name, notes in found.items() if name != DRUMS for note in notes if note.beat >= HEARD * 4.0]
    strong = slots_of(Score([Track(0, notes=pitched)], [Tempo(0.0, 100.0)], [Meter(0.0, 4, 4)]), BARS * 4.0)
    assert chord_fit(pitched, chords, strong) >= 0.9


@BOTH
def test_band_bass_drums_and_pad_play_with_you_and_follow_your_chords(model, seed):
    rehearsed = made('band', model, seed)
    found = parts(rehearsed)
    clean(rehearsed, model)
    assert set(found) == {'electric-bass', DRUMS, 'pad'}
    everybody_plays(found, bars())
    follows_the_loop(found, 'electric-bass')
    assert backbeat(found[DRUMS], bars(), (1.0, 3.0)) >= 0.9
    assert too_many_voices(found['electric-bass'], 'electric-bass') <= 0.05


@BOTH
def test_busker_guitar_bass_and_cajon_from_your_chords(model, seed):
    rehearsed = made('busker', model, seed)
    found = parts(rehearsed)
    clean(rehearsed, model)
    everybody_plays(found, bars())
    follows_the_loop(found, 'bass')
    assert {note.note for note in found[DRUMS]} <= {36, 37, 38}
    assert backbeat(found[DRUMS], bars(), (1.0, 3.0)) >= 0.9


@BOTH
def test_house_four_on_the_floor_bass_and_stabs_from_your_loop(model, seed):
    rehearsed = made('house', model, seed)
    found = parts(rehearsed)
    clean(rehearsed, model)
    everybody_plays(found, bars())
    follows_the_loop(found, 'synth-bass')
    kicks = {round(note.beat * 4) for note in found[DRUMS] if note.note in (35, 36)}
    assert sum(4 * beat in kicks for beat in range(4 * HEARD, 4 * BARS)) >= 0.95 * 4 * (BARS - HEARD)
    if not model:
        stabs = [note.duration for note in found['electric-piano'] if note.beat >= 4.0 * HEARD]
        assert sorted(stabs)[len(stabs) // 2] <= 0.5


@BOTH
def test_drummer_only_drums_that_follow_you(model, seed):
    rehearsed = made('drummer', model, seed)
    found = parts(rehearsed)
    clean(rehearsed, model, by_rule=0.2)
    assert set(found) == {DRUMS}
    everybody_plays(found, bars())
    assert backbeat(found[DRUMS], bars(), (1.0, 3.0)) >= 0.9
    kicks = Counter(round(note.beat % 4.0 * 4) for note in found[DRUMS] if note.note in (35, 36) and note.beat >= 16.0)
    assert min(kicks[at] for at in (0, 6)) >= 0.8 * (BARS - 4)  # with the accents of the riff, once it has come round


@BOTH
def test_string_quartet_four_strings_accompany_you_one_voice_each(model, seed):
    rehearsed = made('string-quartet', model, seed)
    found = parts(rehearsed)
    clean(rehearsed, model, by_rule=0.3)
    assert list(found) == ['violin 1', 'violin 2', 'viola', 'cello']
    everybody_plays(found, bars())
    for name, notes in found.items():
        assert too_many_voices(notes, name.split()[0]) <= 0.05, name
    pitched = [note for notes in found.values() for note in notes]
    assert in_key(pitched, pitch_classes('G major')) >= 0.9


@BOTH
def test_continuo_harpsichord_and_cello_under_a_melody_in_three(model, seed):
    rehearsed = made('continuo', model, seed)
    found = parts(rehearsed)
    clean(rehearsed, model, by_rule=0.15)
    everybody_plays(found, bars(3.0))
    assert all(note.note <= 72 for notes in found.values() for note in notes)
    mean = {name: sum(note.note for note in notes) / len(notes) for name, notes in found.items()}
    assert mean['cello'] < mean['harpsichord'] < 72
    lines = [bar.start for bar in bars(3.0)]
    assert sum(any(abs(note.beat - line) < 0.6 for note in found['cello']) for line in lines) >= 0.9 * len(lines)


@BOTH
def test_trading_fours_you_solo_for_four_bars_and_a_trio_answers_four(model, seed):
    rehearsed = made('trading-fours', model, seed, bars=16)
    found = parts(rehearsed)
    clean(rehearsed, model)
    answers = bars(first=4, last=8) + bars(first=12, last=16)
    everybody_plays({name: found[name] for name in ('bass', DRUMS)}, answers)
    everybody_plays(found, answers, least=0.75)  # one who solos may breathe
    for notes in found.values():
        assert not any(note.beat < 15.9 or 32.1 < note.beat < 47.9 for note in notes)
    assert backbeat(found[DRUMS], answers, (1.0, 3.0)) >= 0.9
    pitched = [note for name, notes in found.items() if name != DRUMS for note in notes]
    assert in_key(pitched, pitch_classes('C major')) >= 0.9


@BOTH
def test_endless_an_ensemble_that_never_stops_in_its_key(model, seed):
    rehearsed = made('endless', model, seed, bars=24)
    found = parts(rehearsed)
    clean(rehearsed, model)
    everybody_plays(found, bars(first=1, last=24))
    pitched = [note for notes in found.values() for note in notes]
    assert in_key(pitched, pitch_classes('D dorian')) == 1.0
    basses = [
        next((n.note % 12 for n in found['contrabass'] if n.beat >= 8.0 * turn - 0.1), None) for turn in range(1, 3)
    ]
    assert len(set(basses)) > 1  # the harmony moves


def test_two_seeds_are_two_performances():
    one, other = (parts(made('band', '', seed, bars=4)) for seed in SEEDS)
    assert all(one[name] != other[name] for name in one)


def test_every_preset_has_a_title_and_a_text():
    for name in available():
        chosen = load_preset(find_preset(name))
        assert chosen['about.title'] and chosen['about.text'], name
