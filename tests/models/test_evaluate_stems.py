"""How the live separator is measured: on bands made here, with the bundled model."""

import re
from urllib.parse import unquote

import numpy as np
import pytest

from genaudio_core.analysis.listening_page import write_page
from genaudio_core.analysis.stems import as_table, bands, live, real, summary
from genaudio_core.commands.cli import main
from genaudio_core.files import find_model
from genaudio_core.separation.streaming import MaskNetwork
from genaudio_core.sound.audio_files import read_audio, write_audio
from genaudio_core.training.sounds.packed_clips import SoundSet, SoundWriter

RATE = 44100


def burst(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((2, n)) * np.exp(-(np.arange(n) % 11025) / 1500)


def tone(n: int, hertz: float, left: float) -> np.ndarray:
    wave = sum(np.sin(2 * np.pi * k * hertz * np.arange(n) / RATE) / k for k in range(1, 9))
    return np.stack([left * wave, (1 - left) * wave])


@pytest.fixture
def folder(tmp_path):
    rng, n = np.random.default_rng(1), 2 * RATE
    with SoundWriter(tmp_path / 'bands') as writer:

        def window(group: str, parts: dict[str, np.ndarray], split: str = 'test') -> None:
            for label, audio in parts.items():
                writer.add((0.1 * audio).astype(np.float32), RATE, label=label, kind='stem', split=split, group=group)

        parts = {'drums': burst(n, rng), 'electric bass': tone(n, 55, 0.5), 'distorted guitar': tone(n, 220, 0.8),
                 'violin': tone(n, 660, 0.3), 'harp': 0.01 * tone(n, 300, 0.5)}  # fmt: skip
        window('one', parts)
        window('two guitars', {**parts, 'acoustic guitar': tone(n, 330, 0.4)})
        window('no bass', {label: parts[label] for label in ('drums', 'violin', 'distorted guitar')})
        window('of training', parts, split='train')
    return tmp_path / 'bands'


class Asked:
    """A network that remembers what it was asked."""

    def __init__(self, network: MaskNetwork):
        self.network, self.queries = network, []

    def __getattr__(self, name):
        return getattr(self.network, name)

    def words(self, *names: str) -> np.ndarray:
        self.queries.append(names)
        return self.network.words(*names)


@pytest.mark.parametrize('by_instrument', [False, True])
def test_bands_are_four_parts_asked_for_in_words(folder, by_instrument):
    asked = Asked(MaskNetwork.load(find_model('stems-live')))
    ways = {'live': live(asked)}  # pyright: ignore[reportArgumentType]
    scores = bands(ways, SoundSet(folder), 9, by_instrument=by_instrument)
    assert [sorted(one['live']) for one in scores] == [
        ['bass', 'drums', 'guitar', 'strings']
    ] * 2  # the harp is the softest
    expected = [{'drums', 'bass', 'guitar', 'strings'}] * 2
    if by_instrument:  # two guitars have no one name
        expected = [{'drums', 'electric bass', guitar, 'violin'} for guitar in ('distorted guitar', 'guitar')]
    assert sorted(map(sorted, asked.queries)) == sorted(map(sorted, expected))
    table = summary(scores)['live']
    assert table['drums']['count'] == 2 and table['mean']['count'] == 8
    assert table['drums']['si_sdr_improvement'] > 3  # bursts of noise are drums to it
    means = [value['si_sdr_improvement'] for name, value in table.items() if name != 'mean']
    assert table['mean']['si_sdr_improvement'] == pytest.approx(np.mean(means), abs=0.02)


def test_songs_are_measured_as_a_user_would(tmp_path):
    """Voices are one sound, the rest of the song is what is left of it, and what pauses must not come out."""
    song, n = tmp_path / 'song', 10 * RATE
    song.mkdir()
    rng = np.random.default_rng(2)
    made = {'drums': burst(n, rng), 'vocals_lead': tone(n, 440, 0.5), 'vocals_backing': tone(n, 550, 0.2),
            'bass': np.zeros((2, n)), 'fx': 0.1 * tone(n, 900, 0.5)}  # fmt: skip
    for name, audio in made.items():
        write_audio(song / f'{name}.ogg', (0.05 * audio).astype(np.float32), RATE)
    asked = []

    def half(mixture, words):
        """Lets half of the mixture through, and for what is not there a thousandth."""
        asked.append(words)
        here = ('drums', 'vocals')
        return np.stack([mixture * (0.5 if word in here else 0.001) for word in words])

    for folder in (tmp_path, song):
        (one,) = real({'half': half}, [folder], RATE)
    assert asked[0] == ['drums', 'vocals', 'violin', 'bass']
    assert set(one['half']) == {'drums', 'vocals', 'everything but vocals', 'violin, absent', 'bass, absent'}
    table = summary([one])['half']
    for name in ('drums', 'vocals', 'everything but vocals'):
        assert table[name]['si_sdr'] == table[name]['mixture'] and abs(table[name]['si_sdr_improvement']) < 0.01
    assert table['absent'] == {'level_db': -60.0, 'highest_db': -60.0, 'count': 2}
    voices, rest = (sum(made[name] for name in names) for names in (('vocals_lead', 'vocals_backing'), ('drums', 'fx')))
    expected = 10 * np.log10((rest**2).sum() / (voices**2).sum())  # they are nearly orthogonal
    assert table['everything but vocals']['mixture'] == pytest.approx(expected, abs=0.3)
    lines = as_table({'here': {'half': table}})
    assert len(lines) == 7 and any('absent | 2 | level | -60.0 dB' in line for line in lines)


def test_the_command_measures_the_bundled_model(folder, capsys):
    assert main(['evaluate-stems', '--sounds', str(folder), '-n', '1', '--only', 'live', '--json']) == 0
    assert '"count": 4' in capsys.readouterr().out
    assert main(['evaluate-stems']) == 2
    assert 'Give --sounds, --real or both' in capsys.readouterr().err


def test_a_page_to_listen_by_holds_what_it_shows(tmp_path):
    song, n = tmp_path / 'songs/a & b #1', 10 * RATE
    song.mkdir(parents=True)
    made = {'drums': burst(n, np.random.default_rng(3)), 'bass': tone(n, 55, 0.5), 'vocals': np.zeros((2, n))}
    for name, audio in made.items():
        write_audio(song / f'{name}.ogg', (0.05 * audio).astype(np.float32), RATE)

    def through(mixture, words):
        return np.stack([mixture] * len(words))

    assert write_page({'live': through}, [tmp_path / 'songs'], RATE, tmp_path / 'page') == ['a & b #1']
    page = (tmp_path / 'page/index.html').read_text(encoding='utf-8')
    files = [unquote(name) for name in re.findall('src="([^"]+)"', page)]
    assert len(files) == 1 + 2 * 3 and all((tmp_path / 'page' / name).stat().st_size for name in files)
    assert 'a &amp; b #1' in page and 'vocals' not in page  # which pause
    wanted = read_audio(tmp_path / 'page/a & b #1-drums-wanted.ogg', RATE)
    made_of_it = read_audio(tmp_path / 'page/a & b #1-drums-live.ogg', RATE)
    assert np.corrcoef(wanted[0], made['drums'][0])[0, 1] > 0.99 > np.corrcoef(wanted[0], made_of_it[0])[0, 1]
    assert main(['evaluate-stems', '--sounds', str(tmp_path), '--page', str(tmp_path / 'p')]) == 2
