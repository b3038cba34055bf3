"""Text, NIT, BERTSep, LabelSep and PIT, trained alike on tiny sounds."""

import json
import random

import numpy as np
import pytest
from numpy.testing import assert_allclose

torch = pytest.importorskip('torch')
from tiny_sounds import LABELS, tiny_sounds  # noqa: E402

from genaudio_core.analysis import separation_baselines as analysis  # noqa: E402
from genaudio_core.commands.cli import main  # noqa: E402
from genaudio_core.errors import GenaudioError  # noqa: E402
from genaudio_core.models.clipsep_small import CLIPSepSmall, SmallConfig  # noqa: E402
from genaudio_core.training.fit import separation_baselines as baselines  # noqa: E402
from genaudio_core.training.fit.separation_baselines import (  # noqa: E402
    WAYS,
    OneHotBook,
    Plan,
    Rows,
    pit_loss,
    published_loss,
    train,
)
from genaudio_core.training.loops.checkpoints import save_checkpoint  # noqa: E402
from genaudio_core.training.mixtures.solo_mixtures import MixtureConfig, MixtureMaker  # noqa: E402
from genaudio_core.training.queries.space import QuerySpace, unit  # noqa: E402
from genaudio_core.training.sounds.lexicon import NAMES  # noqa: E402


@pytest.fixture(scope='module')
def sounds(tmp_path_factory):
    return tiny_sounds(tmp_path_factory.mktemp('sounds'))


@pytest.fixture
def space(monkeypatch):
    rng = np.random.default_rng(1)
    monkeypatch.setattr(baselines, 'encode_with_teacher', lambda names: unit(
        np.random.default_rng(2).standard_normal((len(names), 384))).astype(np.float32))  # fmt: skip
    concepts = unit(rng.standard_normal((len(NAMES), 128))).astype(np.float32)
    return QuerySpace(np.zeros(0), np.zeros((0, 0)), concepts, NAMES)


SMALL = Plan(batch=4, frames=64, width=4, max_width=8, rate=1e-2, warmup=2)


def test_all_ways_step_together_and_go_on(tmp_path, sounds, space):
    rows = Rows(tmp_path / 'run', SMALL, space)
    dims = {way: model.config.query_dim for way, model in rows.models.items()}
    assert dims == {'text': 128, 'nit': 128, 'bert': 384, 'label': len(NAMES), 'pit': 2}
    train(rows, sounds, 3)
    assert rows.step == 3
    train(rows, sounds, 5)
    # Stopped and resumed: the very steps it would have taken.
    other = Rows(tmp_path / 'other', SMALL, space)
    train(other, sounds, 2)
    other = Rows(tmp_path / 'other', SMALL)
    assert other.step == 2
    train(other, sounds, 5)
    for way in WAYS:
        for name, value in rows.models[way].state_dict().items():
            assert_allclose(other.models[way].state_dict()[name], value, atol=1e-5, err_msg=f'{way} {name}')
    assert rows.models['nit'].config.noise_heads == 2
    with pytest.raises(GenaudioError, match='other settings'):
        Rows(tmp_path / 'other', Plan(batch=5), space)
    with pytest.raises(GenaudioError, match='not a comparison'):
        Rows(tmp_path / 'nowhere', SMALL)


def test_nit_goes_on_from_the_plain_weights(tmp_path, sounds, space):
    rows = Rows(tmp_path / 'run', SMALL, space)
    begun = {name: value.clone() for name, value in rows.models['nit'].state_dict().items()}
    train(rows, sounds, SMALL.warmup)
    for name, value in rows.models['nit'].state_dict().items():
        assert_allclose(value, begun[name])  # has waited
    assert rows.trained == ['text', 'bert', 'label', 'pit']
    text = {name: value.clone() for name, value in rows.models['text'].state_dict().items()}
    rows.begin_step(SMALL.warmup)
    for name, value in text.items():
        assert_allclose(rows.models['nit'].state_dict()[name], value)
    assert_allclose(rows.models['nit'].noise[0].weight.detach(), begun['noise.0.weight'])
    save_checkpoint(tmp_path / 'm.safetensors', rows.models['text'], rows.models['text'].config.to_dict())
    from_there = Rows(tmp_path / 'other', SMALL, space, tmp_path / 'm.safetensors')
    for way in ('text', 'nit'):
        for name, value in text.items():
            assert_allclose(from_there.models[way].state_dict()[name], value, rtol=1e-6)
            assert_allclose(from_there.average.state[f'{way}.{name}'], value, rtol=1e-6)
    with pytest.raises(GenaudioError, match='name both'):
        Plan(ways=('nit', 'pit'))
    with pytest.raises(GenaudioError, match="Did you mean 'label'"):
        Plan(ways=('labl',))


def test_queries_are_rows_of_tables(tmp_path, space):
    rows = Rows(tmp_path / 'run', SMALL, space)
    book = OneHotBook(NAMES)
    one_hot = torch.from_numpy(np.stack([book.draw(n, random.Random(0)) for n in ('drums', 'violin')]))[None]
    assert_allclose(rows.query('text', one_hot)[0], [space.vector('drums'), space.vector('violin')])
    assert_allclose(rows.query('label', one_hot), one_hot)
    assert rows.query('pit', one_hot.expand(3, -1, -1)).shape == (3, 2, 2)


def test_pit_takes_the_better_order():
    torch.manual_seed(0)
    model = CLIPSepSmall(SmallConfig(width=4, max_width=8, bands=32, levels=4, query_dim=2)).eval()
    sources = torch.rand(3, 2, 32, 32)
    batch = {'energy': sources.sum(1, keepdim=True), 'cross': sources, 'total': sources.sum((2, 3)),
             'query': torch.eye(2).expand(3, -1, -1)}  # fmt: skip
    loss, gain = pit_loss(model, batch)
    swapped = {**batch, 'cross': sources.flip(1), 'total': sources.flip(1).sum((2, 3))}
    assert_allclose(pit_loss(model, swapped)[0].item(), loss.item(), rtol=1e-5)
    with torch.no_grad():
        before = baselines.error_db(torch.ones(3, 2, 32, 32), batch['energy'], sources, batch['total']).mean()
    assert_allclose(gain.item(), before.item() - loss.item(), rtol=1e-4)


class Fixed(torch.nn.Module):
    """A network that answers with masks and noise masks that the test chose."""

    def __init__(self, masks, noise=None):
        super().__init__()
        self.masks, self.noise = masks, noise
        self.config = SmallConfig(noise_heads=0 if noise is None else 2)

    def forward(self, energy, query):
        return self.masks

    def noise_masks(self, energy, query):
        return self.noise


def test_published_loss_lets_a_noise_mask_explain_what_a_label_does_not():
    torch.manual_seed(0)
    energy = torch.rand(2, 1, 16, 32) + 0.5
    sound = torch.zeros(2, 2, 16, 32)
    sound[:, 0, :8], sound[:, 1, 8:12] = 1.0, 1.0
    noise = torch.zeros(2, 1, 16, 32)
    noise[:, :, 12:] = 1.0
    wanted = sound.clone()
    wanted[:, 1:] += noise  # the recording of the second sound holds it
    batch = {'energy': energy, 'cross': wanted * energy, 'total': (wanted * energy).sum((2, 3)),
             'query': torch.zeros(2, 3, 4)}  # fmt: skip
    nothing = torch.zeros_like(noise)
    right, _ = published_loss(Fixed(sound, torch.cat([noise, nothing], 1)), batch)
    other_order, _ = published_loss(Fixed(sound, torch.cat([nothing, noise], 1)), batch)
    assert right.item() < 1e-5 and other_order.item() == pytest.approx(right.item())
    plain, _ = published_loss(Fixed(sound), batch)
    assert plain.item() > 1  # without noise masks, the queries are made to answer with noise
    everything, _ = published_loss(Fixed(sound, torch.cat([noise + sound.sum(1, keepdim=True), nothing], 1)), batch)
    assert everything.item() > 0.07  # 0.1 for each share of the bins beyond a quarter
    loss, gain = published_loss(Fixed(wanted), batch)
    assert loss.item() < 1e-5 and gain.item() > 10
    with pytest.raises(GenaudioError, match='published'):
        Plan(loss='bce')


def test_noise_in_a_source_has_no_place_of_its_own(sounds):
    beside = MixtureMaker(sounds, 'train', MixtureConfig(seconds=0.5, noise=1.0, related=0.0))
    within = MixtureMaker(sounds, 'train', MixtureConfig(seconds=0.5, noise=1.0, related=0.0, noise_in_source=True))
    for seed in range(8):
        one, other = beside.draw(random.Random(seed), 2), within.draw(random.Random(seed), 2)
        assert one.noise.any() and not other.noise.any()
        assert_allclose(one.mix, other.mix, atol=1e-6)
        changed = [i for i in range(2) if np.abs(one.sources[i] - other.sources[i]).max() > 1e-6]
        assert len(changed) == 1
        assert_allclose(other.sources[changed[0]], one.sources[changed[0]] + one.noise, atol=1e-6)


class Oracle:
    """Stands for trained rows: asked for a label, lets its band through."""

    def __init__(self, wrong=()):
        self.names, self.plan, self.step = list(NAMES), SMALL, 1
        self.models = {way: self.averaged(way) for way in ('text', 'label', 'pit')}
        self.trained = list(self.models)
        self.wrong = wrong

    def query(self, way, one_hot):
        return one_hot if way != 'pit' else one_hot.flip(1)  # the order of PIT means nothing

    def averaged(self, way):
        from genaudio_core.sound.spectrogram import bands_to_bins

        outer = self

        class Model:
            config = SmallConfig(query_dim=len(NAMES))

            def __call__(self, energy, query):
                hz = np.linspace(0, 22050, 2049)
                spread = bands_to_bins(2049, 192, 101.0)
                masks = torch.zeros(1, 2, 192, energy.shape[-1])
                for i in range(2):
                    label = NAMES[int(query[0, i].argmax())]
                    if way in outer.wrong:
                        label = 'flute'
                    near = np.abs(hz - LABELS[label]) < 0.3 * LABELS[label]
                    masks[0, i] = torch.from_numpy((spread.T @ near > 0).astype(np.float32))[:, None]
                return masks

        return Model()


def test_a_perfect_separator_gains_and_a_deaf_one_does_not(sounds):
    found = analysis.evaluate(Oracle(wrong=('label',)), sounds, n=6, frames=64)  # type: ignore[arg-type]
    assert found['text']['si_sdri']['mean'] > 8 and found['text']['sdr']['n'] == 6
    assert found['label']['si_sdri']['mean'] < found['text']['si_sdri']['mean'] - 5
    assert_allclose(found['label']['ahead']['mean'],
                    found['label']['si_sdri']['mean'] - found['text']['si_sdri']['mean'], atol=1e-6)  # fmt: skip
    assert_allclose(found['pit']['si_sdri']['mean'], found['text']['si_sdri']['mean'], atol=1e-6)
    assert_allclose(found['mixture']['si_sdri']['mean'], 0, atol=1e-9)
    assert found['ideal']['si_sdri']['mean'] > 8
    noisy = analysis.evaluate(Oracle(), sounds, n=6, frames=64, noise=True)  # type: ignore[arg-type]
    assert noisy['mixture']['sdr']['mean'] < found['mixture']['sdr']['mean'] - 0.5
    lines = analysis.as_table({'clean': found, 'noisy': noisy})
    assert len(lines) == 2 + len(found) and len({line.count('|') for line in lines}) == 1


def test_the_command_trains_and_writes_a_table(tmp_path, sounds, space, capsys):
    space.save(tmp_path / 'space.npz')
    command = ['compare-separation', '--sounds', str(sounds.folder), '--out', str(tmp_path / 'run'), '--ways',
               'text,label,pit', '--width', '4', '--batch', '2', '--json']  # fmt: skip
    assert main(command) == 2
    assert 'Give --space' in capsys.readouterr().err
    command += ['--space', str(tmp_path / 'space.npz'), '-n', '2', '--report', str(tmp_path / 'r.md')]
    assert main([*command, '--steps', '2']) == 0
    told = json.loads(capsys.readouterr().out)
    assert told['steps'] == 2 and set(told['clean']) == {'mixture', 'text', 'label', 'pit', 'ideal'}
    assert 'LabelSep' in (tmp_path / 'r.md').read_text()
