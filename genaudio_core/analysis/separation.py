"""How good a separator is on sounds it has not heard: SDR, SIR, SAR and SI-SDR improvement, per query.

* Mixtures of two unrelated sounds of the test split: unseen pieces, through a SoundFont that no training clip uses.
* Every mixture is asked for by words and by an audio example (another test clip of the same label).
* Beside the model stand the mixture itself and the ideal binary and ratio masks at the model's own resolution.
* Real songs: each stem of ``dev-real`` against the sum of all stems of its song, by words.
"""

import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.query.encoder import QueryEncoder
from genaudio_core.query.vector import Query
from genaudio_core.separation.offline import Separator
from genaudio_core.sound.audio_files import read_audio
from genaudio_core.sound.separation_metrics import bss_eval, si_sdr, summary
from genaudio_core.sound.spectrogram import istft, stft
from genaudio_core.training.mixtures.solo_mixtures import MixtureConfig, MixtureMaker
from genaudio_core.training.sounds.packed_clips import SoundSet

REAL_QUERIES = {
    'drums': 'drums', 'bass': 'bass', 'vocals_lead': 'lead vocals', 'vocals_backing': 'backing vocals',
    'synth_keys': 'synth', 'fx': 'noise',
}  # fmt: skip
Progress = Callable[[int, int], None]


def ideal(sources: np.ndarray, mix: np.ndarray, n_fft: int, hop_length: int) -> dict[str, np.ndarray]:
    """Return what the ideal binary and ratio masks make of `mix` (n,): name -> (n_sources, n)."""
    spectra, mixed = stft(sources, n_fft, hop_length), stft(mix, n_fft, hop_length)
    magnitude = np.abs(spectra)
    ratio = magnitude / np.maximum(magnitude.sum(axis=0), 1e-9)
    binary = (magnitude > 0.5 * np.abs(mixed)).astype(np.float32)
    return {
        name: istft(mask * mixed, n_fft, hop_length, mix.shape[-1])
        for name, mask in (('ideal binary mask', binary), ('ideal ratio mask', ratio))
    }


class _Table:
    """Gathers ratios by way of separating and by label."""

    def __init__(self):
        self._rows: dict[str, list[dict]] = defaultdict(list)

    def add(
        self, way: str, label: str, sources: np.ndarray, target: int, estimate: np.ndarray, mix: np.ndarray
    ) -> None:
        ratios = bss_eval(sources, estimate, target)
        gain = si_sdr(sources[target], estimate) - si_sdr(sources[target], mix)
        row = {'label': label, 'sdr': ratios.sdr, 'sir': ratios.sir, 'sar': ratios.sar, 'si_sdri': gain}
        self._rows[way].append(row)

    def result(self) -> dict:
        ways = {}
        for way, rows in self._rows.items():
            ways[way] = {key: summary([row[key] for row in rows]) for key in ('sdr', 'sir', 'sar', 'si_sdri')}
            labels = defaultdict(list)
            for row in rows:
                labels[row['label']].append(row['si_sdri'])
            if way not in ('mixture', 'ideal binary mask', 'ideal ratio mask'):
                ways[way]['by_label'] = {k: summary(v) for k, v in sorted(labels.items())}
        return ways


def only_instruments(mixer: MixtureMaker) -> None:
    """Leave `mixer` the labels that have rendered solos, and of those the solos alone."""
    kept = {label: clips for label, clips in mixer.by_label.items() if any(c.kind == 'solo' for c in clips)}
    mixer.by_label = {label: [c for c in clips if c.kind == 'solo'] for label, clips in kept.items()}
    mixer.weights = [w for label, w in zip(mixer.labels, mixer.weights, strict=True) if label in kept]
    mixer.labels = sorted(kept)


def evaluate_mixtures(
    separator: Separator,
    encoder: QueryEncoder,
    sounds: SoundSet,
    *,
    split: str = 'test',
    n: int = 100,
    seconds: float = 6.0,
    noise: bool = False,
    examples: bool = True,
    music_only: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict:
    """Return way -> metric -> {mean, sem, median, n} over `n` mixtures of two sounds."""
    settings = MixtureConfig(seconds=seconds, noise=1.0 if noise else 0.0, noise_db=(-6.0, 3.0), related=0.0)
    mixer = MixtureMaker(sounds, split, settings)
    if music_only:
        only_instruments(mixer)
    if len(mixer.labels) < 4:
        raise GenaudioError(f"Too few labels in the split '{split}' of {sounds.folder}.")
    rng, table = random.Random(seed), _Table()
    for done in range(n):
        if progress:
            progress(done, n)
        mixture = mixer.draw(rng, 2)
        mix, sources = mixture.mix, mixture.sources
        references = sources if not mixture.noise.any() else np.concatenate([sources, mixture.noise[None]])
        ways: dict[str, np.ndarray] = {'mixture': np.stack([mix, mix])}
        ways |= ideal(references, mix, separator.n_fft, separator.hop_length)
        # One query at a time, as the paper asks: two at once would tell the model what else is there.
        by_text = [Query(label, ((1.0, encoder.text(label)),)) for label in mixture.labels]
        ways['text'] = np.stack([separator.separate(mix, 44100, [query])[0, 0] for query in by_text])
        ways['text, both asked'] = separator.separate(mix, 44100, by_text)[:, 0]
        if examples:
            vectors = []
            for label in mixture.labels:
                clip = None
                while clip is None:
                    clip = mixer.crop(mixer.choose(label, rng), rng)
                vectors.append(encoder.example(clip[None], 44100))
            queries = [Query(label, ((1.0, v),)) for label, v in zip(mixture.labels, vectors, strict=True)]
            ways['example'] = np.stack([separator.separate(mix, 44100, [query])[0, 0] for query in queries])
        for way, estimates in ways.items():
            for target, label in enumerate(mixture.labels):
                table.add(way, label, references, target, estimates[target], mix)
    return table.result()


def song_folders(folder: Path) -> list[Path]:
    """Return the folders in `folder`, each a song as stems; or itself, if it is one.

    Raises
    ------
    GenaudioError
        If there are none.
    """
    songs = [place for place in sorted(folder.iterdir()) if place.is_dir()] if folder.is_dir() else []
    songs = [place for place in songs if any(place.glob('*.ogg'))]
    if not songs and folder.is_dir() and any(folder.glob('*.ogg')):
        songs = [folder]
    if not songs:
        raise GenaudioError(f'{folder} contains no folders of stems (.ogg).')
    return songs


def evaluate_real(
    separator: Separator,
    encoder: QueryEncoder,
    folder: Path,
    *,
    seconds: float = 30.0,
    progress: Progress | None = None,
) -> dict:
    """Return song -> stem -> ratios, for folders of stems whose names are keys of `REAL_QUERIES`."""
    songs = song_folders(folder)
    result: dict = {}
    for done, song in enumerate(songs):
        if progress:
            progress(done, len(songs))
        names = [p.stem for p in sorted(song.glob('*.ogg')) if p.stem in REAL_QUERIES]
        stems = [read_audio(song / f'{name}.ogg', 44100) for name in names]
        start = 10 * 44100
        audio = np.stack([s[:2, start : start + int(seconds * 44100)] for s in stems])
        mix = audio.sum(axis=0)
        table, gains = {}, {}
        queries = [Query(name, ((1.0, encoder.text(REAL_QUERIES[name])),)) for name in names]
        together = separator.separate(mix, 44100, queries)
        for i, name in enumerate(names):
            estimate = separator.separate(mix, 44100, [queries[i]])[0]
            before = si_sdr(audio[i], mix)
            gains[name] = si_sdr(audio[i], estimate) - before
            table[name] = {'query': REAL_QUERIES[name], 'mixture_si_sdr': before, 'si_sdri': gains[name],
                           'si_sdri_all_asked': si_sdr(audio[i], together[i]) - before}  # fmt: skip
        result[song.name] = table
    return result


def as_table(ways: dict) -> list[str]:
    """Return the lines of a Markdown table like the paper's, and the improvement per query."""
    lines = ['| | SDR mean ± SEM | median | SIR | SAR | SI-SDRi mean ± SEM | median |']
    lines.append('| --- | --- | --- | --- | --- | --- | --- |')
    for way, rows in ways.items():
        s, i = rows['sdr'], rows['si_sdri']
        lines.append(
            f'| {way} | {s["mean"]:.2f} ± {s["sem"]:.2f} | {s["median"]:.2f} | {rows["sir"]["mean"]:.2f} | '
            f'{rows["sar"]["mean"]:.2f} | {i["mean"]:.2f} ± {i["sem"]:.2f} | {i["median"]:.2f} |'
        )
    return lines
