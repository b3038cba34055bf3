"""The ways of asking of ``training/fit/separation_baselines.py`` on the same unseen mixtures, in one table.

* Two instruments of the test split (unseen pieces, unseen SoundFont), 4.5 s, without noise and with unlabelled noise
  as loud as they are.
* A number is the mean over mixtures of what both sources of a mixture give; its standard error counts mixtures, not
  sources: the two of one mixture are no two measurements.
* Ways are compared pair by pair against plain text queries. That error is much smaller than those of the means: most
  of the spread is that some mixtures are hard for all.
"""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from genaudio_core.analysis.separation import only_instruments
from genaudio_core.sound.separation_metrics import si_sdr, summary
from genaudio_core.sound.spectrogram import bands_to_bins, istft, stft
from genaudio_core.training.fit.separation_baselines import NOISE_DB, WAYS, Rows
from genaudio_core.training.mixtures.solo_mixtures import MixtureConfig, MixtureMaker
from genaudio_core.training.sounds.packed_clips import SoundSet

FRAMES = 192  # 4.5 s, a window of the exported separator
NAMES = {
    'mixture': 'the mixture itself', 'text': 'text (ours)', 'nit': 'text, NIT', 'bert': 'BERTSep', 'label': 'LabelSep',
    'pit': 'PIT (no query, order by oracle)', 'ideal': 'ideal ratio mask',
}  # fmt: skip
Progress = Callable[[int, int], None]


def sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Return the plain ratio of the reference to the error, arrays of one shape, in dB, as museval has it."""
    return float(10 * np.log10(np.sum(reference**2) / max(float(np.sum((reference - estimate) ** 2)), 1e-12)))


def evaluate(
    rows: Rows,
    sounds: SoundSet,
    *,
    n: int = 200,
    noise: bool = False,
    split: str = 'test',
    music_only: bool = True,
    frames: int = FRAMES,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """Return way -> {sdr, si_sdri: {mean, sem, median, n}, ahead: {mean, sem} of text in dB of SI-SDR}."""
    models = {way: rows.averaged(way) for way in rows.trained}
    config = next(iter(models.values())).config
    n_samples = (frames - 1) * config.hop_length
    settings = MixtureConfig(
        seconds=n_samples / config.sample_rate + 1e-6, noise=1.0 if noise else 0.0, noise_db=NOISE_DB, related=0.0
    )
    mixer = MixtureMaker(sounds, split, settings)
    if music_only:
        only_instruments(mixer)
    spread = bands_to_bins(config.n_fft // 2 + 1, config.bands, config.base)
    rng = random.Random(seed)
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ('mixture', *models, 'ideal')}
    each: dict[str, list[tuple[float, float]]] = {way: [] for way in found}
    for done in range(n):
        if progress:
            progress(done, n)
        mixture = mixer.draw(rng, 2)
        mix, sources = mixture.mix[:n_samples], mixture.sources[:, :n_samples]
        spectrum = stft(mix, config.n_fft, config.hop_length)
        energy = (spread.T @ np.abs(spectrum) ** 2).astype(np.float32)
        one_hot = torch.zeros(1, 2, len(rows.names))
        for i, label in enumerate(mixture.labels):
            one_hot[0, i, rows.names.index(label)] = 1.0
        estimates = {'mixture': np.stack([mix, mix])}
        for way, model in models.items():
            with torch.inference_mode():
                masks = model(torch.from_numpy(energy)[None, None], rows.query(way, one_hot))[0].numpy()
            estimates[way] = istft((spread @ masks) * spectrum, config.n_fft, config.hop_length, n_samples)
        parts = np.abs(stft(np.concatenate([sources, mixture.noise[None, :n_samples]]), config.n_fft,
                            config.hop_length))  # fmt: skip
        ratio = parts[:2] / np.maximum(parts.sum(axis=0), 1e-9)
        estimates['ideal'] = istft(ratio * spectrum, config.n_fft, config.hop_length, n_samples)
        before = [si_sdr(source, mix) for source in sources]
        for way, pair in estimates.items():
            orders = [pair, pair[::-1]] if way in WAYS and WAYS[way][0] == 'none' else [pair]
            scores = [
                [(sdr(s, e), si_sdr(s, e) - b) for s, e, b in zip(sources, order, before, strict=True)]
                for order in orders
            ]
            best = max(scores, key=lambda both: both[0][1] + both[1][1])
            each[way] += best
            found[way].append((float(np.mean([v for v, _ in best])), float(np.mean([v for _, v in best]))))
    result: dict[str, dict[str, Any]] = {}
    for way, values in found.items():
        result[way] = {
            name: summary([v[k] for v in values]) | {'median': float(np.median([v[k] for v in each[way]]))}
            for k, name in enumerate(('sdr', 'si_sdri'))
        }
        if 'text' in found and way in models:
            ahead = [own[1] - text[1] for own, text in zip(values, found['text'], strict=True)]
            result[way]['ahead'] = summary(ahead)
    return result


def as_table(results: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """Return the lines of a Markdown table; `results` holds a measurement per title ('no noise', 'with noise')."""
    titles = list(results)
    lines = ['| |' + '|'.join(f' {t}: SDR | median | SI-SDRi | median | ahead of text ' for t in titles) + '|']
    lines.append('| --- |' + ' ---: |' * (5 * len(titles)))
    for way in next(iter(results.values())):
        cells = []
        for title in titles:
            row = results[title][way]
            for name in ('sdr', 'si_sdri'):
                cells += [f'{row[name]["mean"]:.2f} ± {row[name]["sem"]:.2f}', f'{row[name]["median"]:.2f}']
            ahead = row.get('ahead')
            cells.append(f'{ahead["mean"]:+.2f} ± {ahead["sem"]:.2f}' if ahead and way != 'text' else '')
        lines.append(f'| {NAMES[way]} | ' + ' | '.join(cells) + ' |')
    return lines


def about(rows: Rows) -> dict[str, Any]:
    """Return what a report says of a run."""
    return {
        'steps': rows.step, 'mixtures': rows.step * rows.plan.batch, 'noise_share': rows.plan.noise,
        'parameters': {w: sum(p.numel() for p in m.parameters()) for w, m in rows.models.items()},
    }  # fmt: skip
