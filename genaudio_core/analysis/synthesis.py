"""How good made sounds are: Frechet distances and query-match scores on held-out labels, with their yardsticks.

* The embedding is our own query-audio encoder (128 numbers), not CLAP and not VGGish: figures compare rows of one
  table, never papers. It is also what the denoiser was conditioned on, so a second, unlearnt one stands beside it:
  means and spreads over time of 24 merged mel bands (48 numbers).
* Reference: the items of the split 'test', other recordings and a SoundFont that no training item uses.
* Match: the cosine between the text vector of a label and what the encoder hears in the sound. It is compared with
  the texts of all labels that a listener could not confuse with it (``lexicon.related``).
* Ways of asking, as in the paper: IQ (there an image, here another recording of the label), ZS (the text vector as if
  it were heard), PD (text through the diffusion prior); and 'words', what the bundled model was also trained on.
* Yardsticks: real sounds (the reference halved at random), the reference through our vocoder, real sounds under
  shuffled labels, and random pictures (the model's own white noise through the vocoder).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write
from genaudio_core.query.audio_encoder import AudioEncoder
from genaudio_core.query.vector import Query
from genaudio_core.sound.mel import HOP, SAMPLE_RATE, log_mel, mel_magnitude, moment_power, unpack_mel
from genaudio_core.synthesis.mel_patches import PatchCodec
from genaudio_core.synthesis.synthesizer import Synthesizer, finish
from genaudio_core.training.sounds.lexicon import related
from genaudio_core.training.sounds.packed_mels import FRAMES, SynthesisData

WAYS = {'IQ': 'words', 'ZS': 'zero-shot', 'PD': 'prior', 'words': 'words'}
Progress = Callable[[str, int, int], None]


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the squared Frechet distance between Gaussians fitted to two sets of vectors (n, d) and (m, d)."""
    mean = first.mean(axis=0) - second.mean(axis=0)
    a, b = (np.cov(x, rowvar=False) for x in (first.astype(np.float64), second.astype(np.float64)))
    # The eigenvalues of a product of covariances are those of a covariance: real and not negative, but for rounding.
    roots = np.sqrt(np.maximum(np.linalg.eigvals(a @ b).real, 0)).sum()
    return float(max(0.0, mean @ mean + np.trace(a) + np.trace(b) - 2 * roots))


def mel_statistics(mel: np.ndarray, bands: int = 24) -> np.ndarray:
    """Return means and spreads over time (n, 2 * bands) of log mels (n, frames, all bands), floored at -68 dB."""
    merged = np.maximum(mel, np.log(1e-4)).reshape(*mel.shape[:2], bands, -1).mean(axis=-1)
    return np.concatenate([merged.mean(axis=1), merged.std(axis=1)], axis=1)


def heard(encoder: AudioEncoder, audio: np.ndarray) -> np.ndarray | None:
    """Return what the encoder hears in the sounding part of `audio` (n_samples,), as the training data was heard."""
    power = moment_power(mel_magnitude(audio))
    if not power.max() > 0:
        return None
    last = int(np.flatnonzero(power > power.max() * 1e-5)[-1])
    try:
        return encoder.encode(audio[None, : (last + 2) * HOP], SAMPLE_RATE)
    except GenaudioError:
        return None


def levelled_mel(audio: np.ndarray, frames: int = FRAMES) -> np.ndarray:
    """Return the log mel (frames, bands) of `audio` at the level of the pack."""
    from genaudio_core.sound.mel import level_gain

    magnitude = mel_magnitude(audio)[:frames]
    return log_mel(magnitude * level_gain(magnitude))


class QueryMatch:
    """Scores of sounds against the texts of all labels."""

    def __init__(self, names: Sequence[str], concepts: np.ndarray):
        """`concepts` (labels, dim) are the texts of the labels `names`."""
        self.names, self.concepts = list(names), concepts
        self._others = np.array([[not related(a, b) for b in names] for a in names])

    def scores(self, vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Return the match of vectors (n, dim) with their labels (n,), against mismatching texts.

        ``labels_above`` is the share of labels whose own text scores, on average over their sounds, above the mean of
        the mismatching texts; ``pairs_above`` is the share of (sound, mismatching text) pairs that the own text wins.
        """
        cosines = vectors @ self.concepts.T
        own = cosines[np.arange(len(labels)), labels]
        others = self._others[labels]
        mismatch = (cosines * others).sum(axis=1) / others.sum(axis=1)
        wins = ((own[:, None] > cosines) & others).sum(axis=1) / others.sum(axis=1)
        rank = (cosines > own[:, None]).sum(axis=1)
        found = np.unique(labels)
        above = [own[labels == label].mean() > mismatch[labels == label].mean() for label in found]
        return {
            'match': float(own.mean()), 'mismatch': float(mismatch.mean()), 'labels_above': float(np.mean(above)),
            'pairs_above': float(wins.mean()), 'top1': float((rank == 0).mean()), 'top5': float((rank < 5).mean()),
            'labels': len(found), 'sounds': len(labels),
        }  # fmt: skip


def _rows_by_label(data: SynthesisData, split: str, at_least: int) -> dict[int, np.ndarray]:
    rows = data.rows(split, start=True)
    found = {int(label): rows[data.label[rows] == label] for label in np.unique(data.label[rows])}
    return {label: numbers for label, numbers in found.items() if len(numbers) >= at_least}


def evaluate(
    synthesizer: Synthesizer,
    encoder: AudioEncoder,
    concepts: np.ndarray,
    data: SynthesisData,
    *,
    ways: Sequence[str] = tuple(WAYS),
    per_label: int = 2,
    guidance: float = 3.0,
    steps: int | None = None,
    split: str = 'test',
    seed: int = 1,
    progress: Progress = lambda stage, done, total: None,
) -> dict[str, dict[str, float]]:
    """Return row -> figures: yardsticks first, then each way of asking. ``concepts`` (labels, dim) are texts.

    Raises
    ------
    GenaudioError
        If the pack has too few held-out sounds.
    """
    rows = _rows_by_label(data, split, 2)
    if len(rows) < 4:
        raise GenaudioError(f"The pack has sounds of only {len(rows)} labels in the split '{split}'.")
    rng = np.random.default_rng(seed)
    match = QueryMatch(data.names, concepts)
    reference = data.rows(split, start=True)
    # As many of each label as are made, so that the distances compare like with like.
    drawn = np.concatenate([rng.choice(numbers, per_label, len(numbers) < per_label) for numbers in rows.values()])
    other = np.concatenate([rng.choice(numbers, per_label, len(numbers) < per_label) for numbers in rows.values()])
    far = {'query-audio': data.query[reference], 'mel': mel_statistics(unpack_mel(data.mel[reference]))}
    labels = data.label[drawn].astype(int)

    def row(vectors: np.ndarray, mels: np.ndarray, whose: np.ndarray) -> dict[str, float]:
        return {
            'fd': frechet_distance(vectors, far['query-audio']),
            'fd_mel': frechet_distance(mel_statistics(mels), far['mel']),
            **match.scores(vectors, whose),
        }

    table = {'real sounds': row(data.query[other], unpack_mel(data.mel[other]), labels)}
    table['real, labels shuffled'] = row(data.query[other], unpack_mel(data.mel[other]), rng.permutation(labels))
    seconds = (FRAMES - 1) * HOP / SAMPLE_RATE
    n_samples = (FRAMES - 1) * HOP

    def listen(name: str, make: Callable[[int], np.ndarray]) -> dict[str, float]:
        vectors, mels, whose = [], [], []
        for i in range(len(drawn)):
            progress(name, i, len(drawn))
            audio = make(i)
            vector = heard(encoder, audio)
            if vector is None:
                vector = np.zeros(data.query.shape[1], np.float32)  # silence matches nothing
            vectors.append(vector)
            mels.append(levelled_mel(audio))
            whose.append(labels[i])
        return row(np.stack(vectors), np.stack(mels), np.array(whose))

    table['real, through our vocoder'] = listen(
        'vocoder', lambda i: finish(synthesizer.vocoder.sound(unpack_mel(data.mel[drawn[i]]), n_samples), n_samples)
    )
    codec = PatchCodec(**synthesizer.card.details['codec'])

    def noise(i: int) -> np.ndarray:
        picture = np.random.default_rng((seed, i)).standard_normal((FRAMES // codec.frames, codec.size))
        return finish(synthesizer.vocoder.sound(codec.decode(picture.astype(np.float32)), n_samples), n_samples)

    table['random pictures'] = listen('random pictures', noise)
    for name in ways:
        vectors = data.query[drawn] if name == 'IQ' else concepts[labels]

        def make(i: int, name: str = name, vectors: np.ndarray = vectors) -> np.ndarray:
            query = Query(data.names[labels[i]], ((1.0, vectors[i]),), n_words=0 if name == 'IQ' else None)
            return synthesizer.make(query, seconds, 1, seed + i, guidance, steps, way=WAYS[name])[0]

        table[name] = listen(name, make)
    return table


def study_sampler(
    synthesizer: Synthesizer,
    concepts: np.ndarray,
    data: SynthesisData,
    *,
    sounds: int = 96,
    counts: Sequence[int] = (5, 10, 20, 40),
    guidance: float = 3.0,
    seed: int = 1,
    progress: Progress = lambda stage, done, total: None,
) -> list[dict]:
    """Compare solvers and numbers of steps; `concepts` (labels, dim) are the texts.

    For each: the Frechet distance of its pictures to the held-out ones (mel statistics: no vocoder is involved), and
    their distance in dB from 100 steps of DDIM on the same noise.
    """
    labels = np.array(sorted(_rows_by_label(data, 'test', 2)))
    chosen = np.resize(np.random.default_rng(seed).permutation(labels), sounds)
    reference = mel_statistics(unpack_mel(data.mel[data.rows('test', start=True)]))

    def pictures(solver: str, steps: int) -> np.ndarray:
        made = []
        for i, label in enumerate(chosen):
            progress(f'{solver} {steps}', i, sounds)
            query = Query('', ((1.0, concepts[label]),))
            made.append(synthesizer.mels(query, FRAMES, 1, seed + i, guidance, steps, solver=solver)[0])
        return np.maximum(np.stack(made), np.log(1e-4))

    exact = pictures('ddim', 100)
    table = [{'solver': 'ddim', 'steps': 100, 'fd_mel': frechet_distance(mel_statistics(exact), reference),
              'error_db': 0.0}]  # fmt: skip
    for solver in ('ddim', 'dpm'):
        for steps in counts:
            found = pictures(solver, steps)
            error = float(np.sqrt(np.mean((found - exact) ** 2))) * 20 / np.log(10)
            table.append({'solver': solver, 'steps': steps,
                          'fd_mel': frechet_distance(mel_statistics(found), reference), 'error_db': error})  # fmt: skip
    return table


def study_vocoder(
    vocoders: dict[str, Callable[[np.ndarray, int], np.ndarray]], clips: Sequence[np.ndarray]
) -> dict[str, dict[str, float]]:
    """Return name -> mean log-mel and log-spectral distance in dB between clips (n_samples,) and what comes back.

    Distances are of the parts within 60 dB of the loudest; spectra are of 2048 and of 512 points (attacks).
    """
    from genaudio_core.sound.spectrogram import stft

    table = {}
    for name, sound in vocoders.items():
        mel_errors, long_errors, short_errors = [], [], []
        for clip in clips:
            gain = np.exp(levelled_mel(clip).max() - log_mel(mel_magnitude(clip)).max())
            wanted = clip * gain
            mel = log_mel(mel_magnitude(wanted))
            back = sound(mel, len(wanted))
            mel_errors.append(_distance_db(np.exp(mel), mel_magnitude(back)))
            for errors, n_fft in ((long_errors, 2048), (short_errors, 512)):
                pair = [np.abs(stft(x, n_fft, n_fft // 4)) / (n_fft / 4) for x in (wanted, back)]
                errors.append(_distance_db(*pair))
        table[name] = {'mel_db': float(np.mean(mel_errors)), 'stft_2048_db': float(np.mean(long_errors)),
                       'stft_512_db': float(np.mean(short_errors))}  # fmt: skip
    return table


def _distance_db(wanted: np.ndarray, found: np.ndarray) -> float:
    floor = wanted.max() * 1e-3
    part = wanted > floor
    return float(np.abs(20 * np.log10(np.maximum(found[part], floor) / wanted[part])).mean())


def as_table(table: dict[str, dict[str, float]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [
        '| | FD (query-audio) | FD (mel statistics) | match | mismatch | labels above | pairs above | top 1 | top 5 |',
        '| --- | --- | --- | --- | --- | --- | --- | --- | --- |',
    ]
    for name, f in table.items():
        lines.append(
            f'| {name} | {f["fd"]:.3f} | {f["fd_mel"]:.2f} | {f["match"]:.3f} | {f["mismatch"]:.3f} | '
            f'{f["labels_above"]:.0%} | {f["pairs_above"]:.0%} | {f["top1"]:.0%} | {f["top5"]:.0%} |'
        )
    return lines


def draw_grid(
    synthesizer: Synthesizer,
    concepts: np.ndarray,
    data: SynthesisData,
    labels: Sequence[str],
    path: Path,
    *,
    guidance: float = 3.0,
    seed: int = 1,
) -> None:
    """Draw a grid of spectrograms: a row a label (concepts (labels, dim)); a real sound, then each way of asking."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    rows = _rows_by_label(data, 'test', 1)
    numbers = [data.names.index(label) for label in labels if label in data.names]
    numbers = [n for n in numbers if n in rows]
    columns = ['real (held out)', *WAYS]
    figure, axes = plt.subplots(len(numbers), len(columns), figsize=(2.0 * len(columns), 1.25 * len(numbers)),
                                sharex=True, sharey=True, squeeze=False, layout='constrained')  # fmt: skip
    for axis_row, n in zip(axes, numbers, strict=True):
        real = int(rows[n][0])
        pictures = [unpack_mel(data.mel[real])]
        for name, way in WAYS.items():
            vector = data.query[real] if name == 'IQ' else concepts[n]
            query = Query('', ((1.0, vector),), n_words=0 if name == 'IQ' else None)
            pictures.append(synthesizer.mels(query, FRAMES, 1, seed, guidance, way=way)[0])
        for axis, picture in zip(axis_row, pictures, strict=True):
            axis.imshow(picture.T, origin='lower', aspect='auto', vmin=-9.2, vmax=-1.5, cmap='magma',
                        extent=(0, FRAMES * HOP / SAMPLE_RATE, 0, picture.shape[1]))  # fmt: skip
            axis.set_yticks([])
        axis_row[0].set_ylabel(data.names[n], fontsize=8)
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(name, fontsize=9)
    figure.supxlabel('seconds', fontsize=8)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=80)
    plt.close(figure)
