import numpy as np
import pytest
from numpy.testing import assert_allclose

torch = pytest.importorskip('torch')
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from export.cli import main as export  # noqa: E402
from export.kinds.clipsep import ClipsepKind, load_published_clipsep  # noqa: E402
from genaudio_core.errors import GenaudioError  # noqa: E402
from genaudio_core.inference.session import load_model  # noqa: E402
from genaudio_core.models.band_separator import BandConfig, BandSeparator  # noqa: E402
from genaudio_core.models.clipsep import (  # noqa: E402
    CLIPSep,
    CLIPSepConfig,
    explained,
    from_published,
    loss_of,
    n_parameters,
)
from genaudio_core.models.clipsep_small import CLIPSepSmall, SmallConfig, pad_frames  # noqa: E402
from genaudio_core.query.vector import Query  # noqa: E402
from genaudio_core.separation.offline import Separator  # noqa: E402

TINY = {'width': 2, 'maps': 4, 'query_dim': 6}


def batch(n=2, frames=128, dim=6, seed=0):
    torch.manual_seed(seed)
    sources = torch.rand(n, 2, 513, frames)
    return sources.sum(dim=1, keepdim=True), sources, torch.randn(n, 2, dim)


def test_parameter_counts():
    assert n_parameters(CLIPSep()) == 30_290_659
    nit = CLIPSep(CLIPSepConfig(noise_heads=2))
    assert n_parameters(nit) == 30_292_771
    assert n_parameters(nit.unet) == 30_274_210


@pytest.mark.parametrize('settings', [
    {}, {'fusion': 'early'}, {'fusion': 'middle'}, {'noise_heads': 2}, {'query': 'label', 'n_labels': 5},
    {'query': 'none'}, {'query_dim': 256},
])  # fmt: skip
def test_every_variant_learns(settings):
    """A few steps on one batch lower the loss: the gradient reaches what matters, for every variant and baseline."""
    torch.manual_seed(1)
    model = CLIPSep(CLIPSepConfig(**TINY | settings))
    mixture, sources, query = batch(dim=model.config.query_dim)
    if model.config.query == 'label':
        query = torch.tensor([[0, 1], [2, 3]])
    optimiser = torch.optim.Adam(model.parameters(), lr=0.003)
    losses = []
    for _ in range(10):
        loss = loss_of(model, mixture, sources, None if model.config.query == 'none' else query)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert min(losses[-3:]) < losses[0]


def test_equal_sources_share_the_mixture():
    """Half of the mixture each: strictly more than half is asked for, so both binary masks are empty."""
    model = CLIPSep(CLIPSepConfig(**TINY))
    source = torch.rand(1, 1, 513, 128) + 0.1
    targets = (model.warped(source) > 0.5 * (model.warped(2 * source) + 1e-10)).float()
    assert targets.mean() == 0


def test_noise_loss_does_not_care_for_the_order():
    torch.manual_seed(2)
    model = CLIPSep(CLIPSepConfig(**TINY, noise_heads=2)).eval()
    for p in model.noise.parameters():
        nn.init.normal_(p)
    mixture, sources, query = batch()
    loss = loss_of(model, mixture, sources, query)
    assert_allclose(loss_of(model, mixture, sources.flip(1), query.flip(1)).item(), loss.item(), rtol=1e-5)
    model.noise[0], model.noise[1] = model.noise[1], model.noise[0]
    assert_allclose(loss_of(model, mixture, sources, query).item(), loss.item(), rtol=1e-5)


def test_noise_masks_add_up_to_one_at_most():
    masks, noise = torch.rand(3, 2, 4, 5), torch.rand(3, 2, 4, 5)
    straight, crossed = explained(masks, noise).numpy()
    masks, noise = masks.numpy(), noise.numpy()
    assert_allclose(straight, np.minimum(1, masks + noise), atol=1e-6)
    assert_allclose(crossed[:, 0], np.minimum(1, masks[:, 0] + noise[:, 1]), atol=1e-6)


def test_too_much_noise_costs():
    """With a threshold of zero every bit of noise mask costs; with two none does."""
    mixture, sources, query = batch()
    losses = []
    for gamma in (0.0, 2.0):
        torch.manual_seed(3)
        model = CLIPSep(CLIPSepConfig(**TINY, noise_heads=2, gamma=gamma)).eval()
        losses.append(loss_of(model, mixture, sources, query).item())
    assert_allclose(losses[0] - losses[1], 0.1 * 1.0, atol=0.01)  # two masks of about a half


class _TheirBlock(nn.Module):
    """A level of the published U-Net, told from their description: nested, and activated in place."""

    def __init__(self, n_in, n_inner, n_out, inside=None, outermost=False):
        super().__init__()
        down = nn.Conv2d(n_in, n_inner, 4, 2, 1, bias=False)
        up = [nn.ReLU(True), nn.Upsample(scale_factor=2, mode='bilinear', align_corners=True),
              nn.Conv2d(n_inner * (1 if inside is None else 2), n_out, 3, padding=1, bias=outermost)]  # fmt: skip
        self.outermost = outermost
        if outermost:
            parts = [down, inside, *up]
        elif inside is None:
            parts = [nn.LeakyReLU(0.2, True), down, *up, nn.BatchNorm2d(n_out)]
        else:
            parts = [nn.LeakyReLU(0.2, True), down, nn.BatchNorm2d(n_inner), inside, *up, nn.BatchNorm2d(n_out)]
        self.model = nn.Sequential(*parts)

    def forward(self, x):
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class _TheirMiddleBlock(nn.Module):
    """A level of the published U-Net that joins the query at the innermost one. Both ends hold a norm without use."""

    def __init__(self, n_in, n_inner, n_out, inside=None, outermost=False, joined=0):
        super().__init__()
        self.downconv, self.downnorm = nn.Conv2d(n_in, n_inner, 4, 2, 1, bias=False), nn.BatchNorm2d(n_inner)
        self.submodule = inside
        self.upconv = nn.Conv2d(n_inner + (joined or n_inner), n_out, 3, padding=1, bias=outermost)
        self.upnorm = None if outermost else nn.BatchNorm2d(n_out)

    def forward(self, x, condition):
        if self.upnorm is None:
            return self._up(self.submodule(self.downconv(x), condition))
        x = F.leaky_relu(x, 0.2)  # theirs does so in place
        inner = self.downconv(x)
        if self.submodule is None:
            inner = torch.cat([inner, condition[..., None, None] * torch.ones(inner.shape[2:])], 1)
        else:
            inner = self.submodule(self.downnorm(inner), condition)
        return torch.cat([x, self.upnorm(self._up(inner))], 1)

    def _up(self, x):
        return self.upconv(F.interpolate(F.relu(x), scale_factor=2, mode='bilinear', align_corners=True))


def _their_unet(block, n_in, n_out, width, **innermost):
    inside = block(width * 8, width * 8, width * 8, **innermost)
    for outer, inner in [(8, 8), (8, 8), (4, 8), (2, 4), (1, 2)]:
        inside = block(width * outer, width * inner, width * outer, inside)
    unet = nn.Module()
    unet.bn0, unet.unet_block = nn.BatchNorm2d(n_in), block(n_in, width, n_out, inside, outermost=True)
    return unet


def _grid(places, frames):
    """What grid_sample reads at `places` (-1..1) of a spectrum's height."""
    both = torch.meshgrid(places, torch.linspace(-1, 1, frames, dtype=places.dtype), indexing='ij')
    return torch.stack(both[::-1], dim=-1)[None]


VARIANTS = ('late', 'nit', 'early', 'middle', 'label', 'pit')
"""CLIPSep, CLIPSep-NIT (CLIPPITSepV4), CLIPSepV2, CLIPSepV3, LabelSepV2, PITSep."""


class _TheirNet(nn.Module):
    """The published networks, told from their description, with tensors named and shaped as theirs; counts in doubles.

    (In single numbers, as theirs, the places that grid_sample reads at are rounded, and masks by up to 7e-4.)
    """

    def __init__(self, variant='late', width=4, maps=8):
        super().__init__()
        self.variant = variant
        if variant == 'middle':
            self.sound_net = _their_unet(_TheirMiddleBlock, 1, 1, width, joined=maps)
        elif variant == 'early':
            self.sound_net = _their_unet(_TheirBlock, 1 + maps, 1, width)
        else:
            self.sound_net = _their_unet(_TheirBlock, 1, maps, width)
        if variant == 'pit':
            self.synth_net = nn.Conv2d(maps, 2, 1)
        else:
            self.frame_net = nn.Linear(512, maps)
        if variant == 'early':
            self.frame_net = nn.ModuleDict({'fc': self.frame_net})
        elif variant != 'pit':  # middle fusion holds one without use
            self.synth_net = nn.Module()
            self.synth_net.scale, self.synth_net.bias = nn.Parameter(torch.randn(maps)), nn.Parameter(torch.randn(1))
        if variant == 'label':
            self.label_net = nn.Embedding(5, 512)
        if variant == 'nit':
            self.pit_nets = nn.ModuleList([nn.Linear(maps, maps), nn.Linear(maps, maps)])
        for module in self.modules():  # statistics of their own, or a lost one would not be seen
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, 0, 0.3)
                nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.normal_(module.weight, 1, 0.3)
            elif isinstance(module, nn.Conv2d):  # large, or a query at the innermost level hardly reaches the masks
                module.weight.data *= 2.5

    def forward(self, magnitude, asked):
        """One mixture (1, 1, 513, frames); vectors (n, 512), labels (n,) or None -> masks (n, 513, frames)."""
        self.double()
        asked = asked.double() if asked is not None and asked.is_floating_point() else asked
        y, frames = torch.linspace(-1, 1, 256, dtype=torch.float64), magnitude.shape[-1]
        to_log = _grid((21 ** ((y + 1) / 2) - 11) / 10, frames)
        x = torch.log(F.grid_sample(magnitude.double() + 1e-10, to_log, align_corners=True))
        net = self.sound_net
        if self.variant == 'pit':
            logits = self.synth_net(net.unet_block(net.bn0(x)))[0]
        elif self.variant == 'early':
            chosen = torch.sigmoid(self.frame_net['fc'](asked))[..., None, None] * torch.ones(x.shape[2:])
            logits = torch.cat([net.unet_block(net.bn0(torch.cat([x, one[None]], 1)))[0] for one in chosen])
        else:
            chosen = torch.sigmoid(self.frame_net(self.label_net(asked) if self.variant == 'label' else asked))
            if self.variant == 'middle':
                logits = torch.cat([net.unet_block(net.bn0(x), one[None])[0] for one in chosen])
            else:
                maps = net.unet_block(net.bn0(x))[0]
                logits = torch.einsum('nk,kft->nft', chosen * self.synth_net.scale, maps) + self.synth_net.bias
        y = torch.linspace(-1, 1, 513, dtype=torch.float64)
        back = _grid(torch.log(10 * y + 11) / np.log(21) * 2 - 1, frames)
        return F.grid_sample(torch.sigmoid(logits)[None], back, align_corners=True)[0]


@pytest.mark.parametrize('variant', VARIANTS)
def test_published_weights_give_published_masks(variant, tmp_path):
    """The authors' file through `genaudio-export import`: its .onnx makes the masks of the published formulas."""
    torch.manual_seed(4)
    theirs = _TheirNet(variant).eval()
    torch.save(theirs.state_dict(), tmp_path / 'theirs.pt')
    assert export(['import', 'clipsep', str(tmp_path / 'theirs.pt'), str(tmp_path / 'c.onnx')]) == 0
    model = load_model(tmp_path / 'c.onnx', 'clipsep', provider='cpu')
    config = model.card.details['config']
    assert config['noise_heads'] == (2 if variant == 'nit' else 0)
    assert config['fusion'] == (variant if variant in ('early', 'middle') else 'late')
    magnitude = torch.rand(1, 1, 513, 256) * 3
    for n in (1, 3):
        asked = {'label': torch.arange(n), 'pit': None}.get(variant, 4 * torch.randn(n, 512))
        with torch.inference_mode():
            expected = theirs(magnitude, asked)
        feed = {'spectrum': magnitude.numpy()} | ({} if asked is None else {'query': asked.numpy()})
        (found,) = model.session.run(None, feed)
        assert found.shape == (2 if variant == 'pit' else n, 513, 256)
        assert expected.std() > 1e-3 and (variant == 'pit' or n == 1 or (expected[0] - expected[1]).abs().max() > 5e-3)
        assert_allclose(found, expected, atol=1e-4)
    if variant in ('label', 'pit'):
        with pytest.raises(GenaudioError, match=r'onnx\.md'):
            Separator.load(tmp_path / 'c.onnx')
        return
    separator = Separator.load(tmp_path / 'c.onnx')
    assert (separator.sample_rate, separator.query_dim, separator.front) == (16000, 512, 'magnitude')
    x = np.random.default_rng(0).standard_normal((1, 40_000)).astype(np.float32)
    y = separator.separate(x, 16000, [Query('x', ((1.0, np.full(512, 0.1, np.float32)),), normalise=False)])
    assert y.shape == (1, 1, 40_000) and 0.05 < np.std(y) / np.std(x) < 1


def test_other_weights_are_refused_in_one_line(tmp_path):
    torch.save({'a': torch.zeros(3)}, tmp_path / 'other.pt')
    with pytest.raises(GenaudioError, match='not of CLIPSep'):
        load_published_clipsep(tmp_path / 'other.pt')
    (tmp_path / 'words.pt').write_text('hello')
    with pytest.raises(GenaudioError, match='not a torch checkpoint'):
        load_published_clipsep(tmp_path / 'words.pt')
    state = _TheirNet().state_dict()
    del state['synth_net.scale']
    with pytest.raises(GenaudioError, match='missing'):
        from_published(state)


@pytest.mark.parametrize('network', ('late', 'bands'))
def test_small_masks_do_not_hear_the_level(network):
    torch.manual_seed(5)
    model = _small(network).eval()
    energy, query = torch.rand(1, 1, 64, 32), torch.randn(1, 3, 128)
    with torch.inference_mode():
        quiet, loud = model(energy, query), model(1e4 * energy, query)
    assert quiet.shape == (1, 3, 64, 32)
    assert_allclose(quiet, loud, atol=1e-4)
    assert pad_frames(33, 4) == 15


def _small(network):
    """Return a tiny network that energies and queries go into: late fusion, a steered decoder, or band by band."""
    if network == 'bands':
        return BandSeparator(BandConfig(bands=64, width=8, units=8, heads=2, hidden=8, trunk=1, asked=2))
    return CLIPSepSmall(SmallConfig(width=4, max_width=8, bands=64, levels=4, film=8 if network == 'steered' else 0))


NETWORKS = ('late', 'steered', 'bands')


@pytest.mark.parametrize('network', NETWORKS)
def test_small_queries_are_independent(network):
    torch.manual_seed(3)
    model = _small(network).eval()
    for parameter in model.parameters():  # FiLM begins at zero, where it would prove nothing
        parameter.data += 0.1 * torch.randn_like(parameter)
    energy, query = torch.rand(1, 1, 64, 32), torch.randn(1, 3, 128)
    with torch.inference_mode():
        assert_allclose(model(energy, query)[:, 1:2], model(energy, query[:, 1:2]), atol=1e-5)


def test_small_loss_is_the_error_in_decibels():
    """The expanded square of the loss is the square it stands for."""
    from genaudio_core.training.fit.clipsep import error_db

    rng = np.random.default_rng(6)
    x = torch.from_numpy(rng.standard_normal((1, 1, 8, 9))).float()
    s = torch.from_numpy(rng.standard_normal((1, 2, 8, 9))).float()
    m = torch.rand(1, 2, 8, 9)
    expected = 10 * torch.log10(((s - m * x) ** 2).sum((2, 3)) / (s**2).sum((2, 3)) + 1e-3)
    assert_allclose(error_db(m, x**2, s * x, (s**2).sum((2, 3))), expected, atol=1e-4)


@pytest.mark.parametrize('film', [0, 8])
def test_summed_kernels_are_summed_maps(film):
    """What `combine` computes is the paper's: maps of all kinds, weighted by the query."""
    torch.manual_seed(2)
    model = CLIPSepSmall(SmallConfig(width=4, max_width=8, bands=64, levels=4, film=film)).eval()
    x, choice = torch.randn(2, 3 if film else 1, 8, 32, 16), torch.rand(2, 3, 32)
    with torch.inference_mode():
        maps = model.unet.out(x.flatten(0, 1)).unflatten(0, (2, -1))  # (B, N or 1, maps, bands, frames)
        expected = torch.einsum('bnk,bnkft->bnft', choice * model.scale, maps.expand(-1, 3, -1, -1, -1)) + model.bias
        assert_allclose(model.combine(x, choice), expected, atol=1e-4)


def test_a_steered_decoder_begins_as_the_late_fusion_it_grew_from(tmp_path):
    from genaudio_core.training.loops.checkpoints import begin_with, save_checkpoint

    torch.manual_seed(4)
    sizes = {'width': 4, 'max_width': 8, 'bands': 64, 'levels': 4}
    late = CLIPSepSmall(SmallConfig(**sizes)).eval()
    grown = CLIPSepSmall(SmallConfig(**sizes, film=8)).eval()
    save_checkpoint(tmp_path / 'late.safetensors', late, late.config.to_dict(), step=1)
    begin_with(grown, tmp_path / 'late.safetensors')
    energy, query = torch.rand(2, 1, 64, 32), torch.randn(2, 3, 128)
    with torch.inference_mode():
        assert_allclose(grown(energy, query), late(energy, query), atol=1e-5)
    save_checkpoint(tmp_path / 'grown.safetensors', grown, grown.config.to_dict(), step=1)
    with pytest.raises(GenaudioError, match='does not fit'):
        begin_with(late, tmp_path / 'grown.safetensors')


@pytest.mark.parametrize(('noise_heads', 'film'), [(0, 0), (2, 0), (0, 8), (2, 8), (0, None)])
def test_small_learns_to_take_the_source_that_is_asked_for(noise_heads, film):
    """Low bands belong to one query, high bands to the other: after some steps the masks say so."""
    from genaudio_core.training.fit.clipsep import loss_of

    torch.manual_seed(8)
    if film is None:
        model = BandSeparator(BandConfig(bands=32, width=8, units=8, heads=2, hidden=8, trunk=1, asked=1))
    else:
        model = CLIPSepSmall(SmallConfig(width=4, max_width=8, bands=32, levels=4, noise_heads=noise_heads, film=film))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    vectors = torch.nn.functional.normalize(torch.randn(3, 128), dim=-1)
    gain = torch.tensor(0.0)
    for _ in range(100 if noise_heads else 40):  # noise maps let go slowly of what is not theirs
        sources = torch.rand(4, 2, 32, 32)
        sources[:, 0, 16:], sources[:, 1, :16] = 0, 0
        energy = sources.sum(dim=1, keepdim=True)
        batch = {
            'energy': energy, 'cross': torch.cat([sources, torch.zeros(4, 1, 32, 32)], 1),
            'total': torch.cat([sources.sum((2, 3)), torch.ones(4, 1)], 1),
            'present': torch.tensor([1.0, 1, 0]).expand(4, -1), 'query': vectors.expand(4, -1, -1),
        }  # fmt: skip
        loss, gain = loss_of(model, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert gain.item() > 6


def test_sizes_of_the_other_network_are_refused():
    from argparse import ArgumentParser

    from genaudio_core.training.fit import clipsep

    parser = ArgumentParser()
    clipsep.add_arguments(parser)
    needed = ['--sounds', 'x', '--space', 'y', '--out', 'z']
    with pytest.raises(GenaudioError, match='--max-width is for --network unet'):
        clipsep.new_network(parser.parse_args([*needed, '--max-width', '8']), 128)
    unet = clipsep.new_network(parser.parse_args([*needed, '--network', 'unet', '--width', '4']), 16)
    assert (unet.config.width, unet.config.max_width, unet.config.query_dim) == (4, 192, 16)
    assert clipsep.new_network(parser.parse_args(needed), 16).config.query_dim == 16


def test_equalisers_colour_and_leave_the_level():
    """Energies and cross energies are those of what is heard through the equalisers: they still add up."""
    import random

    from genaudio_core.training.fit.clipsep import Features, error_db
    from genaudio_core.training.mixtures.solo_mixtures import SoloMixture

    config = SmallConfig(width=4, max_width=8, bands=32, levels=4)
    noise = np.random.default_rng(3).standard_normal((3, 20000)).astype(np.float32)
    mixture = SoloMixture(noise, ('flute', 'drums', 'piano'), 0 * noise[0])
    plain, coloured = Features(config), Features(config, colour=6.0)
    curves = coloured.equalisers(500, random.Random(1))
    assert curves.shape == (500, config.n_fft // 2 + 1, 1)
    in_db = 20 * torch.log10(curves)
    assert abs(float(in_db.mean())) < 1 and 2.5 < float(in_db.std()) < 6
    assert float(in_db.diff(dim=1).abs().max()) < 8  # smooth
    before, after = (features(mixture, 16, random.Random(5)) for features in (plain, coloured))
    assert not torch.allclose(before[0], after[0], rtol=0.1)
    # All is heard where the mask is one: then the error is the energy of the others, and none is less than nothing.
    energy, cross, total = (part[None] for part in after)
    assert_allclose(cross.sum(dim=1), energy, rtol=1e-3, atol=1e-3 * float(energy.max()))
    assert (error_db(torch.ones_like(cross), energy[:, None], cross, total) > -10).all()


def test_silence_is_no_way_out_of_the_loss():
    from genaudio_core.training.fit.clipsep import scaled_error_db

    energy, cross = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    cross[..., :2, :] = 1.0  # the lower half belongs to the source
    total = cross.sum((2, 3))
    right, silent = cross.clone(), 1e-4 * cross + 1e-4
    assert scaled_error_db(right, energy, cross, total) < -29
    assert abs(float(scaled_error_db(silent, energy, cross, total)) - float(
        scaled_error_db(1e3 * silent, energy, cross, total))) < 1e-3  # fmt: skip


@pytest.mark.parametrize('network', NETWORKS)
def test_exported_small_takes_any_number_of_queries(network, tmp_path):
    """A graph made with two queries must take one and three, and masks must not depend on their company."""
    from export.kinds import Options
    from genaudio_core.inference.model_card import write_model

    torch.manual_seed(6)
    model = _small(network).eval()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    kind, path = ClipsepKind(), tmp_path / 'small.onnx'
    write_model(path, kind.build(model, Options()), kind.card(model, Options()))
    found = kind.check(model, path, Options())
    assert found['parity'] < 1e-4 and found['queries_independent'] < 1e-4
