"""The live separator: a small causal network that masks spectra, told by query vectors what to keep.

Notable choices

* Spectra come from ``lowdelay.py``: 2048 samples of past, ``2 * hop`` samples of delay. The network sees one frame
  and its own state, nothing ahead.
* Bins are cut into 23 bands in five groups of equal width, so that each group is one batched product; 23 separate
  products per frame would cost more in calls than in arithmetic.
* A block is: a GRU over time whose weights all bands share (small, so it stays in the cache), a mixer across bands,
  a feed-forward per band, and a narrow GRU that sees the whole spectrum at once ("what is playing?").
* The first blocks do not know the query and run once per frame; the last ones run once per query. Four queries
  cost far less than four times one.
* The query steers by FiLM (scale and shift per channel) in each query block, and by an offset per band, which is
  the crude equaliser that every sound has.
* With `local`, the decoder also weighs a few features of each bin by itself (`LOCAL`: how far it stands out among its
  neighbours, where it is in the stereo image, how much louder it is than it was), band by band and query by query:
  width channels say what plays in a band, but not which of its forty bins belongs to whom.
* The mask is complex and bounded, one for both channels (or for mid and side): a wrong guess is ugly, never loud.
* It is not told the sample rate. Training plays music up to 15% slower and faster, so 48 kHz sounds to it like music
  a semitone and a half lower.

Shapes: B batch, Q queries, T frames, F bins, K bands, N width, G global width, D query dimension.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genaudio_core.lowdelay import amplitude_scale, windows
from genaudio_core.models.gru import GRU

# (bands, bins per band) from the lowest bin up, for 1025 bins; with 44.1 kHz: to 1, 3.6, 9.1, 17.7 and 22 kHz.
BAND_GROUPS: tuple[tuple[int, int], ...] = ((6, 8), (6, 20), (6, 42), (4, 100), (1, 205))
N_FEATURES = 5  # per bin: |mid|, |side|, |left| - |right|, and the compressed mid, real and imaginary
# Features of a single bin: level, over its 5 and 33 neighbours, pan, pan squared, side level, over two slow means.
LOCAL = 8
SLOW = (0.07, 0.5)  # seconds: time constants of a bin's mean level
MAX_PARAMETERS = 2_000_000


@dataclass(frozen=True)
class StreamSeparatorConfig:
    """Plain numbers that rebuild a network.

    `sample_rate` is the one it was trained at; it may run at others nearby.
    """

    sample_rate: int = 44100  # Hz
    hop: int = 256  # samples
    n_fft: int = 2048  # samples
    query_dim: int = 128
    width: int = 32  # N
    global_width: int = 128  # G
    trunk_blocks: int = 2
    query_blocks: int = 1
    stereo: str = 'shared'  # one mask for both channels; 'mid_side' has two
    local: bool = False  # whether bins are weighed one by one, too; with one mask only

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class State(NamedTuple):
    """What the network remembers between frames; zeros at the start."""

    trunk_bands: Tensor  # (trunk blocks, B, K, N)
    trunk_global: Tensor  # (trunk blocks, B, G)
    query_bands: Tensor  # (query blocks, B, Q, K, N)
    query_global: Tensor  # (query blocks, B, Q, G)
    levels: Tensor  # (2 or 0, B, F): slow means of each bin's level, if the network is `local`

    def detach(self) -> 'State':
        return State(*(part.detach() for part in self))


class Block(nn.Module):
    """Time, bands, channels and the whole: (T, rows, K, N) -> the same, each part added to what came in."""

    def __init__(self, n_bands: int, width: int, global_width: int):
        super().__init__()
        self.narrow = 4  # channels per band that the global GRU hears
        self.time_norm = nn.LayerNorm(width)
        self.time = GRU(width, width)
        self.time_out = nn.Linear(width, width)
        self.band_in = nn.Linear(n_bands, 48)
        self.band_out = nn.Linear(48, n_bands)
        self.feed_norm = nn.LayerNorm(width)
        self.feed_in = nn.Linear(width, 2 * width)
        self.feed_out = nn.Linear(2 * width, width)
        self.to_global = nn.Linear(width, self.narrow)
        self.whole = GRU(n_bands * self.narrow, global_width)
        self.from_global = nn.Linear(global_width, n_bands * self.narrow)
        self.widen = nn.Linear(self.narrow, width)

    def forward(self, x: Tensor, bands: Tensor, whole: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take x (T, rows, K, N), bands (rows, K, N), whole (rows, G); return the new ones."""
        frames, rows, n_bands, width = x.shape
        over_time = self.time_norm(x).reshape(frames, rows * n_bands, width)
        y, bands = self.time(over_time, bands.reshape(rows * n_bands, width))
        x = x + self.time_out(y).reshape(x.shape)
        bands = bands.reshape(rows, n_bands, width)

        y = self.feed_norm(x)
        # Bands are the last but one axis; weights from the left save two transposes.
        mixed = F.relu(torch.matmul(self.band_in.weight, y) + self.band_in.bias[:, None])
        fed = self.feed_out(F.relu(self.feed_in(y)))
        x = x + torch.matmul(self.band_out.weight, mixed) + self.band_out.bias[:, None] + fed

        heard = self.to_global(x).reshape(frames, rows, n_bands * self.narrow)
        y, whole = self.whole(heard, whole)
        x = x + self.widen(torch.tanh(self.from_global(y)).reshape(frames, rows, n_bands, self.narrow))
        return x, bands, whole


class StreamSeparator(nn.Module):
    """Masks for the spectra of a stereo stream, one per query.

    Raises
    ------
    ValueError
        If the configuration does not fit the bands, or has more than two million parameters.
    """

    def __init__(self, config: StreamSeparatorConfig | None = None):
        super().__init__()
        self.config = config = config or StreamSeparatorConfig()
        self.n_bins = config.n_fft // 2 + 1
        if sum(count * bins for count, bins in BAND_GROUPS) != self.n_bins:
            raise ValueError(f'n_fft must be 2048 for these bands, not {config.n_fft}')
        if config.stereo not in ('shared', 'mid_side'):
            raise ValueError(f"stereo must be 'shared' or 'mid_side', not {config.stereo!r}")
        self.n_bands = n_bands = sum(count for count, _ in BAND_GROUPS)
        self.n_masks = 2 if config.stereo == 'mid_side' else 1
        self.scale = amplitude_scale(config.n_fft, config.hop)
        width, wide = config.width, config.global_width

        def per_band(count: int, inputs: int, outputs: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(count, inputs, outputs) / inputs**0.5)

        self.encode = nn.ParameterList(per_band(n, bins * N_FEATURES, width) for n, bins in BAND_GROUPS)
        self.encode_bias = nn.Parameter(torch.zeros(n_bands, width))
        self.trunk = nn.ModuleList(Block(n_bands, width, wide) for _ in range(config.trunk_blocks))
        self.query_in = nn.Linear(config.query_dim, 64)
        self.band_offset = nn.Linear(64, n_bands * width)
        self.film = nn.ModuleList(nn.Linear(64, 2 * width) for _ in range(config.query_blocks + 1))
        self.query_blocks = nn.ModuleList(Block(n_bands, width, wide) for _ in range(config.query_blocks))
        self.decode_in = nn.Linear(width, 2 * width)
        self.decode = nn.ParameterList(
            per_band(n, 2 * width, bins * 2 * self.n_masks) for n, bins in BAND_GROUPS
        )  # fmt: skip
        self.decode_bias = nn.ParameterList(torch.zeros(n, 1, bins * 2 * self.n_masks) for n, bins in BAND_GROUPS)
        if config.local and self.n_masks > 1:
            raise ValueError("local weighing of bins needs stereo = 'shared'")
        self.local = nn.Linear(2 * width, 2 * LOCAL) if config.local else None
        if self.local is not None:  # begins as if it were not there
            nn.init.zeros_(self.local.weight)
            nn.init.zeros_(self.local.bias)
        # Share of the way that a slow mean goes to the newest level in a hop.
        self.slow = [1 - math.exp(-config.hop / config.sample_rate / seconds) for seconds in SLOW]
        n_parameters = sum(parameter.numel() for parameter in self.parameters())
        if n_parameters > MAX_PARAMETERS:
            raise ValueError(f'{n_parameters} parameters are too many to stay in a processor cache: {MAX_PARAMETERS}')

    def initial_state(self, batch: int, n_queries: int) -> State:
        """Return the state before the first frame."""
        c, like = self.config, self.encode_bias
        return State(
            like.new_zeros(c.trunk_blocks, batch, self.n_bands, c.width),
            like.new_zeros(c.trunk_blocks, batch, c.global_width),
            like.new_zeros(c.query_blocks, batch, n_queries, self.n_bands, c.width),
            like.new_zeros(c.query_blocks, batch, n_queries, c.global_width),
            like.new_zeros(len(SLOW) if c.local else 0, batch, self.n_bins),
        )

    def _features(self, spectra: Tensor) -> Tensor:
        """(B, T, 2, F, 2) left/right -> (B, T, F, 5), all about 0 to 1; quiet sounds are lifted."""
        # In thousandths of full scale: the exporter takes a floor of 1e-10 for a zero and drops it.
        spectra = spectra * (1e3 * self.scale)
        left, right = spectra[:, :, 0], spectra[:, :, 1]
        mid, side = 0.5 * (left + right), 0.5 * (left - right)
        power = torch.stack([mid, side, left, right], 2).square().sum(-1) + 1e-4  # (B, T, 4, F)
        # Three square roots of the power: magnitude to the power 1/4. A general power would be much slower.
        lifted = 1e-3**0.25 * power.sqrt().sqrt().sqrt()
        direction = mid * (lifted[:, :, 0] / power[:, :, 0].sqrt())[..., None]
        levels = torch.stack([lifted[:, :, 0], lifted[:, :, 1], lifted[:, :, 2] - lifted[:, :, 3]], -1)
        return torch.cat([levels, direction], -1)

    @torch.no_grad()  # of the input alone: nothing to learn here
    def _local_features(self, features: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Features (T, B, F, 5) and slow means (2, B, F) -> features of bins (T, B, LOCAL, F), and the next means."""
        frames = len(features)
        level, side, pan = features[..., 0], features[..., 1], features[..., 2]
        time = torch.arange(frames + 1)
        means = []
        for share, before in zip(self.slow, levels, strict=True):
            # Means before each frame, and after the last, as one product: a scan would be a loop over frames.
            age = time[:, None] - 1 - time[:-1]
            weights = torch.where(age >= 0, share * (1 - share) ** age.clamp(min=0), 0.0)
            means.append((weights @ level.flatten(1)).view(frames + 1, *level.shape[1:])
                         + ((1 - share) ** time)[:, None, None] * before)  # fmt: skip
        found = [level]
        found += [8 * (level - F.avg_pool1d(level, n, 1, n // 2, count_include_pad=False)) for n in (5, 33)]
        found += [4 * pan, (4 * pan).square(), 4 * side]
        found += [4 * (level - mean[:-1]) for mean in means]
        return torch.stack(found, 2), torch.stack([mean[-1] for mean in means])

    def forward(self, spectra: Tensor, query: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return the masks of some frames and the state after them.

        Parameters
        ----------
        spectra
            (B, T, 2, F, 2): left and right, real and imaginary, unscaled, of the low-delay analysis.
        query
            (B, Q, D) for all frames, or (B, T, Q, D) frame by frame (while it is being changed).
        state
            Of the frame before; None at the start.

        Returns
        -------
        masks
            (B, T, Q, M, F, 2), complex as real and imaginary part; M is 2 (mid, side) or 1 (both alike).
        state
            For the next frames.
        """
        batch, frames = spectra.shape[:2]
        if query.dim() == 3:
            query = query[:, None]
        n_queries = query.shape[2]
        if state is None:
            state = self.initial_state(batch, n_queries)
        features = self._features(spectra).transpose(0, 1)  # time first from here on
        encoded, start = [], 0
        for (count, bins), weight in zip(BAND_GROUPS, self.encode, strict=True):
            part = features[:, :, start : start + count * bins]
            part = part.reshape(frames * batch, count, bins * N_FEATURES).transpose(0, 1)
            encoded.append(torch.bmm(part, weight))
            start += count * bins
        x = torch.cat(encoded, 0).transpose(0, 1).reshape(frames, batch, self.n_bands, -1) + self.encode_bias

        trunk_bands, trunk_global = [], []
        for i, block in enumerate(self.trunk):
            x, bands, whole = block(x, state.trunk_bands[i], state.trunk_global[i])
            trunk_bands.append(bands)
            trunk_global.append(whole)

        # From here each query is a row: (T, B * Q, K, N).
        rows = batch * n_queries
        told = F.relu(self.query_in(query))  # (B, 1 or T, Q, 64)
        told = told.transpose(0, 1).reshape(-1, rows, told.shape[-1])
        x = x[:, :, None].expand(-1, -1, n_queries, -1, -1).reshape(frames, rows, self.n_bands, -1)
        x = x + self.band_offset(told).reshape(-1, rows, self.n_bands, self.config.width)
        query_bands, query_global = [], []
        for i, block in enumerate(self.query_blocks):
            x = self._steer(x, self.film[i](told))
            bands = state.query_bands[i].reshape(rows, self.n_bands, -1)
            x, bands, whole = block(x, bands, state.query_global[i].reshape(rows, -1))
            query_bands.append(bands.reshape(batch, n_queries, self.n_bands, -1))
            query_global.append(whole.reshape(batch, n_queries, -1))
        x = F.relu(self.decode_in(self._steer(x, self.film[-1](told))))
        levels, bins_alone, weigh = state.levels, None, None
        if self.local is not None:
            bins_alone, levels = self._local_features(features, levels)
            bins_alone = bins_alone.flatten(0, 1)  # (T * B, LOCAL, F)
            weigh = self.local(x).reshape(frames * batch, n_queries, self.n_bands, 2, LOCAL)

        by_band = x.reshape(frames * rows, self.n_bands, -1).transpose(0, 1)
        masks, start, first_bin = [], 0, 0
        for (count, bins), weight, bias in zip(BAND_GROUPS, self.decode, self.decode_bias, strict=True):
            part = torch.bmm(by_band[start : start + count], weight) + bias  # (count, T * rows, bins * M * 2)
            part = part.reshape(count, -1, bins, self.n_masks * 2).transpose(0, 1)
            if bins_alone is not None and weigh is not None:
                seen = bins_alone[..., first_bin : first_bin + count * bins].unflatten(-1, (count, bins))
                wanted = weigh[:, :, start : start + count].permute(0, 2, 1, 3, 4).flatten(2, 3)
                alone = torch.matmul(wanted, seen.transpose(1, 2))  # (T * B, count, Q * 2, bins)
                alone = alone.unflatten(2, (n_queries, 2)).permute(0, 2, 1, 4, 3)
                part = part + alone.reshape(part.shape)
            masks.append(part.reshape(-1, count * bins, self.n_masks * 2))
            start, first_bin = start + count, first_bin + count * bins
        mask = torch.cat(masks, 1).reshape(frames, batch, n_queries, self.n_bins, self.n_masks, 2)
        mask = mask.permute(1, 0, 2, 4, 3, 5)  # (B, T, Q, M, F, 2)
        real = 1.2 * torch.sigmoid(mask[..., 0]) - 0.1
        imaginary = 0.5 * torch.tanh(mask[..., 1])
        bands, wholes = torch.stack(trunk_bands), torch.stack(trunk_global)
        after = State(bands, wholes, torch.stack(query_bands), torch.stack(query_global), levels)
        return torch.stack([real, imaginary], -1), after

    @staticmethod
    def _steer(x: Tensor, film: Tensor) -> Tensor:
        scale, shift = film[:, :, None].chunk(2, -1)
        return x * (1 + scale) + shift

    def separate(self, audio: Tensor, query: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Separate whole signals, as training does.

        Parameters
        ----------
        audio
            (B, 2, samples); samples must be whole hops. The first ``n_fft - hop`` samples are the past of the first
            frame and get no output of their own.
        query
            (B, Q, D).

        Returns
        -------
        audio
            (B, Q, 2, frames * hop): the samples before the newest hop of each frame, that is the input from
            ``n_fft - 2 * hop`` on. The first hop lacks its older half and must be left out of a loss.
        state
            After the last frame.
        """
        c = self.config
        analysis, synthesis = (torch.from_numpy(w).to(audio) for w in windows(c.n_fft, c.hop))
        spectra = torch.fft.rfft(audio.unfold(-1, c.n_fft, c.hop) * analysis)  # (B, 2, T, F)
        masks, after = self(torch.view_as_real(spectra.transpose(1, 2)), query, state)
        masked = apply_masks(spectra.transpose(1, 2), torch.view_as_complex(masks))  # (B, T, Q, 2, F)
        frames = torch.fft.irfft(masked, c.n_fft)[..., -2 * c.hop :] * synthesis[-2 * c.hop :]
        older = F.pad(frames[:, :-1, ..., c.hop :], (0, 0) * 3 + (1, 0))
        out = (frames[..., : c.hop] + older).permute(0, 2, 3, 1, 4)  # (B, Q, 2, T, hop)
        return out.reshape(*out.shape[:3], -1), after


def apply_masks(spectra: Tensor, masks: Tensor) -> Tensor:
    """Return masked spectra (B, T, Q, 2, F) from spectra (B, T, 2, F) and masks (B, T, Q, M, F), all complex."""
    spectra = spectra[:, :, None]
    if masks.shape[3] == 1:
        return spectra * masks
    mid = 0.5 * (spectra[:, :, :, 0] + spectra[:, :, :, 1]) * masks[:, :, :, 0]
    side = 0.5 * (spectra[:, :, :, 0] - spectra[:, :, :, 1]) * masks[:, :, :, 1]
    return torch.stack([mid + side, mid - side], 3)
