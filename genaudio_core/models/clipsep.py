"""CLIPSep and CLIPSep-NIT as published (Dong et al., ICLR 2023), with their other fusions and baselines.

* One U-Net (7 levels, 64..512 channels) draws 32 maps of a log-frequency magnitude spectrogram; the query chooses
  among them: mask = sigmoid(sum_k q_k scale_k map_k + bias), q = sigmoid(linear(query)). That is late fusion; early
  fusion tiles q over the input, middle fusion over the innermost level.
* The published code activates in place, so the skip connections carry activated values. So do ours.
* NIT adds two heads on the mean of the queries' features. Their masks soak up what no query explains, and are
  dropped in use.
* The baselines differ in the query's source only: LabelSep learns a vector per label, BERTSep and CLIPSep-Text get
  another encoder's; PIT asks nothing and takes the better order.

Shapes: magnitudes (B, 1, 513, 256) before and (B, 1, 256, 256) after the warp; queries (B, N, 512).
30,290,659 parameters; 30,292,771 with the noise heads.
"""

from dataclasses import asdict, dataclass
from itertools import permutations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genaudio_core.errors import GenaudioError
from genaudio_core.sound.spectrogram import unwarp_matrix, warp_matrix

FUSIONS = ('late', 'early', 'middle')
QUERIES = ('embedding', 'label', 'none')  # CLIP, BERT and others; LabelSep; PIT
MAGNITUDE_FLOOR = 1e-10


@dataclass(frozen=True)
class CLIPSepConfig:
    """Plain numbers that rebuild the model."""

    sample_rate: int = 16000  # Hz
    n_fft: int = 1024
    hop_length: int = 256
    frames: int = 256
    warped: int = 256  # bins after the log-frequency warp
    width: int = 64
    levels: int = 7
    maps: int = 32
    query_dim: int = 512
    fusion: str = 'late'
    query: str = 'embedding'
    n_labels: int = 0  # LabelSep only
    noise_heads: int = 0  # 2 for NIT
    gamma: float = 0.25  # how much of the mixture the noise masks may take before it costs
    noise_weight: float = 0.1

    def __post_init__(self):
        if self.fusion not in FUSIONS or self.query not in QUERIES:
            raise GenaudioError(f'Unknown fusion {self.fusion!r} or query {self.query!r}: {FUSIONS}, {QUERIES}.')
        if self.noise_heads not in (0, 2) or (self.noise_heads and self.fusion != 'late'):
            raise GenaudioError('The noise heads are two, and need late fusion.')

    def to_dict(self) -> dict:
        return asdict(self)


class UNet(nn.Module):
    """(B, n_in, H, W) -> (B, n_out, H, W), H and W multiples of 2**levels; `n_cond` joins at the innermost level."""

    def __init__(self, n_in: int, n_out: int, width: int = 64, levels: int = 7, n_cond: int = 0):
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(levels)]
        self.bn0 = nn.BatchNorm2d(n_in)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 4, 2, 1, bias=False) for a, b in zip([n_in, *widths], widths, strict=False)
        )
        # Neither the outermost nor the innermost level normalises on the way down.
        self.down_norm = nn.ModuleList(nn.BatchNorm2d(w) for w in widths[1:-1])
        outer = [n_out, *widths[:-1]]
        inner = [2 * w for w in widths[:-1]] + [widths[-1] + n_cond]
        self.up = nn.ModuleList(
            nn.Conv2d(b, a, 3, 1, 1, bias=i == 0) for i, (a, b) in enumerate(zip(outer, inner, strict=True))
        )
        self.up_norm = nn.ModuleList(nn.BatchNorm2d(w) for w in outer[1:])

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        x = self.down[0](self.bn0(x))
        skips = []
        last = len(self.down) - 1
        for i in range(1, last + 1):
            x = F.leaky_relu(x, 0.2)
            skips.append(x)
            x = self.down[i](x)
            if i < last:
                x = self.down_norm[i - 1](x)
        if condition is not None:
            x = torch.cat([x, condition[:, :, None, None].expand(-1, -1, *x.shape[2:])], dim=1)
        for i in range(last, -1, -1):
            x = F.interpolate(F.relu(x), scale_factor=2.0, mode='bilinear', align_corners=True)
            x = self.up[i](x)
            if i:
                x = torch.cat([skips.pop(), self.up_norm[i - 1](x)], dim=1)
        return x


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.001)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 1e-4)


class CLIPSep(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: CLIPSepConfig | None = None):
        super().__init__()
        self.config = config or CLIPSepConfig()
        c = self.config
        n_in = 1 + (c.maps if c.fusion == 'early' else 0)
        n_out = c.maps if c.fusion == 'late' else 1
        self.unet = UNet(n_in, n_out, c.width, c.levels, c.maps if c.fusion == 'middle' else 0)
        if c.query == 'none':
            self.pit_out = nn.Conv2d(c.maps, 2, 1)
        else:
            self.query = nn.Linear(c.query_dim, c.maps)
            if c.fusion == 'late':
                self.scale = nn.Parameter(torch.ones(c.maps))
                self.bias = nn.Parameter(torch.zeros(1))
        self.noise = nn.ModuleList(nn.Linear(c.maps, c.maps) for _ in range(c.noise_heads))
        self.apply(_initialise)
        if c.query == 'label':  # after the others' initialisation: torch's own, N(0, 1)
            self.labels = nn.Embedding(c.n_labels, c.query_dim)
        bins = c.n_fft // 2 + 1
        self.register_buffer('warp', torch.from_numpy(warp_matrix(bins, c.warped)), persistent=False)
        self.register_buffer('unwarp', torch.from_numpy(unwarp_matrix(bins, c.warped)), persistent=False)

    def warped(self, magnitude: Tensor) -> Tensor:
        """(..., bins, frames) -> (..., warped, frames)."""
        return torch.matmul(self.get_buffer('warp'), magnitude)

    def query_features(self, query: Tensor) -> Tensor:
        """Queries (B, N, query_dim), or label numbers (B, N), -> (B, N, maps) before the sigmoid."""
        return self.query(self.labels(query) if self.config.query == 'label' else query)

    def _late(self, maps: Tensor, features: Tensor) -> Tensor:
        return torch.einsum('bnk,bkft->bnft', torch.sigmoid(features) * self.scale, maps) + self.bias

    def logits(self, warped: Tensor, query: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Warped magnitudes (B, 1, warped, frames) -> mask logits (B, N, ...) and noise logits (B, 2, ...) or None."""
        x = torch.log(warped + MAGNITUDE_FLOOR).detach()
        if self.config.query == 'none':
            return self.pit_out(self.unet(x)), None
        assert query is not None
        features = self.query_features(query)
        if self.config.fusion == 'late':
            maps = self.unet(x)
            noise = None
            if self.config.noise_heads:
                mean = features.mean(dim=1)
                noise = self._late(maps, torch.stack([head(mean) for head in self.noise], dim=1))
            return self._late(maps, features), noise
        chosen = torch.sigmoid(features)
        outputs = []
        for n in range(chosen.shape[1]):
            if self.config.fusion == 'early':
                tiled = chosen[:, n, :, None, None].expand(-1, -1, *x.shape[2:])
                outputs.append(self.unet(torch.cat([x, tiled], dim=1)))
            else:
                outputs.append(self.unet(x, chosen[:, n]))
        return torch.cat(outputs, dim=1), None

    def forward(self, magnitude: Tensor, query: Tensor) -> Tensor:
        """Magnitudes (B, 1, bins, frames) and queries (B, N, query_dim) -> masks (B, N, bins, frames) in 0..1."""
        masks = torch.sigmoid(self.logits(self.warped(magnitude), query)[0])
        return torch.matmul(self.get_buffer('unwarp'), masks)


def explained(masks: Tensor, noise: Tensor) -> Tensor:
    """Both orders of adding a noise mask to each of two masks, at most one: (B, 2, ...) -> (orders, B, 2, ...)."""
    return torch.stack([1 - F.relu(1 - (masks + noise)), 1 - F.relu(1 - (masks + noise.flip(1)))])


def loss_of(model: CLIPSep, mixture: Tensor, sources: Tensor, query: Tensor | None) -> Tensor:
    """Published loss: weighted cross entropy with the binary masks of the sources.

    Parameters
    ----------
    mixture : (B, 1, bins, frames)
    sources : (B, N, bins, frames)
        Magnitudes.
    """
    warped, targets = model.warped(mixture), model.warped(sources)
    targets = (targets > 0.5 * (warped + MAGNITUDE_FLOOR)).float()
    weight = torch.log1p(warped).clamp(1e-3, 10).expand_as(targets)
    logits, noise = model.logits(warped, query)
    masks = torch.sigmoid(logits)

    def entropy(predicted: Tensor) -> Tensor:  # one number per sample, the mean over sources, bins and frames
        return F.binary_cross_entropy(predicted, targets, weight, reduction='none').mean(dim=(1, 2, 3))

    if model.config.query == 'none':
        return torch.stack([entropy(masks[:, list(p)]) for p in permutations(range(2))]).min(dim=0).values.mean()
    if noise is None:
        return entropy(masks).mean()
    noise_masks = torch.sigmoid(noise)
    orders = torch.stack([entropy(predicted) for predicted in explained(masks, noise_masks)])
    excess = F.relu(noise_masks.sum(dim=1).mean() - model.config.gamma)
    return orders.min(dim=0).values.mean() + model.config.noise_weight * excess


# --- the authors' checkpoints ----------------------------------------------------------------------------------------


def _published_keys(levels: int, middle: bool) -> dict[str, str]:
    """Published name -> ours, for the convolutions and norms of the U-Net (without '.weight' and the like)."""
    names = {'sound_net.bn0': 'unet.bn0'}
    prefix, last = 'sound_net.unet_block', levels - 1
    for i in range(levels):
        if middle:
            places = {'downconv': f'down.{i}', 'upconv': f'up.{i}'}
            if 0 < i < last:
                places['downnorm'] = f'down_norm.{i - 1}'
            if i:
                places['upnorm'] = f'up_norm.{i - 1}'
            names |= {f'{prefix}.{theirs}': f'unet.{ours}' for theirs, ours in places.items()}
            prefix += '.submodule'
            continue
        if i == 0:
            places = {0: 'down.0', 4: 'up.0'}
            inside = 1
        elif i == last:
            places = {1: f'down.{i}', 4: f'up.{i}', 5: f'up_norm.{i - 1}'}
            inside = 0
        else:
            places = {1: f'down.{i}', 2: f'down_norm.{i - 1}', 6: f'up.{i}', 7: f'up_norm.{i - 1}'}
            inside = 3
        names |= {f'{prefix}.model.{at}': f'unet.{ours}' for at, ours in places.items()}
        prefix += f'.model.{inside}'
    names |= {'frame_net': 'query', 'frame_net.fc': 'query', 'label_net': 'labels',
              'pit_nets.0': 'noise.0', 'pit_nets.1': 'noise.1'}  # fmt: skip
    return names


def from_published(weights: dict[str, Tensor]) -> CLIPSep:
    """Return the model of a state dictionary in the authors' layout.

    Raises
    ------
    GenaudioError
        If it is not one.
    """
    weights = {key.removeprefix('module.'): value for key, value in weights.items()}
    first = next((k for k in weights if k.endswith(('unet_block.model.0.weight', 'unet_block.downconv.weight'))), None)
    if first is None:
        raise GenaudioError('These weights are not of CLIPSep: there is no sound_net.unet_block in them.')
    middle = 'downconv' in first
    levels = sum(1 for k, v in weights.items() if v.ndim == 4 and v.shape[-1] == 4 and k.startswith('sound_net'))
    query = next((v for k, v in weights.items() if k in ('frame_net.weight', 'frame_net.fc.weight')), None)
    labels = next((v for k, v in weights.items() if k in ('label_net.weight',)), None)
    if query is None and 'synth_net.weight' not in weights:
        raise GenaudioError('These weights are not of CLIPSep: there is neither frame_net nor the synth_net of PIT.')
    maps = query.shape[0] if query is not None else weights['synth_net.weight'].shape[1]
    config = CLIPSepConfig(
        width=weights[first].shape[0], levels=levels, maps=maps, query_dim=query.shape[1] if query is not None else 512,
        fusion='middle' if middle else 'early' if weights[first].shape[1] > 1 else 'late',
        query='none' if query is None else 'label' if labels is not None else 'embedding',
        n_labels=0 if labels is None else labels.shape[0],
        noise_heads=2 if any(k.startswith('pit_nets.') for k in weights) else 0,
    )  # fmt: skip
    names = _published_keys(levels, middle)
    names['synth_net'] = 'pit_out' if query is None else ''
    ours: dict[str, Tensor] = {}
    for key, value in weights.items():
        stem, _, leaf = key.rpartition('.')
        if stem in names:
            ours[f'{names[stem]}.{leaf}'.lstrip('.')] = value
    model = CLIPSep(config)
    missing = set(model.state_dict()) - set(ours)
    if missing:
        first = sorted(missing)[0]
        raise GenaudioError(f'These weights are not of CLIPSep: {first} and {len(missing) - 1} more are missing.')
    wanted = model.state_dict()
    for key in wanted:
        if ours[key].shape != wanted[key].shape:
            raise GenaudioError(f'{key} has the shape {tuple(ours[key].shape)}, not {tuple(wanted[key].shape)}.')
    model.load_state_dict({key: ours[key] for key in wanted})
    return model.eval()


def n_parameters(model: nn.Module) -> int:
    return int(np.sum([p.numel() for p in model.parameters()]))
