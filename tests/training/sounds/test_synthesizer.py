"""The synthesizer of training sounds: in tune, on time, without aliases."""

from dataclasses import replace

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genaudio_core.sound.soundfont import PlayedNote
from genaudio_core.training.sounds.random_synthesizer import PLUCKED, draw_patch, play, through_effects

RATE = 44100


def plain(**changes):
    """A patch of one open oscillator without movement."""
    patch = draw_patch('synth lead', np.random.default_rng(0))
    still = {
        'detune': np.zeros(1), 'pan': np.zeros(1), 'second_level': 0.0, 'cutoff': 16_000.0, 'tracking': 0.0,
        'resonance': 0.0, 'sweep': 0.0, 'wave': 0.0, 'attack': 0.002, 'sustain': 1.0, 'release': 0.05, 'vibrato': 0.0,
        'noise': 0.0, 'partials': 1 / np.arange(1, 401),
    }  # fmt: skip
    return replace(patch, **(still | changes))


def spectrum(audio):
    return np.abs(np.fft.rfft(audio[0] * np.hanning(audio.shape[1])))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(['synth lead', 'synth pad', 'synth bass', *PLUCKED]),
    starts=st.lists(st.integers(-1500, 2500), max_size=6),  # milliseconds
)  # fmt: skip
def test_any_patch_plays_any_notes(seed, kind, starts):
    rng = np.random.default_rng(seed)
    keys, begins = rng.integers(1, 128, (len(starts), 2)).tolist(), [start / 1000 for start in starts]
    notes = [PlayedNote(at, at + 0.3, key, velocity) for at, (key, velocity) in zip(begins, keys, strict=True)]
    audio = through_effects(kind, play(draw_patch(kind, rng), notes, 2.0, RATE, rng), RATE, rng)
    assert audio.shape == (2, 2 * RATE) and audio.dtype == np.float32 and np.isfinite(audio).all()


@pytest.mark.parametrize('key', [33, 69, 96])
def test_it_is_in_tune_and_has_no_aliases(key):
    audio = play(plain(), [PlayedNote(0.0, 2.0, key, 127)], 1.0, RATE, np.random.default_rng(0))
    found, pitch = spectrum(audio), 440 * 2 ** ((key - 69) / 12)
    assert abs(found.argmax() - pitch) < 1.5  # bins are 1 Hz
    partial = np.abs(np.arange(len(found)) / pitch - np.round(np.arange(len(found)) / pitch)) * pitch < 6
    assert found[~partial].max() < 2e-3 * found.max()


def test_notes_sound_when_they_should():
    patch, rng = plain(), np.random.default_rng(0)
    audio = play(patch, [PlayedNote(0.5, 1.0, 60, 100)], 2.0, RATE, rng)
    level = np.sqrt(np.mean(audio[0].reshape(20, -1) ** 2, 1))  # of every tenth of a second
    assert level[:5].max() == 0 and level[5:10].min() > 0.1 and level[12:].max() == 0
    held = play(patch, [PlayedNote(-1.0, 0.5, 60, 100)], 1.0, RATE, rng)
    assert np.abs(held[:, :1000]).max() > 0.1 and np.abs(held[:, -1000:]).max() == 0


def test_the_filter_closes_and_the_knobs_are_heard():
    note = [PlayedNote(0.0, 1.0, 45, 100)]

    def high(patch):
        found = spectrum(play(patch, note, 1.0, RATE, np.random.default_rng(0)))
        return found[3000:].sum() / found.sum()

    assert high(plain(cutoff=300.0)) < 0.2 * high(plain())
    wide = plain(detune=np.array([-20.0, 20.0]), pan=np.array([-1.0, 1.0]))
    left, right = play(wide, note, 1.0, RATE, np.random.default_rng(0))
    assert np.corrcoef(left, right)[0, 1] < 0.9


def test_a_window_gets_our_synthesizer_at_the_loudness_of_the_score(test_font):
    from genaudio_core.training.sounds.bands import BandRenderer

    renderer, events = BandRenderer([test_font]), [(0.0, mido.Message('program_change', program=81))]
    for i in range(8):
        events.append((0.5 * i, mido.Message('note_on', note=60 + i, velocity=90)))
        events.append((0.5 * i + 0.4, mido.Message('note_off', note=60 + i)))
    fonts = [test_font.stem]
    made = [renderer.window(events, 0.0, 4.0, fonts, np.random.default_rng(3), own=own) for own in (False, True, True)]
    (name,) = made[0]
    theirs, ours, again = (next(iter(stems.values())) for stems in made)
    assert name.startswith('synth') and ours.shape == theirs.shape == (2, 4 * RATE)
    loud = [float(np.sqrt(np.mean(x**2))) for x in (theirs, ours)]
    assert loud[1] == pytest.approx(loud[0], rel=0.05)
    assert abs(np.corrcoef(ours[0], theirs[0])[0, 1]) < 0.5
    np.testing.assert_allclose(ours, again, rtol=1e-3, atol=1e-5)  # fluidsynth's dither goes on


def test_a_distorted_guitar_of_a_varied_band_is_a_clean_one_through_an_amplifier(test_font, monkeypatch):
    from genaudio_core.training.sounds import bands

    renderer, played, driven = bands.BandRenderer([test_font]), set(), []
    play_part, effects = renderer._play, bands.through_effects

    def noted(wanted, *rest):
        played.update(program for *_, program in wanted)
        return play_part(wanted, *rest)

    monkeypatch.setattr(renderer, '_play', noted)
    monkeypatch.setattr(bands, 'through_effects', lambda *given: driven.append(given[0]) or effects(*given))
    for name in ('_swap', '_recast'):
        monkeypatch.setattr(renderer, name, lambda program, *_: program)
    events = [(0.0, mido.Message('program_change', program=30))]
    events += [(0.1, mido.Message('note_on', note=key)) for key in (40, 47)]
    for share, expected in ((0.0, {30}), (1.0, set(bands.CLEAN_GUITARS))):
        monkeypatch.setattr(bands, 'SHARE_AMPLIFIED', share)
        played.clear(), driven.clear()
        for seed in range(6):
            stems = renderer.window(events, 0.0, 2.0, [test_font.stem], np.random.default_rng(seed), vary=True)
            assert set(stems) == {'distorted guitar'} and np.abs(stems['distorted guitar']).max() > 1e-3
        assert played <= expected and driven == ['distorted guitar'] * (6 if share else 0)
