"""How the live separator is measured: on bands made here, with the bundled model."""

import numpy as np
import pytest

from genaudio_core.analysis.stems import bands, summary
from genaudio_core.commands.cli import main
from genaudio_core.files import find_model
from genaudio_core.separation.streaming import MaskNetwork
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
    scores = bands(asked, SoundSet(folder), 9, by_instrument=by_instrument)  # pyright: ignore[reportArgumentType]
    assert [sorted(one) for one in scores] == [['bass', 'drums', 'guitar', 'strings']] * 2  # the harp is the softest
    expected = [{'drums', 'bass', 'guitar', 'strings'}] * 2
    if by_instrument:  # two guitars have no one name
        expected = [{'drums', 'electric bass', guitar, 'violin'} for guitar in ('distorted guitar', 'guitar')]
    assert sorted(map(sorted, asked.queries)) == sorted(map(sorted, expected))
    table = summary(scores)
    assert table['drums']['count'] == 2 and table['mean']['count'] == 8
    assert table['drums']['si_sdr_improvement'] > 3  # bursts of noise are drums to it
    means = [value['si_sdr_improvement'] for name, value in table.items() if name != 'mean']
    assert table['mean']['si_sdr_improvement'] == pytest.approx(np.mean(means), abs=0.02)


def test_the_command_measures_the_bundled_model(folder, capsys):
    assert main(['evaluate-stems', '--sounds', str(folder), '-n', '1', '--json']) == 0
    assert '"count": 4' in capsys.readouterr().out
    assert main(['evaluate-stems']) == 2
    assert 'Give --sounds, --real or both' in capsys.readouterr().err
