import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_decoder import FakeBuffers, FakeDecoder

import genaudio_core.continuation.continuer as continuation
from bridge.settings.key import wanted_key
from genaudio_core.continuation.continuer import Continuer
from genaudio_core.continuation.sampling import Controls, EventSampler, sample
from genaudio_core.errors import GenaudioError
from genaudio_core.music.events import header
from genaudio_core.music.keys import chord_pitch_classes, classes_of, pitch_classes
from genaudio_core.music.layouts import END_OF_SONG, LIVE, MMT, NOTE
from genaudio_core.score.instruments import DRUMS_CODE, RANGE, instrument_name


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    monkeypatch.setattr(continuation, 'Buffers', FakeBuffers)


def sampler(controls: Controls, *, encoding=LIVE, takes=1, seed=0, rule=None, instruments=('piano', 'violin', 'drums')):
    if encoding is MMT:
        instruments = ('piano', 'violin')
    continuer = Continuer(FakeDecoder(encoding, rule=rule), takes)  # type: ignore[arg-type]
    continuer.feed(header(instruments, encoding))
    return EventSampler(continuer, controls, [np.random.default_rng([seed, take]) for take in range(takes)])


def play(player: EventSampler, n: int, **limits) -> np.ndarray:
    for _ in range(n):
        chosen = player.next_events(**limits)
        if not chosen.any():
            break
        player.advance(chosen)
    return player.continuer.events[0]


# --- drawing ---


def test_density_is_asked_for_as_the_band_is():
    """From 0 to 1, and 0.5 is as it comes, bit for bit."""
    assert Controls.of(density=0.5) == Controls.of() == Controls()
    assert [Controls.of(density=asked).density for asked in (0, 0.25, 1)] == [-2, -1, 2]
    for wrong in (-0.1, 1.1, float('nan')):
        with pytest.raises(GenaudioError, match='density must be 0'):
            Controls.of(density=wrong)


def test_frequencies_follow_the_logits():
    rng = np.random.default_rng(0)
    logits = np.log([0.1, 0.2, 0.7])
    counts = np.bincount([sample(logits, rng) for _ in range(5000)], minlength=3) / 5000
    assert counts == pytest.approx([0.1, 0.2, 0.7], abs=0.03)


@pytest.mark.parametrize(
    ('settings', 'possible'),
    [({'top_k': 2}, {1, 2}), ({'top_p': 0.6}, {2}), ({'top_p': 0.85}, {1, 2}), ({'min_p': 0.5}, {2}),
     ({'temperature': 0.01}, {2}), ({'allowed': np.array([True, True, False])}, {0, 1})],
)  # fmt: skip
def test_filters_leave_just_what_they_should(settings, possible):
    rng = np.random.default_rng(0)
    assert {sample(np.log([0.1, 0.2, 0.7]), rng, **settings) for _ in range(500)} == possible


def test_each_draw_takes_one_number_from_the_generator():
    # So that a mask on one choice does not change the dice of the next.
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    sample(np.zeros(5), one)
    sample(np.zeros(5), other, top_k=1, top_p=0.5, allowed=np.array([0, 1, 0, 0, 0], bool))
    assert one.random() == other.random()


def test_a_mask_that_forbids_all_is_an_error():
    with pytest.raises(ValueError):
        sample(np.zeros(3), np.random.default_rng(0), allowed=np.zeros(3, bool))


# --- masks ---


@given(st.integers(0, 10_000), st.sampled_from([LIVE, MMT]))
def test_time_never_goes_back_and_nothing_repeats(seed, encoding):
    player = sampler(Controls(density=2.0), encoding=encoding, seed=seed)
    notes = [tuple(row) for row in play(player, 60) if row[0] == NOTE]
    steps = player.continuer.steps[0]
    assert (np.diff(steps) >= 0).all()
    if encoding is LIVE:
        keys = [(int(step), row[5], row[3]) for step, row in zip(steps[-len(notes) :], notes, strict=True)]
        assert keys == sorted(set(keys))


@given(st.integers(0, 10_000))
def test_key_range_and_instruments_are_exact(seed):
    controls = Controls(instruments=('violin', 'drums'), pitch_classes=pitch_classes('D minor'), lowest=60, highest=80)
    for row in play(sampler(controls, seed=seed), 40):
        if row[0] != NOTE:
            continue
        pitch, code = int(row[3]) - 1, int(row[5])
        low, high = RANGE[instrument_name(code)]
        assert code in (DRUMS_CODE, 25) and low <= pitch <= high
        if code != DRUMS_CODE:
            assert 60 <= pitch <= 80 and pitch % 12 in {2, 4, 5, 7, 9, 10, 0}


def test_what_is_allowed_keeps_its_proportions():
    weight = np.random.default_rng(1).normal(size=LIVE.sizes[3]).astype(np.float32)

    def rule(field, chosen):
        return weight if field == 'pitch' else np.zeros(LIVE.sizes[LIVE.index(field)], np.float32)

    player = sampler(Controls(instruments=('piano',), pitch_classes=frozenset({0}), top_p=1.0), rule=rule)
    draws = [int(player.next_events()[0, 3]) for _ in range(4000)]
    allowed = np.array([code for code in range(1, 129) if (code - 1) % 12 == 0 and 21 <= code - 1 <= 108])
    expected = np.exp(weight[allowed]) / np.exp(weight[allowed]).sum()
    assert [draws.count(code) / 4000 for code in allowed] == pytest.approx(expected, abs=0.04)


@given(st.integers(0, 1000), st.integers(0, 200), st.integers(1, 200))
def test_notes_begin_within_the_limits(seed, earliest, length):
    player = sampler(Controls(), seed=seed)
    events = play(player, 30, earliest=earliest, latest=earliest + length)
    steps = player.continuer.steps[0][events[:, 0] == NOTE]
    assert ((steps >= earliest) & (steps < earliest + length)).all()


def test_rests_are_no_longer_than_asked():
    player = sampler(Controls(max_rest=1.0, density=-2.0))
    play(player, 40)
    assert np.diff(player.continuer.steps[0][4:]).max() < 24


def test_a_crowded_onset_lets_time_go_on():
    def stay(field, chosen):
        logits = np.zeros(LIVE.sizes[LIVE.index(field)], np.float32)
        if field in ('beat', 'position'):
            logits[1] = 50.0  # the model would stay on the downbeat for ever
        return logits

    player = sampler(Controls(max_chord=3, instruments=('piano',)), rule=stay)
    play(player, 30)
    _, counts = np.unique(player.continuer.steps[0][6:], return_counts=True)
    assert counts.max() <= 3


def test_the_song_ends_only_if_it_may():
    def ending(field, chosen):
        logits = np.zeros(LIVE.sizes[LIVE.index(field)], np.float32)
        if field == 'type':
            logits[END_OF_SONG] = 50.0
        return logits

    assert sampler(Controls(), rule=ending).next_events()[0, 0] == NOTE
    assert sampler(Controls(allow_end=True), rule=ending).next_events()[0, 0] == END_OF_SONG


def test_takes_are_the_same_alone_and_together():
    together = sampler(Controls(), takes=3, seed=5)
    events = [together.next_events()]
    together.advance(events[0])
    events.append(together.next_events())
    for take in range(3):
        alone = sampler(Controls(), seed=5)
        alone.rngs = [np.random.default_rng([5, take])]
        first = alone.next_events()
        alone.advance(first)
        assert np.array_equal(first[0], events[0][take])
        assert np.array_equal(alone.next_events()[0], events[1][take])


def test_impossible_wishes_are_told():
    for controls in ({'temperature': 0}, {'top_p': 0}, {'lowest': 80, 'highest': 20}, {'min_p': 1.0}, {'top_k': -1},
                     {'per_field': {'pich': {'top_p': 0.5}}}, {'max_rest': -1}):  # fmt: skip
        with pytest.raises(GenaudioError):
            Controls(**controls)
    with pytest.raises(GenaudioError, match='no note is left'):
        sampler(Controls(instruments=('tuba',), lowest=100))


# --- names ---


@pytest.mark.parametrize(
    ('name', 'classes'),
    [('C', {0, 2, 4, 5, 7, 9, 11}), ('A minor', {0, 2, 4, 5, 7, 9, 11}), ('Am', {0, 2, 4, 5, 7, 9, 11}),
     ('F# blues', {6, 9, 11, 0, 1, 4}), ('Bb', {10, 0, 2, 3, 5, 7, 9}), ('eb Dorian', {3, 5, 6, 8, 10, 0, 1}),
     ('F# melodic minor', {6, 8, 9, 11, 1, 3, 5}), ('H locrian', {11, 0, 2, 4, 5, 7, 9})],
)  # fmt: skip
def test_keys_live_and_offline(name, classes):
    assert pitch_classes(name) == classes
    assert classes_of(*(wanted_key(name) or ())) == classes


@pytest.mark.parametrize(
    ('name', 'classes'),
    [('C', {0, 4, 7}), ('Am7', {9, 0, 4, 7}), ('F#dim', {6, 9, 0}), ('C/E', {0, 4, 7}), ('Bbmaj7', {10, 2, 5, 9}),
     ('G/F#', {7, 11, 2, 6})],
)  # fmt: skip
def test_chords(name, classes):
    assert chord_pitch_classes(name) == classes


@pytest.mark.parametrize('name', ['', 'X', 'C klingon', 'minor', '5'])
def test_no_key_and_no_chord(name):
    with pytest.raises(GenaudioError, match='is not a key'):
        pitch_classes(name)
    with pytest.raises(GenaudioError, match='is not a chord'):
        chord_pitch_classes(name or 'xx')
