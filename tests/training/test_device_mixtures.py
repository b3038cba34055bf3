"""Mixtures made on the device that trains. A processor stands in for it: the arithmetic is the same."""

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from genaudio_core.errors import GenaudioError  # noqa: E402
from genaudio_core.models.band_separator import BandConfig  # noqa: E402
from genaudio_core.training.fit.clipsep import Features, error_db  # noqa: E402
from genaudio_core.training.mixtures.clip_store import ClipStore  # noqa: E402
from genaudio_core.training.mixtures.device_effects import BLOCK, through_effects  # noqa: E402
from genaudio_core.training.mixtures.device_mixtures import BandsOnDevice, DeviceBatches, MixturesOnDevice  # noqa: E402
from genaudio_core.training.mixtures.solo_mixtures import MixtureConfig  # noqa: E402
from genaudio_core.training.queries.query_tables import placeholder_queries  # noqa: E402
from genaudio_core.training.sounds.packed_clips import SoundSet, SoundWriter  # noqa: E402

RATE = 44100
CPU = torch.device('cpu')
PARTS = (('drums', 0), ('electric bass', 60), ('piano', 440), ('violin', 880))


def write(folder, groups=('a', 'b'), seconds=2.0, seed=0):
    """Bands of four stems, a solo of each, and a noise; noise for drums, tones for the others."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    with SoundWriter(folder) as writer:
        for label, hz in PARTS:
            wave = 0.1 * (rng.standard_normal(len(t)) if not hz else np.sin(2 * np.pi * hz * t))
            for group in groups:
                stereo = np.stack([wave, 0.5 * wave])
                writer.add(stereo, RATE, label=label, kind='stem', split='train', group=group)
            writer.add(wave[None], RATE, label=label, kind='solo', split='train')
        writer.add(0.05 * rng.standard_normal((1, len(t))), RATE, label='noise', kind='noise', split='train')
    return folder


@pytest.mark.parametrize('channels', [1, 2])
def test_excerpts_are_what_the_set_holds(tmp_path, channels):
    folder = write(tmp_path)
    bank = ClipStore([folder], CPU, channels, 1.0)
    assert bank.refresh() == 13 and bank.refresh() == 0
    sounds = SoundSet(folder)
    for i, clip in enumerate(bank.clips):
        got = bank.excerpts([i], [100], [1.0], 5000)[0].numpy()
        expected = sounds.read(clip, 100, 5000)
        if channels == 1:
            expected = expected.mean(0, keepdims=True)
        np.testing.assert_allclose(got, np.broadcast_to(expected, got.shape), atol=2e-5)


def test_fast_and_short_and_past_the_end(tmp_path):
    bank = ClipStore([write(tmp_path)], CPU, 1, 1.0)
    bank.refresh()
    piano = next(i for i, clip in enumerate(bank.clips) if clip.label == 'piano')
    twice = bank.excerpts([piano], [0], [2.0], 8000)[0, 0]
    octave = 0.075 * torch.sin(2 * torch.pi * 880 * torch.arange(8000) / RATE)
    assert (twice - octave).norm() < 0.02 * octave.norm()
    long = bank.excerpts([piano], [0], [1.0], 3 * RATE)[0, 0]  # longer than the clip: a gap, then again
    assert not long[2 * RATE + 10 : 2 * RATE + 2 * BLOCK].any()
    torch.testing.assert_close(long[2 * RATE + 2 * BLOCK :], long[: RATE - 2 * BLOCK])
    end = bank.excerpts([piano], [2 * RATE - 1000], [1.0], 3000)[0, 0]
    assert end[:900].any() and not end[1001:].any()


def test_what_is_written_later_is_found_and_what_has_no_room_is_left(tmp_path, capsys):
    folder = tmp_path / 'later'
    bank = ClipStore([folder], CPU, 1, 20 / 3600)
    assert 'later has no sounds yet' in capsys.readouterr().err
    assert bank.refresh() == 0
    write(folder)
    assert bank.refresh(most=4) == 4 and bank.refresh() == 6  # of 2 s each
    write(folder, groups=('c',))
    assert bank.refresh() == 0


def test_effects_colour_and_leave_the_level():
    generator = torch.Generator().manual_seed(1)
    audio = torch.randn(64, 2, 20000, generator=generator) * 0.1
    audio[:32] *= 0.1
    out = through_effects(audio, generator, overdriven=torch.ones(64, dtype=torch.bool))
    assert torch.isfinite(out).all() and out.shape == audio.shape
    torch.testing.assert_close(out.square().mean((1, 2)), audio.square().mean((1, 2)), rtol=0.01, atol=1e-6)
    assert ((out - audio).norm(dim=(1, 2)) > 0.1 * audio.norm(dim=(1, 2))).all()
    again = [through_effects(audio, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*again)


def test_a_mixture_is_the_sum_of_its_stems(tmp_path):
    source = BandsOnDevice(ClipStore([write(tmp_path)], CPU, 2, 1.0), placeholder_queries(128), 4, 20000)
    source.refresh()
    mixture, mix, target, query = source.batch(12, 3, 7)
    assert mixture.shape == (12, 2, 20000) and target.shape == (12, 4, 20000) and query.shape == (12, 4, 128)
    torch.testing.assert_close(mix.square().sum(1), torch.ones(12))
    heard = (mixture * mix[:, :, None]).sum(1)
    whole = 0
    for b in range(12):
        stems = {tuple(stem[:50].tolist()): stem for stem in target[b] if stem.any()}  # asked twice, counted once
        whole += (sum(stems.values()) - heard[b]).norm() < 1e-4 * heard[b].norm()
    assert whole >= 4  # where nothing absent was asked for in place of what is there
    assert all(torch.equal(a, b) for a, b in zip(source.batch(12, 3, 7), (mixture, mix, target, query), strict=True))
    assert not torch.equal(source.batch(12, 3, 8)[0], mixture)


def test_backwards_the_end_of_each_part_comes_first(tmp_path):
    folder = write(tmp_path)
    forth, back = (BandsOnDevice(ClipStore([folder], CPU, 2, 1.0), placeholder_queries(128), 4, 20000, backwards=way)
                   for way in (False, True))  # fmt: skip
    found = []
    for source in (forth, back):
        source.refresh()
        found.append(source.batch(4, 3, 7))
    torch.testing.assert_close(found[1][0], found[0][0].flip(-1))
    torch.testing.assert_close(found[1][2], found[0][2].flip(-1))


def test_energies_add_up(tmp_path):
    config = BandConfig(bands=48)
    vectors = {label: np.random.default_rng(i).standard_normal((3, 8)) for i, (label, _) in enumerate(PARTS)}
    mixing = MixtureConfig(seconds=0.8, noise=0.5, speed=0.3, stems=0.4)
    source = MixturesOnDevice(ClipStore([write(tmp_path)], CPU, 1, 1.0), Features(config), vectors, mixing, 32)
    source.refresh()
    batch = source.batch(8, 5, 1.0, 2, 9)
    assert batch['energy'].shape == (8, 1, 48, 32) and batch['query'].shape == (8, 5, 8)
    assert ((batch['present'].sum(1) >= 2) & (batch['present'][:, -1] == 0)).all()
    rest = batch['energy'][:, 0] - batch['cross'].sum(1)  # what is left belongs to the noise
    share = rest.sum((1, 2)) / batch['energy'].sum((1, 2, 3))
    assert ((share.abs() < 1e-4).sum() >= 2) and (share > -0.5).all()
    error = error_db(torch.ones_like(batch['cross']), batch['energy'], batch['cross'], batch['total'])
    assert (error[batch['present'] > 0] > -20).all()
    again = source.batch(8, 5, 1.0, 2, 9)
    assert all(torch.equal(batch[key], again[key]) for key in batch)


class Counted:
    """A source whose batch is the number of the step, and which cannot make the third."""

    ready = True

    def __init__(self, fault=None):
        self.bank = ClipStore([], CPU, 1, 0.0)
        self.fault, self.refreshed = fault, 0

    def refresh(self, most=0):
        self.refreshed += 1
        return 0

    def batch(self, scale, step):
        if step == self.fault:
            raise ZeroDivisionError
        return (torch.tensor(scale * step),)


def test_batches_made_ahead_come_in_order_and_a_fault_is_told_where_they_are_waited_for():
    source = Counted()
    with DeviceBatches(source, 20, 10) as batches:
        assert [int(next(batches)[0]) for _ in range(6)] == [200, 210, 220, 230, 240, 250]
    assert not batches._thread.is_alive() and source.refreshed == 2
    with DeviceBatches(Counted(fault=2), 0, 1) as batches:
        assert [int(next(batches)[0]) for _ in range(2)] == [0, 1]
        with pytest.raises(ZeroDivisionError):
            next(batches)


def test_batches_are_those_of_their_steps_and_nothing_to_learn_from_is_told(tmp_path):
    source = BandsOnDevice(ClipStore([tmp_path / 'bands'], CPU, 2, 1.0), placeholder_queries(128), 2, 9000)
    with pytest.raises(GenaudioError, match=r'No sounds for training in .*bands'):
        DeviceBatches(source, 0, 2, 3)
    write(tmp_path / 'bands')
    with DeviceBatches(source, 5, 2, 3) as batches:
        made = [next(batches) for _ in range(2)]
    for step, batch in zip((5, 6), made, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, source.batch(2, 3, step), strict=True))


def test_each_folder_is_first_in_turn(tmp_path):
    folders = [write(tmp_path / name) for name in ('a', 'b')]
    bank = ClipStore(folders, CPU, 1, 1.0)
    assert bank.refresh(most=3) == 3 and bank.refresh(most=3) == 3
    assert bank._read[folders[0]] and bank._read[folders[1]]
