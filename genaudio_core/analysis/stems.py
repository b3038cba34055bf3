"""How well the live separator does: SI-SDR improvement on unseen bands and on real stems.

The exported file is measured, through the code that plays (`streaming.separate_offline`).

* Bands: windows of the test split (unseen pieces, unseen SoundFont) with drums, bass and at least two more families;
  the two loudest of these stand beside drums and bass, the mixture is the sum of the four.
* Real: the songs of ``dev-real``, whole mixtures. They are never trained on.
"""

from pathlib import Path
from typing import Any

import numpy as np

from genaudio_core.analysis.separation import song_folders
from genaudio_core.separation.streaming import MaskNetwork, separate_offline
from genaudio_core.sound.loudness import rms
from genaudio_core.sound.separation_metrics import si_sdr
from genaudio_core.training.mixtures.band_mixtures import FAMILY_WORDS, family, main_parts
from genaudio_core.training.sounds.packed_clips import SoundSet

SILENT = 1e-3  # root mean square of the target under which nothing is measured
REAL_WORDS = {'drums': 'drums', 'bass': 'bass', 'synth_keys': 'synth lead', 'vocals_lead': 'vocals'}
EXCERPT = 10.0  # seconds of the real songs at a time


def score(network: MaskNetwork, stems: dict[str, np.ndarray], words: dict[str, str]) -> dict[str, dict[str, float]]:
    """Return name -> SI-SDR of the mixture, of the estimate, and the improvement, for each stem that has a word."""
    mixture = np.sum(list(stems.values()), axis=0)
    gain = 0.1 / max(rms(mixture), 1e-6)
    asked = [n for n in stems if n in words and rms(stems[n]) * gain > SILENT]
    if not asked:
        return {}
    found = separate_offline(network, mixture * gain, network.words(*(words[name] for name in asked)))
    result = {}
    for name, estimate in zip(asked, found, strict=True):
        before, after = si_sdr(stems[name], mixture), si_sdr(stems[name], estimate)
        result[name] = {'mixture': before, 'estimate': after, 'improvement': after - before}
    return result


def bands(
    network: MaskNetwork, sounds: SoundSet, limit: int, seed: int = 0, *, by_instrument: bool = False
) -> list[dict[str, dict[str, float]]]:
    """Return the scores of up to `limit` four-part windows of the test split.

    Parts are asked for by their family ('guitar'); with `by_instrument` those of one instrument by its own name
    ('distorted guitar').
    """
    words = {name: found[0] for name, found in FAMILY_WORDS.items()}
    groups = list(sounds.groups(split='test').values())
    scores = []
    for i in np.random.default_rng(seed).permutation(len(groups)):
        stems: dict[str, np.ndarray] = {}
        labels: dict[str, set[str]] = {}
        for clip in groups[i]:
            audio = sounds.read(clip)
            audio = np.repeat(audio, 2, 0) if audio.shape[0] == 1 else audio
            name = family(clip.label)
            stems[name] = stems[name] + audio if name in stems else audio
            labels.setdefault(name, set()).add(clip.label)
        parts = main_parts({name: rms(audio) for name, audio in stems.items() if name in words})
        if len(parts) < 4:
            continue
        own = {n: next(iter(labels[n])) for n in parts if by_instrument and len(labels[n]) == 1}
        scores.append(score(network, {n: stems[n] for n in parts}, {**words, **own}))
        if len(scores) == limit:
            break
    return scores


def real(network: MaskNetwork, folder: Path) -> list[dict[str, dict[str, float]]]:
    """Return the scores of excerpts of the songs in `folder` (one folder per song, one file per stem)."""
    from genaudio_core.sound.audio_files import read_audio

    rate = network.card.sample_rate or 44100
    scores = []
    for song in song_folders(folder):
        stems = {path.stem: read_audio(path, rate) for path in sorted(song.glob('*.ogg'))}
        stems = {n: np.repeat(a, 2, 0) if a.shape[0] == 1 else a for n, a in stems.items()}
        n_samples, step = min(a.shape[1] for a in stems.values()), round(EXCERPT * rate)
        for at in range(0, n_samples - step + 1, step):
            scores.append(score(network, {n: a[:, at : at + step] for n, a in stems.items()}, REAL_WORDS))
    return scores


def summary(scores: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return name -> mean improvement, its standard error, median and count; 'mean' over all."""
    by_name: dict[str, list[float]] = {}
    for one in scores:
        for name, values in one.items():
            by_name.setdefault(name, []).append(values['improvement'])
    everything = [v for values in by_name.values() for v in values]
    result: dict[str, Any] = {}
    for name, values in [*sorted(by_name.items()), ('mean', everything)]:
        if values:
            result[name] = {
                'si_sdr_improvement': round(float(np.mean(values)), 2),
                'standard_error': round(float(np.std(values) / max(1, len(values) - 1) ** 0.5), 2),
                'median': round(float(np.median(values)), 2), 'count': len(values),
            }  # fmt: skip
    return result
