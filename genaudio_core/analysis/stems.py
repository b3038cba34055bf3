"""How well both separators do, as a user would measure it: SI-SDR by query, on unseen bands and on real songs.

The exported files are measured, through the code that plays: `streaming.separate_offline` for the live separator,
`Separator.separate` for the offline one, which is asked for one sound at a time.

* Bands: windows of the test split (unseen pieces, unseen SoundFont) with drums, bass and at least two more families;
  the two loudest of these stand beside drums and bass, the mixture is the sum of the four.
* Real: songs as folders of stems, whole mixtures, excerpts of ten seconds spread over the song. Stems of one kind are
  one sound (lead and backing vocals are the vocals). Where there are vocals or a lead guitar, what is left of the song
  without them is a row, too. Never trained on: all of ``dev-real``, and HELD_SONGS of ``songs``.
* What does not sound in an excerpt must not come out of it: its level under the mixture, for a sound that no band of
  this kind has, and for those of the song that pause.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genaudio_core.analysis.separation import song_folders
from genaudio_core.query.encoder import QueryEncoder
from genaudio_core.separation.offline import Separator
from genaudio_core.separation.streaming import MaskNetwork, separate_offline
from genaudio_core.sound.loudness import rms
from genaudio_core.sound.separation_metrics import si_sdr
from genaudio_core.training.mixtures.band_mixtures import FAMILY_WORDS, family, main_parts
from genaudio_core.training.sounds.packed_clips import SoundSet

SILENT = 1e-3  # root mean square of the target under which it does not sound
PAUSES = 1e-5  # and under which nothing of it is there
KINDS = {'drums': 'drums', 'bass': 'bass', 'synth': 'synth', 'vocals': 'vocals', 'lead_guitar': 'lead guitar'}
REMOVED = ('vocals', 'lead guitar')  # of whose songs the rest is measured, too
STRANGERS = ('violin', 'saxophone', 'piano', 'trumpet')  # in none of the songs; one is asked for in each excerpt
HELD_SONGS = ('saber-final-step', 'sectoid-metal-madness')  # of the folder `songs` of the recordings
EXCERPT = 10.0  # seconds of the real songs at a time
Way = Callable[[np.ndarray, Sequence[str]], np.ndarray]
"""A mixture (2, n) and words -> what comes out for each (len(words), 2, n)."""
Score = dict[str, dict[str, Any]]


def live(network: MaskNetwork) -> Way:
    """The live separator, asked for all at once, as it plays."""
    encoder = QueryEncoder()
    known = network.card.details.get('words', {})

    def separate(mixture: np.ndarray, words: Sequence[str]) -> np.ndarray:
        if all(word in known for word in words):
            return separate_offline(network, mixture, network.words(*words))
        rows = [np.append(network.words(w)[0], 0) if w in known else encoder.query(w).row for w in words]
        return separate_offline(network, mixture, np.stack(rows))

    return separate


def offline(separator: Separator) -> Way:
    """The offline separator, asked for one sound at a time."""
    encoder = QueryEncoder()

    def separate(mixture: np.ndarray, words: Sequence[str]) -> np.ndarray:
        rate = separator.sample_rate
        return np.concatenate([separator.separate(mixture, rate, [encoder.query(word)]) for word in words])

    return separate


def score(ways: Mapping[str, Way], stems: Mapping[str, np.ndarray], words: Mapping[str, str]) -> Score:
    """Return way -> name -> SI-SDR of mixture and estimate, the improvement; for each stem (2, n) that has a word."""
    mixture, gain, asked = heard_in(stems, words)
    result: Score = {way: {} for way in ways}
    for way, separate in ways.items():
        found = separate(mixture * gain, [words[name] for name in asked]) if asked else ()
        for name, estimate in zip(asked, found, strict=True):
            result[way][name] = _compared(stems[name], estimate, mixture)
    return result


def heard_in(stems: Mapping[str, np.ndarray], names: Iterable[str]) -> tuple[np.ndarray, float, list[str]]:
    """Return the mixture (2, n) of stems (2, n), the gain that makes it as loud as any, and which of `names` sound."""
    mixture = np.sum(list(stems.values()), axis=0)
    gain = 0.1 / max(rms(mixture), 1e-6)
    asked = set(names)
    return mixture, gain, [name for name in stems if name in asked and rms(stems[name]) * gain > SILENT]


def _compared(target: np.ndarray, estimate: np.ndarray, mixture: np.ndarray) -> dict[str, float]:
    before, after = si_sdr(target, mixture), si_sdr(target, estimate)
    return {'mixture': before, 'estimate': after, 'improvement': after - before}


def bands(
    ways: Mapping[str, Way], sounds: SoundSet, limit: int, seed: int = 0, *, by_instrument: bool = False
) -> list[Score]:
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
        scores.append(score(ways, {n: stems[n] for n in parts}, {**words, **own}))
        if len(scores) == limit:
            break
    return scores


def excerpts(song: Path, rate: int, most: int) -> Iterable[dict[str, np.ndarray]]:
    """Yield up to `most` excerpts of a song, spread over it: kind of sound, or a stem's own name -> (2, n)."""
    from genaudio_core.sound.audio_files import read_audio

    stems: dict[str, np.ndarray] = {}
    for path in sorted(song.glob('*.ogg')):
        audio = read_audio(path, rate)
        audio = np.repeat(audio, 2, 0) if audio.shape[0] == 1 else audio
        name = next((kind for start, kind in KINDS.items() if path.stem.startswith(start)), path.stem)
        n = min(audio.shape[1], stems[name].shape[1]) if name in stems else 0
        stems[name] = stems[name][:, :n] + audio[:, :n] if n else audio
    step = round(EXCERPT * rate)
    begins = range(0, min(audio.shape[1] for audio in stems.values()) - step + 1, step)
    chosen = np.unique(np.linspace(0, len(begins) - 1, min(most, len(begins))).round().astype(int))
    for i in chosen if len(begins) else ():
        yield {name: audio[:, begins[i] : begins[i] + step] for name, audio in stems.items()}


def real(ways: Mapping[str, Way], folders: Sequence[Path], rate: int, most: int = 6) -> list[Score]:
    """Return the scores of excerpts of the songs in `folders`; of what is not there, the level of what comes out."""
    scores: list[Score] = []
    for song in (song for folder in folders for song in song_folders(folder)):
        for stems in excerpts(song, rate, most):
            mixture, gain, here = heard_in(stems, KINDS.values())
            pausing = [name for name in stems if name in KINDS.values() and rms(stems[name]) * gain < PAUSES]
            absent = [STRANGERS[len(scores) % len(STRANGERS)], *pausing]
            one: Score = {}
            for way, separate in ways.items():
                found = separate(mixture * gain, [*here, *absent])
                one[way] = {}
                for name, estimate in zip(here, found, strict=False):
                    one[way][name] = _compared(stems[name], estimate, mixture)
                    if name in REMOVED:
                        one[way][f'everything but {name}'] = _compared(
                            mixture - stems[name], mixture * gain - estimate, mixture
                        )
                for name, estimate in zip(absent, found[len(here) :], strict=True):
                    level = 20 * np.log10(max(rms(estimate), 1e-9) / max(rms(mixture * gain), 1e-9))
                    one[way][f'{name}, absent'] = {'level': float(level)}
            scores.append(one)
    return scores


def summary(scores: Sequence[Score]) -> dict[str, Any]:
    """Return way -> name -> means in dB, standard error, median, share of what got better, count; 'mean' over all.

    Of what was absent: its mean and highest level against the mixture.
    """
    return {way: _summary([score[way] for score in scores]) for way in (scores[0] if scores else ())}


def _summary(scores: Sequence[dict[str, dict[str, float]]]) -> dict[str, Any]:
    by_name: dict[str, list[dict[str, float]]] = {}
    for one in scores:
        for name, values in one.items():
            by_name.setdefault('absent' if 'level' in values else name, []).append(values)
    absent = [row['level'] for row in by_name.pop('absent', [])]
    stems = [row for name, rows in by_name.items() if not name.startswith('everything but') for row in rows]
    result: dict[str, Any] = {}
    for name, rows in [*sorted(by_name.items()), ('mean', stems)]:
        if rows:
            gains = np.array([row['improvement'] for row in rows])
            result[name] = {
                'si_sdr': _mean(row['estimate'] for row in rows), 'mixture': _mean(row['mixture'] for row in rows),
                'si_sdr_improvement': round(float(gains.mean()), 2),
                'standard_error': round(float(gains.std() / max(1, len(gains) - 1) ** 0.5), 2),
                'median': round(float(np.median(gains)), 2), 'better': round(float((gains > 0).mean()), 2),
                'count': len(gains),
            }  # fmt: skip
    if absent:
        result['absent'] = {'level_db': _mean(absent), 'highest_db': round(max(absent), 1), 'count': len(absent)}
    return result


def _mean(values: Iterable[float]) -> float:
    return round(float(np.mean(list(values))), 2)


def as_table(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the lines of a Markdown table of both separators, for each name of `found` (what `summary` returned)."""
    ways = list(next(iter(found.values()), {}))
    cells = [f'{way}: SI-SDR | gain | better' for way in ways]
    lines = [
        f'| | query | excerpts | mixture | {" | ".join(cells)} |',
        '| --- ' * 2 + '| ---: ' * (2 + 3 * len(ways)) + '|',
    ]
    for where, table in found.items():
        for name in table[ways[0]]:
            rows = [table[way][name] for way in ways]
            if name == 'absent':
                cells = [f'{row["level_db"]:.1f} dB | at most {row["highest_db"]:.1f} |' for row in rows]
                before = 'level'
            else:
                cells = [
                    f'{row["si_sdr"]:.1f} | {row["si_sdr_improvement"]:+.1f} | {row["better"]:.0%}' for row in rows
                ]
                before = f'{rows[0]["mixture"]:.1f}'
            lines.append(f'| {where} | {name} | {rows[0]["count"]} | {before} | {" | ".join(cells)} |')
    return lines
