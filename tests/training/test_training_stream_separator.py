import random

import numpy as np
import pytest
import torch

from genaudio_core.errors import GenaudioError
from genaudio_core.models.band_separator import BandConfig
from genaudio_core.models.stream_separator import StreamSeparator, StreamSeparatorConfig, overlapped
from genaudio_core.sound.low_delay_stft import windows
from genaudio_core.training.fit.clipsep import Features, QueryBook, make_batch
from genaudio_core.training.fit.stems import (
    Sounder,
    load_separator,
    met,
    new_network,
    separation_loss,
    train,
)
from genaudio_core.training.loops.checkpoints import read_checkpoint, save_checkpoint
from genaudio_core.training.loops.time_limit import TimeLimit
from genaudio_core.training.mixtures.band_mixtures import BandMixtures, batch_of, family
from genaudio_core.training.mixtures.solo_mixtures import MixtureMaker
from genaudio_core.training.queries.query_tables import placeholder_queries
from genaudio_core.training.queries.space import QuerySpace
from genaudio_core.training.sounds.bands import concept_of, split_of
from genaudio_core.training.sounds.lexicon import NAMES, concept_called
from genaudio_core.training.sounds.packed_clips import SoundSet, SoundWriter

RATE = 44100


@pytest.fixture(scope='module')
def sounds(tmp_path_factory):
    """Two bands of train and one of valid: noise for drums, tones for the others, two seconds."""
    folder = tmp_path_factory.mktemp('bands')
    rng = np.random.default_rng(0)
    t = np.arange(2 * RATE) / RATE
    with SoundWriter(folder) as writer:
        for split, group in (('train', 'a'), ('train', 'b'), ('valid', 'c')):
            for label, hz in (('drums', 0), ('electric bass', 60), ('piano', 440), ('violin', 880)):
                wave = rng.standard_normal(len(t)) if not hz else np.sin(2 * np.pi * hz * t)
                writer.add(0.1 * np.stack([wave, 0.5 * wave]), RATE, label=label, kind='stem', split=split, group=group)
    return SoundSet(folder)


def test_programs_and_pieces_have_their_places():
    assert concept_of(33, 0) == 'electric bass' and concept_of(33, 9) == 'drums' and concept_of(127, 0) == ''
    names = [f'piece {i}' for i in range(2000)]
    shares = [sum(split_of(n) == s for n in names) / 2000 for s in ('train', 'valid', 'test')]
    np.testing.assert_allclose(shares, [0.8, 0.08, 0.12], atol=0.03)


def test_a_mixture_is_the_sum_of_its_stems_when_all_are_asked(sounds):
    source = BandMixtures([sounds], 'valid', n_queries=4, augment=False)
    drawn = source.draw(np.random.default_rng(1))
    np.testing.assert_allclose(drawn.targets.sum(0), drawn.mixture, atol=1e-5)
    assert len(set(drawn.queries)) == 4


def test_backwards_the_end_comes_first_and_all_else_is_the_same(sounds):
    forth, back = (BandMixtures([sounds], 'train', n_queries=4, backwards=way).draw(np.random.default_rng(1))
                   for way in (False, True))  # fmt: skip
    np.testing.assert_array_equal(back.mixture, forth.mixture[:, ::-1])
    np.testing.assert_array_equal(back.targets, forth.targets[..., ::-1])
    assert back.queries == forth.queries


def test_the_parts_of_a_kit_are_asked_for_or_the_kit(tmp_path):
    """Never a part's name for all of it; and all of it is there when it is asked for."""
    rng, n = np.random.default_rng(0), RATE
    with SoundWriter(tmp_path) as writer:
        for label in ('kick drum', 'snare drum', 'hi-hat', 'electric bass'):
            audio = 0.1 * rng.standard_normal((2, n))
            writer.add(audio, RATE, label=label, kind='stem', split='train', group='a')
    source = BandMixtures([SoundSet(tmp_path)], 'train', n_queries=4, composed=1.0)
    asked: dict[str, list[float]] = {}
    for _ in range(60):
        drawn = source.draw(rng)
        whole = any(word == 'drums' and target.any() for word, target in zip(drawn.queries, drawn.targets, strict=True))
        for word, target in zip(drawn.queries, drawn.targets, strict=True):
            assert not whole or word not in ('kick drum', 'snare drum', 'hi-hat') or not target.any()
            if target.any():
                asked.setdefault(word, []).append(float(np.square(target).sum() / np.square(drawn.mixture).sum()))
    assert {'drums', 'kick drum', 'snare drum', 'hi-hat'} <= set(asked)
    assert np.mean(asked['drums']) > 1.5 * np.mean(asked['snare drum'])


def test_the_offline_separator_learns_from_bands_in_stereo(sounds):
    """Its energies are those of both channels, and a mask of one leaves the error of what is not asked for."""
    source = BandMixtures([sounds], 'train', n_queries=2, n_samples=40960)
    config = BandConfig(bands=32)
    features = Features(config)
    mixer = MixtureMaker(sounds, 'train')
    vector = np.eye(len(NAMES), config.query_dim, dtype=np.float32)
    book = QueryBook(QuerySpace(np.zeros(1), np.zeros((1, 1)), vector, NAMES), spread=0.0)
    batch = make_batch(mixer, features, book, random.Random(3), 8, 40, n_queries=2, whole=source, share_bands=1.0)
    assert batch['energy'].shape == (8, 1, 32, 40) and batch['cross'].shape == (8, 2, 32, 40)
    assert batch['energy'].mean((1, 2, 3)).numpy() == pytest.approx(np.ones(8), rel=1e-4)
    assert 0 < batch['present'].mean() < 1 or batch['present'].all()
    drawn = source.draw(np.random.default_rng(7))
    energy, cross, total = features.of_band(torch.from_numpy(drawn.mixture), torch.from_numpy(drawn.targets), 40)
    for name, found in (('energy', energy), ('cross', cross[0]), ('total', total[0])):
        parts = []
        for target, mix in zip(drawn.targets[0], drawn.mixture, strict=True):
            both = torch.from_numpy(np.stack([target, mix - target, 0 * mix]))[None]
            one = dict(zip(('energy', 'cross', 'total'), features.of_batch(both, 40), strict=True))
            parts.append(one[name][0] if name == 'energy' else one[name][0, 0])
        torch.testing.assert_close(found, sum(parts), rtol=1e-3, atol=1e-3)


def test_one_part_is_nearly_alone_in_some_mixtures(sounds, monkeypatch):
    module = 'genaudio_core.training.mixtures.band_mixtures'
    shares = []
    for share in (0.0, 1.0):
        monkeypatch.setattr(f'{module}.SHARE_NEARLY_ALONE', share)
        source, rng = BandMixtures([sounds], 'train', n_queries=4, composed=1.0), np.random.default_rng(4)
        drawn = [source.draw(rng) for _ in range(24)]
        shares.append([np.square(one.targets).sum((1, 2)).max() / np.square(one.mixture).sum() for one in drawn])
    assert np.median(shares[0]) < 0.8
    assert np.mean(np.array(shares[1]) > 0.8) > 0.8  # the one above it may not be among what is asked for


def test_stems_of_a_mixture_that_a_limiter_presses_add_up_to_it(sounds, monkeypatch):
    monkeypatch.setattr('genaudio_core.training.mixtures.band_mixtures.SHARE_MASTERED', 1.0)
    source, rng, whole = BandMixtures([sounds], 'train', n_queries=4, composed=1.0), np.random.default_rng(3), 0
    for _ in range(24):
        drawn = source.draw(rng)
        if drawn.targets.any((1, 2)).all() and len({family(concept_called(word)) for word in drawn.queries}) == 4:
            np.testing.assert_allclose(drawn.targets.sum(0), drawn.mixture, atol=1e-5)
            whole += 1
    assert whole >= 4


def test_what_is_asked_but_absent_has_a_silent_target(sounds):
    source = BandMixtures([sounds], 'train', n_queries=4)
    rng, silent = np.random.default_rng(2), 0
    for _ in range(24):
        drawn = source.draw(rng)
        assert np.isfinite(drawn.mixture).all() and np.isfinite(drawn.targets).all()
        silent += sum(not target.any() for target in drawn.targets)
    assert silent > 0


def test_a_mixture_is_as_long_as_asked_at_any_speed(sounds):
    source = BandMixtures([sounds], 'train', n_queries=2, n_samples=30001)
    rng = np.random.default_rng(4)
    assert all(source.draw(rng).mixture.shape[-1] == 30001 for _ in range(12))


def test_the_share_of_composed_windows_is_as_asked(sounds, monkeypatch):
    thrown = []
    monkeypatch.setattr(BandMixtures, 'thrown_together', lambda self, rng: thrown.append(1) or self.groups[0])
    for composed, expected in ((1.0, 0), (0.0, 8)):
        thrown.clear()
        source, rng = BandMixtures([sounds], 'train', n_samples=8000, composed=composed), np.random.default_rng(5)
        for _ in range(8):
            source.draw(rng)
        assert len(thrown) == expected


def test_a_batch_has_one_mix_of_both_channels(sounds):
    source = BandMixtures([sounds], 'valid', n_queries=4, augment=False, n_samples=30001)
    mixture, mix, targets, asked = batch_of(source, 3, np.random.default_rng(3))
    assert mixture.shape == (3, 2, 30001) and targets.shape == (3, 4, 30001)
    assert [len(words) for words in asked] == [4] * 3
    np.testing.assert_allclose(np.square(mix).sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(targets.sum(1), np.einsum('bc,bcn->bn', mix, mixture), atol=1e-5)


@pytest.mark.parametrize(('half', 'apart'), [(False, 1e-5), (True, 0.02)])
def test_the_sound_that_the_loss_hears_is_the_sound_that_plays(half, apart):
    torch.manual_seed(3)
    model = StreamSeparator()
    c = model.config
    mixture, mix = torch.randn(2, 2, c.n_fft + 9 * c.hop), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    query = torch.randn(2, 3, c.query_dim) / c.query_dim**0.5
    sounder = Sounder(model, torch.bfloat16 if half else torch.float32)
    features, spectra = sounder.hear(mixture, mix)
    masks, _ = model(features, query)
    masks.retain_grad()
    heard = sounder.sound(masks, spectra)
    played = (model.separate(mixture, query)[0] * mix[:, None, :, None]).sum(2)
    assert (heard - played)[..., c.hop :].norm() < apart * played.norm()
    # And its gradient is that of the long way.
    weights = torch.randn_like(heard)
    (heard * weights).sum().backward()
    again = masks.detach().requires_grad_()
    one = (model.spectra(mixture) * mix[:, :, None, None]).sum(1)[:, None]
    synthesis = torch.from_numpy(windows(c.n_fft, c.hop)[1][-2 * c.hop :]).float()
    pieces = torch.fft.irfft(one * (again @ model.gather.T), c.n_fft)[..., -2 * c.hop :] * synthesis
    (overlapped(pieces, c.hop) * weights).sum().backward()
    assert (masks.grad - again.grad).norm() < apart * again.grad.norm()


def test_loss_prefers_the_target_and_silence_where_there_is_none():
    rng = torch.Generator().manual_seed(0)
    target, other = torch.randn(1, 1, 2000, generator=rng), torch.randn(1, 1, 2000, generator=rng)
    mixture = (target + other)[:, 0]
    best, lazy = separation_loss(target, target, mixture), separation_loss(mixture[:, None], target, mixture)
    assert best < -20 and abs(float(lazy)) < 1
    silent = torch.zeros_like(target)
    assert separation_loss(silent, silent, mixture) == 0 < separation_loss(target, silent, mixture)


def test_silence_is_no_way_out_of_the_loss():
    """A young network that falls silent where it is unsure must find the way back: louder is better, and steeper."""
    rng = torch.Generator().manual_seed(0)
    target, other = torch.randn(1, 1, 2000, generator=rng), torch.randn(1, 1, 2000, generator=rng)
    share = torch.tensor(1e-3, requires_grad=True)  # of the target in an estimate that is nearly silent
    separation_loss(1e-3 * other + share * target, target, (target + other)[:, 0]).backward()
    assert share.grad is not None and share.grad < -100


def test_steps_depend_on_seed_and_number_alone(sounds, tmp_path):
    """Stopped after two steps and gone on with, a run is where it would have been."""

    def run(folder, steps):
        torch.manual_seed(0)
        options = dict(batch=2, frames=24, n_queries=2, valid_every=0, seed=5, beside=False, total_minutes=1e9)
        assert train([sounds.folder], folder, TimeLimit(), steps=steps, **options)['step'] == steps
        return read_checkpoint(folder / 'best.safetensors')[0]

    whole = run(tmp_path / 'whole', 4)
    run(tmp_path / 'parts', 2)
    for name, value in run(tmp_path / 'parts', 4).items():
        torch.testing.assert_close(value, whole[name], atol=1e-6, rtol=1e-5)


def test_a_run_learns_stops_resumes_and_loads(sounds, tmp_path):
    options = dict(batch=2, frames=24, valid_every=1e9)
    first = train([sounds.folder], tmp_path, TimeLimit(0.02), total_minutes=1, **options)  # mixtures are made beside
    assert first['step'] >= 1 and np.isfinite(first['loss'])
    second = train([sounds.folder], tmp_path, TimeLimit(0.02), total_minutes=1, beside=False, **options)
    assert second['step'] > first['step'] and second['minutes'] > first['minutes']
    _, words = load_separator(tmp_path / 'best.safetensors')
    assert set(words) == set(placeholder_queries(128)) and words['drums'].shape == (128,)
    with pytest.raises(GenaudioError, match='No checkpoint'):
        load_separator(tmp_path / 'nothing')


def test_a_run_that_starts_from_another_keeps_its_words(sounds, tmp_path):
    options = dict(batch=1, frames=24, n_queries=2, steps=1, valid_every=0, beside=False)
    queries = {word: -vectors for word, vectors in placeholder_queries(128).items()}
    train([sounds.folder], tmp_path / 'before', TimeLimit(), queries=queries, **options)
    before = tmp_path / 'before/best.safetensors'
    train([sounds.folder], tmp_path / 'after', TimeLimit(), start_from=before, **options)
    words = load_separator(tmp_path / 'after/best.safetensors')[1]
    np.testing.assert_allclose(words['drums'], queries['drums'][0], atol=1e-6)


def test_it_is_released_and_exported(sounds, tmp_path):
    """From the run to a file that plays, by the commands a person types."""
    from export.cli import main as export
    from genaudio_core.commands.cli import main
    from genaudio_core.separation.streaming import MaskNetwork

    run, packed, onnx = tmp_path / 'run', tmp_path / 'stems.safetensors', tmp_path / 'stems.onnx'
    fit = ['fit', 'stems', '--sounds', str(sounds.folder), '--out', str(run), '--minutes', '0.02', '--frames', '24']
    assert main(fit) == 0
    assert main(['release', str(run), '-o', str(packed), '--note', 'a test']) == 0
    assert export(['one', str(packed), str(onnx), '--kind', 'stream_separator']) == 0
    network = MaskNetwork.load(onnx)
    np.testing.assert_allclose(network.words('drums')[0], placeholder_queries(128)['drums'][0], atol=1e-3)
    with pytest.raises(GenaudioError, match='no model for the way back'):
        MaskNetwork.load(onnx, backwards=True)


def test_a_network_for_the_way_back_is_none_to_play_live(sounds, tmp_path):
    """What its run was told goes all the way to the file, and a run that went forwards does not go on backwards."""
    from export.cli import main as export
    from genaudio_core.commands.cli import main
    from genaudio_core.separation.streaming import MaskNetwork

    fit = ['fit', 'stems', '--sounds', str(sounds.folder), '--frames', '24', '--steps', '1', '--out']
    assert main([*fit, str(tmp_path / 'back'), '--backwards']) == 0
    assert main([*fit, str(tmp_path / 'live')]) == 0 and main([*fit, str(tmp_path / 'live'), '--backwards']) == 2
    packed, onnx = tmp_path / 'back.safetensors', tmp_path / 'back.onnx'
    assert main(['release', str(tmp_path / 'back'), '-o', str(packed), '--note', 'a test']) == 0
    assert export(['one', str(packed), str(onnx), '--kind', 'stream_separator']) == 0
    assert MaskNetwork.load(onnx, backwards=True).backwards
    with pytest.raises(GenaudioError, match='nothing plays it live'):
        MaskNetwork.load(onnx)


def test_sounds_of_both_ways_meet_at_the_same_samples():
    """Each in the time of its network, cold at its own beginning."""
    config = StreamSeparatorConfig(hop=256)
    samples = config.n_fft - 256 + 40 * 256
    audio = torch.randn(3, 2, samples, generator=torch.Generator().manual_seed(0))
    first = config.n_fft - 2 * 256
    own, other = (way[..., first : first + 40 * 256].clone() for way in (audio, audio.flip(-1)))
    own[..., : 8 * 256], other[..., : 8 * 256] = torch.nan, torch.nan
    part, both = met(own, other, config, 8)
    torch.testing.assert_close(both, audio[..., part])
    assert part == slice(first + 8 * 256, 33 * 256)  # all but what is cold


def test_trained_is_the_mean_with_a_partner_that_stays_as_it_is(sounds, tmp_path):
    options = dict(batch=2, frames=40, n_queries=2, steps=2, valid_every=0, beside=False, total_minutes=1e9)
    train([sounds.folder], tmp_path / 'live', TimeLimit(), **options)
    live = tmp_path / 'live/best.safetensors'
    back, before = StreamSeparatorConfig(backwards=True), live.read_bytes()
    options |= dict(config=back, start_from=live)
    found = train([sounds.folder], tmp_path / 'back', TimeLimit(), partner=live, **options)
    alone = train([sounds.folder], tmp_path / 'alone', TimeLimit(), **options)
    assert np.isfinite(found['loss']) and found['loss'] != alone['loss'] and live.read_bytes() == before
    for wrong, message in (
        (dict(partner=live, config=None), 'goes the same way'), (dict(partner=live, frames=23), 'give 24 or more'),
    ):  # fmt: skip
        with pytest.raises(GenaudioError, match=message):
            train([sounds.folder], tmp_path / 'wrong', TimeLimit(), **{**options, **wrong})


@pytest.fixture
def render(tmp_path, phrase):
    """Render twelve pieces through a real SoundFont, where one is installed: a call gives the counts and the sounds."""
    from genaudio_core.score.reading import write_midi
    from genaudio_core.sound.soundfont import any_font
    from genaudio_core.training.sounds.bands import render_bands

    try:
        font = any_font()
    except GenaudioError as error:
        pytest.skip(str(error))
    pytest.importorskip('fluidsynth')
    for i in range(12):
        write_midi(phrase, tmp_path / f'piece-{i}.mid')

    def rendered(name, **options):
        out = tmp_path / name
        counts = render_bands([tmp_path], out, train_fonts=[font], test_fonts=[font], seconds=2.0, **options)
        return counts, SoundSet(out)

    return rendered


def test_windows_of_a_piece_become_aligned_stems(render):
    """The fastest and the slowest instrument start together."""
    counts, sounds = render('out')
    assert sum(counts.values()) >= 12
    stems = [clips for split in ('train', 'valid', 'test') for clips in sounds.groups(split=split).values()]
    for clips in stems:
        assert len({clip.label for clip in clips}) == len(clips) == 2
        audio = [sounds.read(clip) for clip in clips]
        assert all(a.shape == (2, 2 * RATE) and np.abs(a).max() > 0.01 for a in audio)


def test_varied_windows_are_for_training_only(render):
    """What is measured stays as it was, what is trained on sounds otherwise every time."""

    def rendered(name, **options):
        _, sounds = render(name, **options)
        return {split: [sounds.read(c) for c in sounds.select(split=split)] for split in ('train', 'valid', 'test')}

    def alike(a, b):  # fluidsynth starts anywhere in its blocks of 64 samples: the colour is compared, not the samples
        x, y = (np.abs(np.fft.rfft(audio)).reshape(-1)[:88200].reshape(-1, 50).mean(-1) for audio in (a, b))
        return np.corrcoef(x, y)[0, 1] > 0.98

    plain, varied = rendered('plain'), rendered('varied', vary=True)
    alone = rendered('alone', vary=True, splits=['train'])
    assert not alone['valid'] and not alone['test'] and len(alone['train']) == len(varied['train'])
    for split in ('valid', 'test'):
        assert len(plain[split]) == len(varied[split])
        assert all(alike(a, b) for a, b in zip(plain[split], varied[split], strict=True))
    assert all(np.isfinite(a).all() and 0.01 < np.abs(a).max() <= 0.71 for a in varied['train'])
    pairs = list(zip(plain['train'], varied['train'], strict=False))
    assert pairs and sum(alike(a, b) for a, b in pairs) < len(pairs) * 0.7  # some are hardly changed


def test_a_part_that_plays_other_samples_keeps_its_pitch():
    """The key moves against the tuning, so the note stays; drums stay on their keys."""
    from genaudio_core.training.sounds.altered_voices import draw_voice

    rng = np.random.default_rng(1)
    for _ in range(200):
        voice = draw_voice('any', False, rng)
        generators = dict(voice.generators)
        assert voice.shift + generators.get(51, 0) == 0 and abs(generators[52]) < 40
        assert draw_voice('any', True, rng).shift == 0


def test_a_window_of_drums_alone_keeps_its_drums():
    """Drums and bass are passed over now and then; never both when there is nothing else."""
    rng = np.random.default_rng(3)
    assert all(BandMixtures.kept(['drums', 'bass'], rng) for _ in range(200))
    assert all(BandMixtures.kept(['drums'], rng) == {'drums'} for _ in range(50))


def test_a_network_that_grows_begins_as_the_one_it_grew_from(tmp_path):
    queries = placeholder_queries(16)
    small = StreamSeparatorConfig(query_dim=16, width=16, heads=2, hidden=16, tell=8, trunk=1)
    before = new_network(small)
    save_checkpoint(tmp_path / 'before.safetensors', before, small.as_dict())
    grown = StreamSeparatorConfig(**{**small.as_dict(), 'trunk': 3})
    after = new_network(grown, tmp_path / 'before.safetensors')
    features = torch.randn(2, 3, 9, small.bands, generator=torch.Generator().manual_seed(1))
    asked = torch.from_numpy(np.stack([queries[word][0] for word in ('drums', 'piano')]))[None].expand(2, -1, -1)
    torch.testing.assert_close(after(features, asked)[0], before(features, asked)[0])
    after(features, asked)[0].sum().backward()
    assert after.trunk[2].along.out.weight.grad.any()  # it learns
