"""Sounds at the edge of what there is, through `genaudio separate`: stems that add up to them exactly, or one line.

One sample, 384 kHz, eight channels, every coding that soundfile writes, full scale and far beyond, numbers that are
none, names of all sorts.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from separation_fakes import fake_separator, low

from bridge.cli import main
from genaudio_core.sound.audio_files import read_audio


@pytest.fixture(autouse=True)
def fake_model(monkeypatch, tmp_path):
    """A stand-in for the model: what is tested is what is around it."""
    from bridge.commands.offline import separate
    from genaudio_core.separation.offline import Separator

    monkeypatch.setattr(Separator, 'load', classmethod(lambda *_, **__: fake_separator()))
    monkeypatch.setattr(separate, '_queries', lambda args, _: [low(0.5, name) for name in args.query])
    monkeypatch.chdir(tmp_path)


def noise(n: int, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((n, channels)) * 0.1


def one(value: float) -> np.ndarray:
    """Noise with one sample of this value."""
    audio = noise(3000)
    audio[300, 0] = value
    return audio


def write(name: str, audio: np.ndarray, rate: int = 44100, kind: str = 'WAV', coding: str = 'FLOAT') -> np.ndarray:
    """Make a file; return what soundfile reads out of it: float32 (channels, n_samples)."""
    with open(name, 'wb') as file:
        soundfile.write(file, audio, rate, format=kind, subtype=coding)
    with open(name, 'rb') as file:
        return soundfile.read(file, dtype='float32', always_2d=True)[0].T


def separated(name: str) -> tuple[int, list[Path]]:
    """The exit code of `separate`, and the files it made."""
    code = main(['separate', '-q', 'violin', '--residual', '-o', 'out', '--', name])
    return code, sorted(Path('out').iterdir()) if Path('out').exists() else []


WHOLE = {f'{n} samples': (noise(n), {}) for n in (1, 2, 3, 7, 1025)}
WHOLE |= {f'{rate} Hz': (noise(2000), {'rate': rate}) for rate in (4000, 8000, 11025, 44056, 96000, 192000, 384000)}
WHOLE |= {f'{channels} channels': (noise(500, channels), {}) for channels in range(1, 9)}
CODINGS = {
    'WAV': 'PCM_U8 PCM_24 PCM_32 DOUBLE ULAW ALAW', 'WAVEX': 'PCM_24', 'RF64': 'FLOAT', 'W64': 'PCM_24',
    'AIFF': 'PCM_S8 DOUBLE', 'AU': 'PCM_16', 'CAF': 'ALAC_16 FLOAT', 'VOC': 'PCM_U8', 'FLAC': 'PCM_S8 PCM_24',
    'OGG': 'VORBIS', 'MP3': 'MPEG_LAYER_III',
}  # fmt: skip
WHOLE |= {
    f'{n} of {kind} {coding}': (noise(n), {'kind': kind, 'coding': coding})
    for n in (1, 4000) for kind, codings in CODINGS.items() for coding in codings.split()
}  # fmt: skip
WHOLE |= {
    'nothing but full scale': (np.ones((3000, 2)), {}), 'full scale below': (-np.ones((3000, 2)), {'coding': 'PCM_16'}),
    'a square at full scale': (np.sign(noise(3000)), {'coding': 'PCM_16'}), 'far too loud': (noise(3000) * 1e4, {}),
    'one of a milliard': (one(1e9), {}), 'one hardly a number': (one(1e-320), {'coding': 'DOUBLE'}),
}  # fmt: skip


@pytest.mark.parametrize('name', WHOLE)
def test_it_is_separated_whole(name, capsys):
    audio, how = WHOLE[name]
    sound = write('x.wav', audio, **how)
    code, made = separated('x.wav')
    assert code == 0 and capsys.readouterr().err == '' and len(made) == 2
    stems = [read_audio(path) for path in made]
    assert sum(stems).shape == sound.shape
    assert np.abs(sum(stems) - sound).max() <= 3e-7 * max(1, np.abs(sound).max())
    rates = {soundfile.info(path).samplerate for path in made}
    assert rates == {soundfile.info('x.wav').samplerate}


@pytest.mark.parametrize('coding', ['IMA_ADPCM', 'MS_ADPCM'])
@pytest.mark.parametrize('channels', [1, 2])
@pytest.mark.parametrize('n', [1, 500, 2000, 4000, 9000])
def test_of_blocks_that_are_filled_up_nothing_is_lost(coding, channels, n, capsys):
    """libsndfile counts half of the samples where ADPCM is stereo; of a short file half was lost."""
    sound = write('x.wav', noise(n, channels), coding=coding)
    code, made = separated('x.wav')
    total = sum(read_audio(path) for path in made)
    assert code == 0 and capsys.readouterr().err == '' and n <= total.shape[1] <= sound.shape[1]
    assert np.abs(total - sound[:, : total.shape[1]]).max() < 3e-7


REFUSED = {
    'no sample': (noise(0), {}, 'contains no sound'), '999 Hz': (noise(3000), {'rate': 999}, '(4000 to 384000)'),
    '768 kHz': (noise(3000), {'rate': 768000}, '(4000 to 384000)'), '9 channels': (noise(500, 9), {}, 'at most 8'),
    '255 channels': (noise(9, 255), {}, 'at most 8'), 'no number': (one(np.nan), {}, 'no numbers'),
    'endless': (one(-np.inf), {}, 'no numbers'), 'too large for float32': (one(1e300), {'coding': 'DOUBLE'}, 'no num'),
    'too loud for any arithmetic': (one(1e30), {}, 'louder than any sound'), 'silence': (0 * noise(3000), {}, 'silent'),
    'hardly numbers': (noise(3000) * 1e-39, {}, 'silent'), 'no AIFF sample': (noise(0), {'kind': 'AIFF'}, 'no sound'),
}  # fmt: skip


@pytest.mark.parametrize('name', REFUSED)
def test_it_is_refused_in_one_line(name, capsys):
    audio, how, why = REFUSED[name]
    write('x.wav', audio, **how)
    code, made = separated('x.wav')
    said = capsys.readouterr().err
    assert code == 2 and not made and said.startswith('error: ') and said.count('\n') == 1 and why in said


@pytest.mark.skipif(os.name == 'nt', reason='such names cannot be there')
@pytest.mark.parametrize('name', [
    ' x.wav', '-x.wav', '--help.wav', 'x', 'x.WAV', 'x.wav.', '.wav', '.x.wav', 'x.mp3', 'x.FLAC', 'x.mid', 'x.txt',
    'ü 歌.wav', 'e\u0301.wav', 'a\nb.wav', 'a\x1b[31m.wav', '"\'$(x)`y`.wav', '%s{}\\.wav', 'n' * 251 + '.wav',
    '歌' * 83 + '.wav', '*?.wav', '~.wav', '\udcff.wav', 'x.violin.wav', 'x.residual.wav',
], ids=ascii)  # fmt: skip
def test_any_name_is_a_name(name, capsys):
    sound = write(name, noise(500))
    code, made = separated(name)
    said = capsys.readouterr().err
    assert code == 0 and len(made) == 2 and said.count('\n') == ('shortened' in said) and '\x1b' not in said
    assert np.abs(sum(read_audio(path) for path in made) - sound).max() < 3e-7
