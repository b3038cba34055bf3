"""What producers do to parts of training windows: a mixture stays the sum of its stems, and nothing moves in time."""

import importlib.util

import mido
import numpy as np
import pytest

from genaudio_core.commands.cli import main
from genaudio_core.errors import GenaudioError
from genaudio_core.score.notes import Note, Score, Track
from genaudio_core.score.reading import write_midi
from genaudio_core.sound.audio_files import AudioWriter
from genaudio_core.sound.soundfont import SAMPLE_RATE, PlayedNote, check_font
from genaudio_core.training.sounds.bands import BandRenderer
from genaudio_core.training.sounds.production import drum_part, gated, limiter_gain, pump, sung_over, sweep
from genaudio_core.training.sounds.singing import Singers, analyse


def test_a_limiter_holds_peaks_down_and_lets_go():
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    wave = np.sin(2 * np.pi * 200 * t).astype(np.float32)
    loud = np.where((t > 0.4) & (t < 0.6), 1.0, 0.1).astype(np.float32)
    mixture = np.stack([wave * loud, 0.5 * wave * loud])
    gain = limiter_gain(mixture, 12.0, 1e6, 0.05, SAMPLE_RATE)
    pressed = np.abs(mixture * gain)
    assert 10 ** (-12.5 / 20) < pressed.max() < 10 ** (-11.5 / 20)  # also at the first loud sample: it looks ahead
    assert gain[: round(0.39 * SAMPLE_RATE)].min() == 1  # below its threshold nothing happens
    assert gain[round(0.62 * SAMPLE_RATE)] < 0.6 < 0.95 < gain[round(0.95 * SAMPLE_RATE)]
    assert np.abs(np.diff(gain)).max() < 0.02  # no click
    np.testing.assert_array_equal(limiter_gain(mixture, 0.0, 4.0, 0.05, SAMPLE_RATE), np.ones(SAMPLE_RATE))


def test_parts_duck_under_the_bass_drum_and_come_back():
    audio = np.ones((2, SAMPLE_RATE), np.float32)
    heard = pump(audio, [-0.05, 0.5], 0.8, 0.2, SAMPLE_RATE)
    at = {when: float(heard[0, round(when * SAMPLE_RATE)]) for when in (0.0, 0.3, 0.51, 0.6, 0.8)}
    assert at[0.0] < 0.8  # of a stroke before the window the end is heard
    assert at[0.51] == pytest.approx(0.25, abs=0.1)
    assert at[0.51] < at[0.6] < 1
    assert at[0.3] == at[0.8] == 1
    assert np.abs(np.diff(heard[0])).max() < 0.02  # no click
    np.testing.assert_array_equal(heard[0], heard[1])
    np.testing.assert_array_equal(pump(audio, [], 0.8, 0.2, SAMPLE_RATE), audio)


def test_a_filter_that_opens_keeps_length_and_takes_treble():
    pytest.importorskip('pedalboard')
    noise = 0.1 * np.random.default_rng(1).standard_normal((2, 2 * SAMPLE_RATE)).astype(np.float32)
    for seed in range(4):
        heard = sweep(noise, SAMPLE_RATE, np.random.default_rng(seed))
        assert heard.shape == noise.shape and np.isfinite(heard).all()
        treble = np.abs(np.fft.rfft(heard))[:, heard.shape[1] // 4 :]
        assert treble.mean() < 0.95 * np.abs(np.fft.rfft(noise))[:, heard.shape[1] // 4 :].mean()


def need_pyworld() -> None:
    if not importlib.util.find_spec('pyworld'):  # importing it needs a hand: singing.need_world
        pytest.skip('no pyworld')


class OneSinger(Singers):
    """A choir of one, who sings a vowel."""

    def __init__(self):
        t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
        vowel = sum(np.sin(2 * np.pi * k * 150 * t) / k for k in range(1, 20)) * (np.sin(2 * np.pi * 2 * t) > -0.7)
        voice = analyse(0.1 * vowel)
        assert voice is not None
        self.voice = voice

    def draw(self):
        return self.voice


def test_the_highest_melody_is_sung():
    need_pyworld()
    pytest.importorskip('pedalboard')
    low, high = ([PlayedNote(0.5 * i, 0.5 * i + 0.4, key + i, 90) for i in range(6)] for key in (48, 72))
    rng = np.random.default_rng(1)
    found = sung_over([low, high, []], OneSinger(), 3.0, SAMPLE_RATE, rng)
    assert found is not None and found[0] == 1
    voice = found[1]
    assert voice.shape == (2, 3 * SAMPLE_RATE) and np.abs(voice).max() > 0.01
    fast = [PlayedNote(0.05 * i, 0.05 * i + 0.04, 72, 90) for i in range(30)]
    assert sung_over([fast, low[:2]], OneSinger(), 3.0, SAMPLE_RATE, rng) is None


def test_bands_can_be_sung_and_given_to_synthesizers(test_font):
    need_pyworld()
    pytest.importorskip('fluidsynth')
    events = [(0.0, mido.Message('program_change', channel=c, program=p)) for c, p in ((0, 33), (1, 0), (2, 73))]
    for i in range(8):
        for c, key in ((0, 36), (1, 60), (2, 76), (9, 36)):
            events += [(0.25 * i, mido.Message('note_on', channel=c, note=key)),
                       (0.25 * i + 0.2, mido.Message('note_off', channel=c, note=key))]  # fmt: skip
    events.sort(key=lambda event: event[0])
    renderer, singers = BandRenderer([test_font]), OneSinger()
    labels: set[str] = set()
    for seed in range(3):
        rng = np.random.default_rng(seed)
        stems = renderer.window(events, 0.0, 2.0, [test_font.stem], rng, synths=1.0, singers=singers, sung=1.0)
        assert 'vocals' in stems and 'synth bass' in stems and 'drums' in stems
        assert all(audio.shape == (2, 2 * SAMPLE_RATE) for audio in stems.values())
        labels |= stems.keys()
    assert not labels & {'piano', 'flute', 'electric bass'}


def test_a_kit_becomes_a_stem_for_each_of_its_parts(test_font):
    pytest.importorskip('fluidsynth')
    keys = {'kick drum': 36, 'snare drum': 38, 'hi-hat': 42, 'taiko': 45, 'cymbals': 49, 'hand percussion': 54}
    assert {drum_part(key) for key in range(128)} == set(keys)
    events = [(0.0, mido.Message('program_change', channel=0, program=0))]
    for i, key in enumerate(keys.values()):
        events += [(0.3 * i, mido.Message('note_on', channel=9, note=key, velocity=127)),
                   (0.3 * i + 0.1, mido.Message('note_on', channel=9, note=key, velocity=127)),
                   (0.3 * i, mido.Message('note_on', channel=0, note=60)),
                   (0.3 * i + 0.2, mido.Message('note_off', channel=0, note=60))]  # fmt: skip
    renderer = BandRenderer([test_font])

    def window(**options):
        return renderer.window(events, 0.0, 2.0, [test_font.stem], np.random.default_rng(1), **options)

    whole, parts = window(), window(drum_parts=1.0)
    assert 'drums' in whole and set(keys) < set(parts) and len(whole) == 2 and 'drums' not in parts
    kit = sum(parts[name] for name in keys)
    spectra = [np.abs(np.fft.rfft(audio.mean(0))) for audio in (whole['drums'], kit)]  # it begins anywhere in a block
    assert np.corrcoef(*spectra)[0, 1] > 0.9
    for i, name in enumerate(keys):  # and each is struck where it was
        assert np.abs(parts[name][:, : max(round((0.3 * i - 0.02) * SAMPLE_RATE), 0)]).max(initial=0) < 1e-3


def test_a_font_whose_parts_have_odd_lengths_is_whole(tmp_path):
    """MuseScore's .sf3 lack the byte that makes a part even; others have it."""

    def part(name, n):
        return b'LIST' + (n + 4).to_bytes(4, 'little') + name + bytes(n)

    for padding in (b'', b'\0'):
        body = b'sfbk' + part(b'INFO', 7) + padding + part(b'sdta', 9) + padding + part(b'pdta', 8)
        (tmp_path / 'a.sf3').write_bytes(b'RIFF' + len(body).to_bytes(4, 'little') + body)
        assert check_font(tmp_path / 'a.sf3')
        (tmp_path / 'a.sf3').write_bytes(b'RIFF' + len(body).to_bytes(4, 'little') + body[:-20])
        with pytest.raises(GenaudioError, match='a part of it is missing'):
            check_font(tmp_path / 'a.sf3')


@pytest.mark.parametrize('data', [b'', b'RIFF', b'RIFF\0\0\0\0sfbk' + bytes(500), b'hello ' * 99])
@pytest.mark.parametrize('option', ['--fonts', '--test-fonts'])
def test_a_font_that_is_none_is_one_line_before_anything_is_made(tmp_path, capfd, test_font, option, data):
    write_midi(Score([Track(notes=[Note(0, 1, 60)])]), tmp_path / 'a.mid')
    (tmp_path / 'bad.sf2').write_bytes(data)
    fonts = {'--fonts': str(test_font), '--test-fonts': str(test_font)} | {option: str(tmp_path / 'bad.sf2')}
    words = [word for pair in fonts.items() for word in pair]
    assert main(['prepare-bands', str(tmp_path), '-o', str(tmp_path / 'out'), *words]) == 2
    said = capfd.readouterr().err  # fluidsynth's own lines would be here, too
    assert said.count('\n') == 1 and 'bad.sf2' in said and not (tmp_path / 'out').exists()


def test_bands_in_which_nothing_plays_together_are_told_and_no_folder_is_left(tmp_path, capfd, test_font):
    write_midi(Score([Track(notes=[Note(i, 1, 60) for i in range(40)])]), tmp_path / 'a.mid')
    (tmp_path / 'b.mid').write_bytes(b'MThd')
    words = ['--fonts', str(test_font), '--test-fonts', str(test_font)]
    assert main(['prepare-bands', str(tmp_path), '-o', str(tmp_path / 'out'), *words]) == 2
    passed, error = capfd.readouterr().err.splitlines()
    assert 'b.mid is not a readable MIDI file' in passed and 'No window' in error
    assert not (tmp_path / 'out').exists()


def test_singing_needs_voices(tmp_path, capsys):
    with AudioWriter(tmp_path / 'a.wav', SAMPLE_RATE, 1) as writer:
        writer.write(np.zeros((1, 10), np.float32))
    assert main(['prepare-bands', str(tmp_path), '-o', str(tmp_path / 'out'), '--sung', '0.5']) == 2
    assert '--recordings' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('seed', range(8))
def test_a_gate_makes_notes_that_die_away(seed):
    gain = gated(np.ones((2, 2 * SAMPLE_RATE), np.float32), SAMPLE_RATE, np.random.default_rng(seed))
    assert (gain[0] == gain[1]).all() and gain.max() <= 1 and (gain >= 0).all()
    gain = gain[0]
    rises = np.flatnonzero((np.diff(gain) > 0) & (np.append(0, np.diff(gain)[:-1]) <= 0))  # where notes begin
    assert 1 <= len(rises) <= 2 / 0.09 + 1
    falling = np.diff(gain) < 0
    assert falling.mean() > 0.8  # a stroke is short
    gaps = np.diff(rises)
    assert len(gaps) == 0 or gaps.min() >= 0.089 * SAMPLE_RATE
