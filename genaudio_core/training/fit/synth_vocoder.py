"""Training of the vocoder, on any prepared sounds: labels do not matter here.

The loss is the distance of spectra in three resolutions (after Yamamoto et al., 2020), and of the predicted
magnitudes themselves, which learn much faster than the phases do. No adversary: it would cost twice the time and
pays only after more steps than a laptop takes in a night.
"""

import argparse
import random
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genaudio_core.command_line import whole
from genaudio_core.errors import GenaudioError
from genaudio_core.models.vocoder import VocoderConfig, VocoderNetwork
from genaudio_core.sound.mel import HOP, N_FFT, level_gain, log_mel, mel_magnitude
from genaudio_core.synthesis.mel_patches import PatchCodec
from genaudio_core.training.loops.arguments import add_average_arguments
from genaudio_core.training.loops.checkpoints import begin_with, rebuild
from genaudio_core.training.loops.synthesis import fit
from genaudio_core.training.sounds.packed_clips import Clip, SoundSet

HELP = 'the bundled vocoder: mel spectrograms into sound'
EXAMPLE = 'genaudio-train fit vocoder --sounds data/sounds --out runs/synth-vocoder --minutes 30'
RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))  # window and hop, samples
SMALL = 1e-4  # magnitude (full scale one) under which logarithms are not compared


class Crops:
    """Random excerpts of all sounds, brought to one level."""

    def __init__(self, sounds: SoundSet, split: str, frames: int, codec: PatchCodec | None = None):
        self.sounds, self.frames, self.codec = sounds, frames, codec
        n = frames * HOP
        self.clips = [c for c in sounds.select(split=split) if c.n_samples >= n and c.sample_rate == 44100]
        if not self.clips:
            raise GenaudioError(f"{sounds.folder} has no sounds of the split '{split}' that are long enough.")
        # A clip is drawn by its label first: noise has a third of all clips.
        labels: dict[str, list[Clip]] = {}
        for clip in self.clips:
            labels.setdefault(clip.label, []).append(clip)
        self.labels = [labels[name] for name in sorted(labels)]

    def draw(self, size: int, rng: random.Random) -> tuple[Tensor, Tensor]:
        """Return audio (size, frames * HOP) and log mels (size, frames + 1, bands)."""
        audio, mels = [], []
        n = self.frames * HOP
        while len(audio) < size:
            clip = rng.choice(rng.choice(self.labels))
            part = self.sounds.read(clip, rng.randrange(clip.n_samples - n + 1), n).mean(axis=0)
            magnitude = mel_magnitude(part)
            if magnitude.max() < 1e-3:
                continue
            # Soft moments of a sound are below its loudest: the level is not always that of `level_gain`.
            gain = level_gain(magnitude) * 10 ** (rng.choice((0.0, 0.0, rng.uniform(-30, 0))) / 20)
            mel = log_mel(magnitude * gain)
            if self.codec is not None and rng.random() < 0.5:  # what the denoiser's pictures are like at best
                whole = len(mel) // self.codec.frames * self.codec.frames
                mel[:whole] = self.codec.decode(self.codec.encode(mel[:whole]))
            audio.append(part * gain)
            mels.append(mel)
        return torch.from_numpy(np.stack(audio).astype(np.float32)), torch.from_numpy(np.stack(mels))


def spectrum(audio: Tensor, n_fft: int, hop: int) -> Tensor:
    """Magnitudes (B, bins, frames), a sine at full scale being one."""
    window = torch.hann_window(n_fft, device=audio.device)
    found = torch.stft(audio, n_fft, hop, window=window, return_complex=True, pad_mode='constant')
    return torch.sqrt(found.real**2 + found.imag**2 + 1e-10) * (4 / n_fft)


def sound_of(real: Tensor, imag: Tensor, n_samples: int) -> Tensor:
    """Parts (B, frames, bins) -> audio (B, n_samples)."""
    whole = torch.zeros(*real.shape[:2], N_FFT // 2 + 1, dtype=torch.complex64, device=real.device)
    whole = torch.cat([torch.complex(real, imag), whole[..., real.shape[-1] :]], dim=-1)
    window = torch.hann_window(N_FFT, device=real.device)
    return torch.istft(whole.transpose(1, 2), N_FFT, HOP, window=window, length=n_samples)


def spectral_distance(audio: Tensor, target: Tensor) -> Tensor:
    """Mean () over resolutions of spectral convergence and log-magnitude distance; both are (batch, samples)."""
    total = torch.zeros((), device=audio.device)
    for n_fft, hop in RESOLUTIONS:
        made, wanted = spectrum(audio, n_fft, hop), spectrum(target, n_fft, hop)
        norm = torch.linalg.vector_norm(wanted, dim=(1, 2)).clamp_min(1e-6)
        convergence = (torch.linalg.vector_norm(wanted - made, dim=(1, 2)) / norm).mean()
        logs = (torch.log(made + SMALL) - torch.log(wanted + SMALL)).abs().mean()
        total = total + convergence + logs
    return total / len(RESOLUTIONS)


def vocoder_loss(model: VocoderNetwork, audio: Tensor, mel: Tensor) -> Tensor:
    """Loss () of the sound made of mel (batch, bands, frames), beside audio (batch, samples)."""
    log_magnitude, phase = model.magnitude_and_phase(mel)
    wanted = spectrum(audio, N_FFT, HOP).transpose(1, 2)[..., : log_magnitude.shape[-1]]
    magnitude = torch.exp(log_magnitude.clamp_max(3.0))
    direct = (torch.log(magnitude + SMALL) - torch.log(wanted + SMALL)).abs().mean()
    scaled = magnitude * (N_FFT / 4)
    made = sound_of(scaled * torch.cos(phase), scaled * torch.sin(phase), audio.shape[1])
    return direct + spectral_distance(made, audio)


def load_vocoder(path: Path) -> tuple[VocoderNetwork, dict]:
    """Return the vocoder of a checkpoint and what is known about it.

    Raises
    ------
    GenaudioError
        If it is not a checkpoint of a vocoder.
    """
    return rebuild(path, lambda config: VocoderNetwork(VocoderConfig(**config)), 'a vocoder')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--sounds', type=Path, required=True, help='folder made by prepare-sounds')
    parser.add_argument('--codec', type=Path, help='codec.json of a denoiser run: also learn from what it leaves')
    parser.add_argument('--frames', type=whole('--frames', 1, 100_000), default=64, help='of an excerpt (11.6 ms each)')
    parser.add_argument('--width', type=whole('--width', 1, 8192), default=144)
    parser.add_argument('--depth', type=whole('--depth', 1, 256), default=5)
    add_average_arguments(parser, rate=2e-3, batch=8, average=0.99, log_every=200, start_from=True)


def run(args: argparse.Namespace) -> dict:
    torch.manual_seed(args.seed)
    codec = PatchCodec.load(args.codec) if args.codec else None
    sounds = SoundSet(args.sounds)
    crops = Crops(sounds, 'train', args.frames, codec)
    config = VocoderConfig(width=args.width, hidden=3 * args.width, depth=args.depth)
    model = VocoderNetwork(config)
    if args.start_from:
        begin_with(model, args.start_from)
    held = Crops(sounds, 'valid', args.frames).draw(24, random.Random(7)) if sounds.select(split='valid') else None

    def loss(step: int) -> Tensor:
        audio, mel = crops.draw(args.batch, random.Random(args.seed * 1_000_003 + step))
        return vocoder_loss(model, audio.to(args.device), mel.to(args.device))

    def validate(averaged: torch.nn.Module) -> dict[str, float]:
        if held is None:
            return {'valid': float('nan')}
        audio, mel = (part.to(args.device) for part in held)
        real, imag = averaged(mel)
        return {'valid': spectral_distance(sound_of(real, imag, audio.shape[1]), audio).item()}

    settings = {'width': args.width, 'depth': args.depth, 'batch': args.batch, 'frames': args.frames,
                'seed': args.seed, 'rate': args.rate, 'codec': codec is not None}  # fmt: skip
    return fit(model, config.to_dict(), settings, args, loss=loss, validate=validate, watch='valid')
