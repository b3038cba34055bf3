"""Synthetic singing: speech on melodies."""

import importlib.util
import random

import numpy as np
import pytest
from numpy.testing import assert_allclose

from genaudio_core.errors import GenaudioError
from genaudio_core.sound.audio_files import write_audio
from genaudio_core.sound.soundfont import PlayedNote
from genaudio_core.training.sounds import singing
from genaudio_core.training.sounds.packed_clips import SoundSet, SoundWriter
from genaudio_core.training.sounds.recordings import Recording, split_of
from genaudio_core.training.sounds.singing import (
    HELD_OUT,
    Singers,
    analyse,
    near,
    parts,
    render_singing,
    sing,
    syllables,
)
from genaudio_core.training.sounds.soundfont_clips import Phrase

RATE = 44100


@pytest.fixture(scope='module')
def speech():
    """Buzzes of three syllables with noise before each: vowels of 150 Hz behind consonants."""
    if not importlib.util.find_spec('pyworld'):
        pytest.skip('no pyworld')
    rng = np.random.default_rng(0)
    t = np.arange(round(0.25 * RATE)) / RATE
    vowel = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 25)) * np.hanning(len(t)) * 0.2
    noise = rng.standard_normal(round(0.08 * RATE)) * 0.03
    return np.concatenate([np.concatenate([noise, vowel, np.zeros(4000)]) for _ in range(3)])


def pitch_at(audio, second):
    """Hz of the strongest partial around a place, by the autocorrelation."""
    part = audio[round((second - 0.05) * RATE) : round((second + 0.05) * RATE)].astype(float)
    spectrum = np.fft.rfft(part, 4 * len(part))
    auto = np.fft.irfft(np.abs(spectrum) ** 2)
    low, high = RATE // 900, RATE // 60
    return RATE / (low + int(auto[low:high].argmax()))


def test_melodies_are_sung_at_their_pitch_and_time(speech):
    voice = analyse(speech, 'x')
    assert voice is not None and len(voice.syllables) == 3
    assert abs(voice.pitch - (69 + 12 * np.log2(150 / 440))) < 0.3
    melody = [PlayedNote(0.5, 1.1, 55, 100), PlayedNote(1.1, 1.7, 62, 100), PlayedNote(2.2, 2.8, 48, 50)]
    audio = sing(voice, melody, 3.0, random.Random(1))
    assert audio.shape == (3 * RATE,) and audio.dtype == np.float32
    for second, note in ((0.95, 55), (1.5, 62), (2.6, 48)):
        assert abs(69 + 12 * np.log2(pitch_at(audio, second) / 440) - note) < 0.8  # vibrato is up to 0.45
    loud = [float(np.sqrt(np.mean(audio[round(a * RATE) : round(b * RATE)] ** 2)))
            for a, b in ((0, 0.4), (0.6, 1.0), (1.85, 2.1), (2.4, 2.7))]  # fmt: skip
    assert loud[0] < 0.01 * loud[1] and loud[2] < 0.02 * loud[1]  # silent between the notes
    assert 0.2 < loud[3] / loud[1] < 0.9  # softer where the note is


def test_a_syllable_at_the_very_end_can_be_held(speech):
    """Shorter than what keeps its own speed, and the last frame is its last: nothing is read beyond it."""
    voice = analyse(speech)
    assert voice is not None
    n = len(voice.f0)
    voice = voice._replace(f0=np.full(n, 150.0), syllables=[(n - 10, n)])
    audio = sing(voice, [PlayedNote(0, 1, 60, 100)], 1.0, random.Random(0))
    assert np.isfinite(audio).all()


def test_nothing_to_sing(speech):
    voice = analyse(speech)
    assert voice is not None
    assert not sing(voice, [], 0.5, random.Random(0)).any()
    assert analyse(np.zeros(RATE)) is None


def test_syllables_take_the_consonant_before_them():
    voiced = np.zeros(200, bool)
    voiced[20:60], voiced[65:80], voiced[100:104], voiced[110:190] = True, True, True, True
    power = np.ones(200)
    power[150] = 0.1
    # The second one's consonant ends where the first one's vowel does; 4 frames are no syllable; 80 are cut in two.
    assert syllables(voiced, power) == [(6, 60), (60, 80), (96, 150), (150, 190)]


def test_a_choir_shares_out_chords():
    chords = [PlayedNote(0, 1, n, 80) for n in (60, 64, 67)] + [PlayedNote(1, 2, 62, 80), PlayedNote(1.01, 2, 65, 80)]
    low, middle, high = parts(chords, 3)
    assert [n.note for n in low] == [60, 62] and [n.note for n in high] == [67, 65] and middle[0].note == 64
    assert [n.note for n in parts(chords, 1)[0]] == [60, 62]


def test_melodies_move_to_the_voice():
    melody = [PlayedNote(i, i + 1, n, 80) for i, n in enumerate((84, 86, 88))]
    for seed in range(10):
        moved = near(melody, 45.0, random.Random(seed))
        assert 44 <= moved[1].note <= 65 and moved[2].note - moved[0].note == 4


def recordings(folder, speech):
    found = []
    for source in (HELD_OUT, 'someone'):
        for i in range(30):
            path = folder / f'{source}-{i}.wav'
            if not path.exists():
                write_audio(path, speech, RATE)
            found.append(Recording(path, 'female speech', 'speech', 'vocals', source, 1.5))
    return found


def test_one_speaker_sings_in_tests_only(tmp_path):
    found = [Recording(tmp_path / f'{s}{i}.ogg', 'speech', 'speech', 'vocals', s, 2.0)
             for s in (HELD_OUT, 'someone') for i in range(60)]  # fmt: skip
    by_split = {split: Singers(found, split, random.Random(0)).recordings for split in ('train', 'valid', 'test')}
    assert {r.source for r in by_split['test']} == {HELD_OUT} and len(by_split['test']) == 60
    for split in ('train', 'valid'):
        assert {r.source for r in by_split[split]} == {'someone'}
    assert not {r.path for r in by_split['train']} & {r.path for r in by_split['valid']}
    with pytest.raises(GenaudioError, match='None of the voice recordings'):
        Singers([], 'train', random.Random(0)).draw()


def test_clips_are_packed_like_the_rest(tmp_path, speech):
    names = [n for n in (f'p{i}' for i in range(99)) if split_of(n) == 'train'][:2]
    mono = [PlayedNote(i * 0.4, i * 0.4 + 0.38, 60 + i % 5, 80) for i in range(40)]
    chords = [PlayedNote(i * 0.8, i * 0.8 + 0.7, n, 80) for i in range(20) for n in (60, 64, 67)]
    pieces = {name: [Phrase(name, 'violin', mono, 1.0), Phrase(name, 'piano', chords, 3.0)] for name in names}
    voices = recordings(tmp_path, speech)
    for _ in range(2):  # a second run adds to the first
        with SoundWriter(tmp_path / 'sounds') as writer:
            made = render_singing(writer, pieces, voices, 'train', random.Random(3), n_solos=2, n_choirs=1, seconds=3.0)
    assert made == 9.0
    sounds = SoundSet(tmp_path / 'sounds')
    assert sorted(c.label for c in sounds.clips) == ['choir'] * 2 + ['vocals'] * 4
    for clip in sounds.clips:
        assert (clip.kind, clip.split, clip.channels, clip.sample_rate, clip.seconds) == ('solo', 'train', 1, RATE, 3.0)
        assert clip.group in names and clip.source in ('singing someone', 'singing choir')
        assert 0.01 < np.sqrt(np.mean(sounds.read(clip) ** 2)) < 0.1
    again = sounds.read(sounds.clips[0])
    assert_allclose(again, sounds.read(sounds.clips[3]))  # the same seed, the same singing
    with pytest.raises(GenaudioError, match='Too few scores'), SoundWriter(tmp_path / 'x') as writer:
        render_singing(writer, {}, voices, 'train', random.Random(0), n_solos=1, n_choirs=0, seconds=1.0)


def test_without_pyworld_its_package_is_named(monkeypatch):
    monkeypatch.setattr(singing, 'import_module', lambda name: (_ for _ in ()).throw(ImportError(name)))
    singing.need_world.cache_clear()
    with pytest.raises(GenaudioError, match=r'genaudio\[singing\]'):
        singing.need_world()
    monkeypatch.undo()
    singing.need_world.cache_clear()


def test_the_command_wants_scores_and_voices(tmp_path, capsys):
    from genaudio_core.commands.cli import main

    assert main(['prepare-sounds', '--singing', '--scores', str(tmp_path), '-o', str(tmp_path / 'o')]) == 2
    assert '--singing needs --scores' in capsys.readouterr().err
