import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from script_sounds import noise

from genaudio_core.errors import GenaudioError
from genaudio_core.script.mixing import SAMPLE_RATE, MixSettings, ducking, mix, to_channels
from genaudio_core.script.table import BACKGROUND, BEGIN, EFFECT, FOREGROUND, MUSIC, SPEECH, Row
from genaudio_core.script.timetable import Part
from genaudio_core.sound.loudness import decibels, integrated_loudness, true_peak

NO_DUCK = MixSettings(duck_db=0)


def part(start, end, kind=EFFECT, layout=FOREGROUND, volume=-24.0, number=1, **more):
    action = BEGIN if layout == BACKGROUND else ''
    return Part(Row(number, kind, layout, 'x', volume, f'id{number}' if action else '', action, **more), start, end)


def sounding(audio):
    """First sample and the one after the last that is not zero."""
    heard = np.flatnonzero(np.abs(audio).max(axis=0) > 0)
    return (int(heard[0]), int(heard[-1]) + 1) if len(heard) else (0, 0)


@given(st.lists(st.integers(1, 30000), min_size=1, max_size=5), st.integers(0, 3), st.integers(0, 2**31))
def test_every_part_sounds_on_its_samples_and_stems_add_up(lengths, n_backgrounds, seed):
    rng = np.random.default_rng(seed)
    parts, at = [], 0
    for number, n in enumerate(lengths, 1):
        kind = (EFFECT, SPEECH, MUSIC)[number % 3]
        parts.append(part(at, at + n, kind, volume=float(rng.uniform(-60, 0)), number=number))
        at += n
    borders = sorted({p.start for p in parts} | {at})
    for i in range(n_backgrounds):
        start, end = sorted(rng.choice(len(borders), 2, replace=False))
        parts.append(part(borders[start], borders[end], EFFECT, BACKGROUND, -35, 100 + i))
    sounds = [noise(p.n_samples, seed + i) for i, p in enumerate(parts)]
    made = mix(parts, sounds)
    assert made.audio.shape == (2, at)
    total = np.zeros_like(made.audio)
    for p, stem in zip(parts, made.stems, strict=True):
        assert stem.audio.shape == (2, p.n_samples)
        assert sounding(stem.audio) == (0, p.n_samples)
        total[:, p.start : p.end] += stem.audio
    assert np.array_equal(total, made.audio)
    assert made.peak_db <= -0.999 and true_peak(made.audio) <= 10 ** (-0.99 / 20)


def test_a_known_sound_is_where_it_should_be():
    """One row of silence, a constant of 0.5 over samples 1000..3000, silence: known to the sample, nothing between."""
    parts = [part(0, 1000), part(1000, 3000, fade_in=0.0, fade_out=0.0), part(3000, 3500)]
    made = mix(parts, [np.zeros((1, 1000)), np.full((1, 2000), 0.5), np.zeros((1, 500))], NO_DUCK)
    assert sounding(made.audio) == (1000, 3000)
    assert np.ptp(made.audio[:, 1000:3000]) == 0
    assert [stem.silent for stem in made.stems] == [True, False, True]


@pytest.mark.parametrize('channels', [1, 2])
@pytest.mark.parametrize('volume', [-16.0, -30.0, -55.0])
def test_volume_is_the_loudness_of_the_row(channels, volume):
    for sound in (noise(3 * SAMPLE_RATE), noise(3 * SAMPLE_RATE)[:1], noise(5000)):
        made = mix([part(0, sound.shape[1], volume=volume, fade_in=0.0, fade_out=0.0)], [sound],
                   MixSettings(channels=channels))  # fmt: skip
        assert integrated_loudness(made.audio, SAMPLE_RATE) == pytest.approx(volume, abs=0.05)
        assert made.audio.shape == (channels, sound.shape[1]) and made.gain_db == 0


def test_a_loud_mix_is_lowered_as_a_whole():
    parts = [part(0, 44100, volume=0.0), part(44100, 88200, volume=-20.0, number=2)]
    sounds = [noise(44100, 1), noise(44100, 2)]
    loud, quiet = mix(parts, sounds), mix(parts, sounds, MixSettings(ceiling_db=-20))
    assert decibels(true_peak(loud.audio)) == pytest.approx(-1, abs=0.01) and loud.gain_db < 0
    assert decibels(true_peak(quiet.audio)) == pytest.approx(-20, abs=0.01)
    ratio = loud.audio[np.abs(quiet.audio) > 1e-4] / quiet.audio[np.abs(quiet.audio) > 1e-4]
    assert np.ptp(ratio) < 1e-4 * ratio.mean()  # one factor for every sample of every row


def test_what_is_nearly_silent_is_not_dragged_up():
    made = mix([part(0, 44100, volume=0.0)], [noise(44100, level=2e-4)])
    assert made.stems[0].limited and made.stems[0].gain_db == 60


def test_background_ducks_under_speech_and_only_there():
    rate = SAMPLE_RATE
    settings = MixSettings(duck_db=12, attack=0.25, release=0.5, hold=1.0)
    parts = [
        part(0, 2 * rate, EFFECT), part(2 * rate, 3 * rate, SPEECH, number=2),
        part(3 * rate, 7 * rate // 2, EFFECT, number=3), part(7 * rate // 2, 4 * rate, SPEECH, number=4),
        part(4 * rate, 6 * rate, EFFECT, number=5),
        part(0, 6 * rate, MUSIC, BACKGROUND, -30, 6, fade_in=0.0, fade_out=0.0),
    ]  # fmt: skip
    duck = ducking(parts, 6 * rate, settings)
    assert duck is not None
    down = pytest.approx(10 ** (-12 / 20), rel=1e-5)
    assert np.all(duck[: 2 * rate - rate // 4] == 1) and duck[2 * rate - rate // 8] < 1
    assert duck[2 * rate] == down and duck[4 * rate - 1] == down
    assert duck[int(3.25 * rate)] == down  # it stays down over the short pause
    assert 10 ** (-12 / 20) < duck[4 * rate + rate // 4] < 1 and np.all(duck[4 * rate + rate // 2 :] == 1)
    assert np.abs(np.diff(duck)).max() < 1e-3  # no zipper, no click
    sounds = [noise(p.n_samples, i) for i, p in enumerate(parts)]
    with_duck, without = mix(parts, sounds, settings), mix(parts, sounds, NO_DUCK)
    for a, b in zip(with_duck.stems[:-1], without.stems[:-1], strict=True):
        assert np.array_equal(a.audio, b.audio)  # the foreground is never touched
    np.testing.assert_allclose(with_duck.stems[-1].audio, without.stems[-1].audio * duck, rtol=1e-5)


def test_effects_do_not_duck():
    assert ducking([part(0, 100, EFFECT), part(0, 100, MUSIC, BACKGROUND)], 100, MixSettings()) is None


def test_fades_meet_on_a_short_row():
    made = mix([part(0, 7, MUSIC, BACKGROUND)], [np.ones((1, 7))], NO_DUCK)
    assert np.all(made.audio > 0) and made.audio[0, 0] < made.audio[0, 2]


def test_channels():
    quad = np.stack([np.full(4, v, np.float32) for v in (1, 2, 3, 6)])
    assert to_channels(quad, 2).tolist() == [[3] * 4] * 2 and to_channels(quad, 1).tolist() == [[3] * 4]
    assert to_channels(np.ones(4), 2).shape == (2, 4) and to_channels(noise(4), 1).shape == (1, 4)


def test_the_callers_sound_is_left_alone():
    sound = noise(1000)
    before = sound.copy()
    mix([part(0, 1000, volume=-70)], [sound])
    assert np.array_equal(sound, before)


def test_faults():
    with pytest.raises(GenaudioError, match=r'row 1: .* NaN or infinite'):
        mix([part(0, 10)], [np.full((2, 10), np.nan)])
    for wrong in ({'duck_db': -1}, {'duck_db': float('nan')}, {'ceiling_db': 3}, {'channels': 6}):
        with pytest.raises(GenaudioError):
            MixSettings(**wrong)
