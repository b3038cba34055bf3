"""Room, amplifier and limiter for a batch of sounds, on the device."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 11025  # samples whose loudness is known: a quarter of a second
SHARE_DULL, SHARE_ROOM, SHARE_OVERDRIVEN = 0.15, 0.25, 0.2
TAIL = 32768  # samples that a room may go on for
PEAK_DB = 6.0  # standard deviation of an equaliser's curve
SHARE_PRESSED = 0.3  # of parts whose loud and soft moments are brought together, or apart


def through_effects(
    audio: Tensor, generator: torch.Generator, *, room: Tensor | None = None, overdriven: Tensor | None = None
) -> Tensor:
    """Return parts (S, channels, n), each through an equaliser, some pressed, dull, in a room, overdriven; same levels.

    Parameters
    ----------
    room, overdriven
        (S,), bool: which parts may be; the default is all, and none.
    """
    n, device = audio.shape[-1], audio.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(len(audio), *shape, generator=generator, device=device) * (high - low) + low

    before = audio.square().mean((1, 2), keepdim=True).sqrt()
    # One instrument dies away where another goes on: what compressors, and the envelopes of SoundFonts, make of it.
    power = F.avg_pool1d(audio.square().mean(1, keepdim=True), 1764, 441, 882)  # 40 ms, every 10
    over = torch.log(power / (before.square() + 1e-9) + 1e-4)
    pressed = (uniform(-0.35, 0.25, 1, 1) * (uniform(0, 1, 1, 1) < SHARE_PRESSED) * over / 2).clamp(-1.4, 1.4)  # 12 dB
    audio = audio * F.interpolate(pressed, n, mode='linear').exp()
    size = 2 * math.ceil((n + TAIL) / 8192) * 4096
    hertz = torch.linspace(0, 22050, size // 2 + 1, device=device)
    octaves = torch.log2(hertz / 160 + 1)  # linear below some 200 Hz
    knots = PEAK_DB * torch.randn(len(audio), 8, generator=generator, device=device)
    at = octaves / octaves[-1] * (knots.shape[1] - 1.001)
    curve = torch.lerp(knots[:, at.long()], knots[:, at.long() + 1], at.frac())
    dull = uniform(0, 1, 1) < SHARE_DULL
    corner = 2000 * 2 ** uniform(0, 2.5, 1)
    fall = -12 * torch.log2(hertz / corner + 1e-9).clamp(min=0)  # 12 dB an octave
    filters = 10 ** ((curve + torch.where(dull, fall, 0.0)) / 20) + 0j
    there = uniform(0, 1) < SHARE_ROOM
    there = there if room is None else there & room
    if there.any():
        rows = there.nonzero()[:, 0]
        decay = uniform(0.05, 0.3, 1)[rows] * 44100  # samples to a fall by 8.7 dB
        wet = uniform(0.05, 0.35, 1)[rows]
        tail = torch.randn(len(rows), TAIL, generator=generator, device=device)
        tail = tail * torch.exp(-torch.arange(TAIL, device=device) / decay)
        tail = tail / tail.norm(dim=1, keepdim=True)
        filters[rows] = filters[rows] * (1 - wet + wet * torch.fft.rfft(tail, size))
    audio = torch.fft.irfft(torch.fft.rfft(audio, size) * filters[:, None], size)[..., :n]
    if overdriven is not None:
        hard = overdriven & (uniform(0, 1) < SHARE_OVERDRIVEN)
        loud = audio.square().mean((1, 2), keepdim=True).sqrt() + 1e-6
        driven = torch.tanh(audio / loud * uniform(0.5, 4, 1, 1))
        audio = torch.where(hard[:, None, None], driven * loud, audio)
    return audio * before / (audio.square().mean((1, 2), keepdim=True).sqrt() + 1e-6)
