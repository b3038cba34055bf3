"""Endless mixtures for the live separator, from a set of band stems (``packed_clips.py``, ``bands.py``).

Notable choices

* A query means a *family* of sounds (lexicon): asking for 'violin' in a string section keeps the section. What one
  ear calls one sound should not be cut in two by a model that hears 46 ms.
* Two thirds of the mixtures are windows as they were composed, the others are thrown together from several pieces,
  solos and recordings: the first teach what masks what in music, the second that anything can stand beside anything.
* A kit that was rendered in parts is one sound (drums) in some mixtures, and its parts are asked for in others.
* A window keeps drums, bass and a few more parts, not all that a game score has: asked for the eighth part of a dense
  window, far below the rest, a young network learns that silence is the safe answer, and stays there. Half of them
  keep the two loudest others, nearly at the levels of the composer: what bands are and what is measured.
* Effects, levels, pan and speed are drawn again each time: the same 8 seconds never come back.
* In some one part is nearly alone: what is almost all of a mixture must be let through whole.
* Some mixtures are pressed by a limiter, as records are; its gain is that of all stems, too: they still add up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genaudio_core.sound.loudness import rms
from genaudio_core.training.sounds.lexicon import BY_NAME
from genaudio_core.training.sounds.packed_clips import Clip, SoundSet, at_speed
from genaudio_core.training.sounds.production import DRUM_PARTS, OTHER_DRUMS, gated, limiter_gain

# What people call a whole family, beside the names of its concepts.
FAMILY_WORDS: dict[str, tuple[str, ...]] = {
    'keys': ('piano',), 'guitar': ('guitar', 'electric guitar'), 'bass': ('bass', 'electric bass'),
    'drums': ('drums',), 'strings': ('strings',), 'brass': ('brass', 'brass section'), 'organ': ('organ',),
    'synth': ('synth', 'synth lead'), 'voice': ('vocals', 'choir'), 'reeds': ('saxophone', 'clarinet', 'flute'),
    'pipes': ('flute',), 'mallets': ('marimba', 'vibraphone'), 'plucked': ('harp',),
}  # fmt: skip
WOODWINDS = ('reeds', 'pipes')
KIT = (*DRUM_PARTS, OTHER_DRUMS)  # labels of the parts of a kit that was rendered in parts
SHARE_APART = 0.6  # of mixtures with such a kit whose parts are asked for, not the kit
PARTS_SPEED = 0.25  # octaves, up and down, of each part of what is thrown together
SHARE_COMPOSED = 0.65  # of mixtures, unless another share is asked for
SHARE_MAIN = 0.5  # of these that keep their main parts and nearly their levels
SPREAD, SPREAD_MAIN = 7.0, 2.0  # dB, up and down, of parts of mixtures, and of those
SHARE_NEARLY_ALONE = 0.08  # of mixtures, in which one part stands so many dB above the others:
ABOVE = (8.0, 25.0)
SHARE_ALONE = 0.5  # of the parts of what is thrown together that are solos or recordings, where there are any
OVERDRIVEN = {'guitar': 0.3, 'bass': 0.1, 'organ': 0.1, 'synth': 0.1, 'keys': 0.05}  # share of parts
# Share of parts whose notes are cut short, as plucked synthesizers are.
GATED = {'synth': 0.25, 'bass': 0.15, 'keys': 0.1, 'organ': 0.1, 'strings': 0.05, 'brass': 0.05, 'guitar': 0.05}
SHARE_MASTERED = 0.4  # of mixtures that go through a limiter, as records do
SHARE_ABSENT = 0.06  # of queries for something that does not sound
# The ears that ask for drums and bass are many; the rest share what is left.
ASKED: dict[str, float] = {'drums': 2.0, 'bass': 2.0, 'keys': 1.3, 'guitar': 1.3, 'strings': 1.3, 'voice': 1.3}


def family(label: str) -> str:
    """Return the family whose stems a query for `label` keeps; both kinds of woodwind are one."""
    name = BY_NAME[label].family
    return 'reeds' if name in WOODWINDS else name


def words_for(name: str, labels: Sequence[str]) -> list[str]:
    """Return what one may call the stems with these labels that are one sound: a family, or a part of a kit."""
    kit = name == 'drums' and len(set(labels) & set(KIT)) > 1  # then no part's name is a name of all
    return [*FAMILY_WORDS.get(name, ()), *(label for label in labels if not (kit and label in KIT))]


def main_parts(loudness: Mapping[str, float]) -> list[str]:
    """Return drums, bass and the two loudest other families, of those that sound: what is measured."""
    others = sorted(set(loudness) - {'drums', 'bass'}, key=lambda name: (-loudness[name], name))
    return [name for name in ('drums', 'bass') if name in loudness] + others[:2]


def nearly_alone(stems: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the stems, the others together `ABOVE` dB below one of them (channels, samples each)."""
    loudness = {name: rms(audio) for name, audio in stems.items()}
    weights = np.array([ASKED.get(name, 1.0) * (loudness[name] > 1e-3) for name in stems])
    if len(stems) < 2 or not weights.any():
        return dict(stems)
    chosen = str(rng.choice(list(stems), p=weights / weights.sum()))
    rest = sum(value**2 for name, value in loudness.items() if name != chosen) ** 0.5
    gain = np.float32(min(1.0, loudness[chosen] / max(rest, 1e-6) * 10 ** (-rng.uniform(*ABOVE) / 20)))
    return {name: audio if name == chosen else audio * gain for name, audio in stems.items()}


@dataclass
class BandMixture:
    """A mixture and what is asked of it."""

    mixture: np.ndarray  # (2, samples)
    targets: np.ndarray  # (n_queries, 2, samples); zeros where the sound is not in the mixture
    queries: list[str]  # what was asked, in words


class BandMixtures:
    """Draws mixtures from the stems of one split.

    Parameters
    ----------
    sounds
        One or more sound sets with stems at one sample rate.
    split
        'train', 'valid' or 'test'.
    augment
        Effects, levels and speed; off for evaluation.
    n_samples
        Length of a mixture, from anywhere in its windows; None takes all of them.
    composed
        Share of the mixtures that are windows as they were composed.
    backwards
        Their end comes first, for a network that goes through sounds backwards.
    """

    def __init__(
        self, sounds: Sequence[SoundSet], split: str, *, n_queries: int = 2, augment: bool = True,
        n_samples: int | None = None, composed: float = SHARE_COMPOSED, backwards: bool = False,
    ):  # fmt: skip
        self.n_queries, self.augment, self.n_samples, self.composed = n_queries, augment, n_samples, composed
        self.backwards = backwards
        self.groups: list[list[tuple[SoundSet, Clip]]] = []
        for one in sounds:
            self.groups += [[(one, clip) for clip in clips] for clips in one.groups(split=split).values()]
        self.by_family: dict[str, list[Any]] = {}
        for group in self.groups:
            for entry in group:
                self.by_family.setdefault(family(entry[1].label), []).append(entry)
        self.alone: dict[str, list[Any]] = {}
        for one in sounds:
            for kind in ('solo', 'recording'):
                for clip in one.select(split=split, kind=kind):
                    if family(clip.label) in FAMILY_WORDS:
                        self.alone.setdefault(family(clip.label), []).append((one, clip))

    def draw(self, rng: np.random.Generator) -> BandMixture:
        """Return a new mixture."""
        coherent = not self.augment or rng.random() < self.composed
        entries = self.groups[rng.integers(len(self.groups))] if coherent else self.thrown_together(rng)
        samples, start = min(clip.n_samples for _, clip in entries), 0
        up, down = self.speed(rng)
        if self.n_samples is not None:
            whole, samples = samples, min(samples, -(-self.n_samples * down // up))
            start = int(rng.integers(0, whole - samples + 1))
        stems: dict[str, np.ndarray] = {}
        labels: dict[str, list[str]] = {}
        main = not self.augment or (coherent and rng.random() < SHARE_MAIN)
        kept = None if main or not coherent else self.kept([family(clip.label) for _, clip in entries], rng)
        in_parts = coherent and self.augment and any(clip.label in ('kick drum', 'snare drum') for _, clip in entries)
        apart = KIT if in_parts and rng.random() < SHARE_APART else ()
        for source, clip in entries:
            if kept is not None and family(clip.label) not in kept:
                continue
            audio = source.read(clip, start, samples)
            if audio.shape[0] == 1:
                audio = np.repeat(audio, 2, 0)
            if self.augment and not coherent:
                audio = _of_length(at_speed(audio, 2 ** rng.uniform(-PARTS_SPEED, PARTS_SPEED)), samples)
            name = clip.label if clip.label in apart else family(clip.label)
            stems[name] = stems[name] + audio if name in stems else audio
            labels.setdefault(name, []).append(clip.label)
        if main:
            names = main_parts({name: rms(audio) for name, audio in stems.items() if name not in apart})
            stems = {name: audio for name, audio in stems.items() if name in names or name in apart}
        for name, audio in stems.items():
            if self.augment:
                stems[name] = self._effects(
                    audio, 'drums' if name in apart else name, coherent, SPREAD_MAIN if main else SPREAD, rng
                )
        if self.augment and rng.random() < SHARE_NEARLY_ALONE:
            stems = nearly_alone(stems, rng)
        if up != down:
            from scipy.signal import resample_poly

            stems = {name: resample_poly(audio, up, down, axis=-1).astype(np.float32) for name, audio in stems.items()}
        if self.n_samples is not None:  # resampling rounds, and a window may be shorter
            stems = {name: _of_length(audio, self.n_samples) for name, audio in stems.items()}
        mixture = np.sum(list(stems.values()), axis=0)
        if self.augment and rng.random() < SHARE_MASTERED:
            drive, ratio, release = rng.uniform(2, 12), rng.uniform(2, 20), np.exp(rng.uniform(*np.log([0.02, 0.4])))
            pressed = limiter_gain(mixture, drive, ratio, release, 44100)
            stems = {name: audio * pressed for name, audio in stems.items()}
            mixture = mixture * pressed
        level = 10 ** (rng.uniform(-30, -12) / 20) if self.augment else 0.1
        gain = level / max(rms(mixture), 1e-4)
        targets, queries = [], []
        for name in self.asked(list(stems), rng):
            targets.append(stems[name] * gain if name in stems else np.zeros_like(mixture))
            queries.append(str(rng.choice(words_for(name, labels.get(name, [name] if name in KIT else [])))))
        way = -1 if self.backwards else 1
        return BandMixture(
            (mixture[:, ::way] * gain).astype(np.float32), np.stack(targets)[..., ::way].astype(np.float32), queries
        )

    @staticmethod
    def kept(names: list[str], rng: np.random.Generator) -> set[str]:
        """Two to five of the families of a window; drums and bass stay in most."""
        others = sorted(set(names) - {'drums', 'bass'})
        rng.shuffle(others)
        kept = {name for name in ('drums', 'bass') if name in names and rng.random() < 0.8}
        kept |= set(others[: max(int(rng.integers(1, 4)), 2 - len(kept))])
        return kept or set(names)  # nothing but drums or bass in this window, and both passed over

    def thrown_together(self, rng: np.random.Generator) -> list[Any]:
        """Draw parts of two to four families from anywhere."""
        names = list(self.by_family)
        weights = np.array([ASKED.get(name, 0.7) for name in names])
        count = int(rng.integers(2, 5))
        chosen = rng.choice(len(names), min(count, len(names)), replace=False, p=weights / weights.sum())
        found = []
        for name in (names[i] for i in chosen):
            # Solos and recordings are few beside the parts of bands, and of more instruments.
            pool = self.alone[name] if name in self.alone and rng.random() < SHARE_ALONE else self.by_family[name]
            found.append(pool[rng.integers(len(pool))])
        return found

    def asked(self, present: list[str], rng: np.random.Generator) -> list[str]:
        """Draw the families that are asked for."""
        weights = np.array([ASKED.get(name, 1.0) for name in present])
        count = min(self.n_queries, len(present))
        asked = list(rng.choice(present, count, replace=False, p=weights / weights.sum()))
        absent = [name for name in self.by_family if name not in present]
        if 'drums' in absent and any(name in KIT for name in present):
            absent = [*(name for name in absent if name != 'drums'), *(name for name in KIT if name not in present)]
        while len(asked) < self.n_queries:  # again, mostly in other words
            asked.append(str(rng.choice(present)))
        if self.augment and absent and rng.random() < SHARE_ABSENT * self.n_queries:
            asked[-1] = str(rng.choice(absent))
        return asked

    def speed(self, rng: np.random.Generator) -> tuple[int, int]:
        """Draw how much slower: (up, down). Half as it is, a quarter as it will sound when it runs at 48 kHz."""
        if not self.augment or rng.random() < 0.5:
            return 1, 1
        return ((160, 147), (160, 147), (13, 12), (12, 13), (15, 14))[rng.integers(5)]

    def _effects(
        self, audio: np.ndarray, name: str, coherent: bool, spread: float, rng: np.random.Generator
    ) -> np.ndarray:
        import pedalboard as pb

        board: list[pb.Plugin] = []
        if rng.random() < 0.5:
            board.append(pb.LowShelfFilter(float(rng.uniform(80, 400)), float(rng.uniform(-6, 6))))
        if rng.random() < 0.6:
            board.append(pb.HighShelfFilter(float(rng.uniform(1500, 7000)), float(rng.uniform(-10, 6))))
        # SoundFonts differ in colour more than in anything else; a model that trusts colour hears only those it knows.
        for _ in range(int(rng.integers(0, 5))):
            board.append(pb.PeakFilter(float(np.exp(rng.uniform(np.log(80), np.log(8000)))), float(rng.uniform(-9, 9)),
                                       float(rng.uniform(0.5, 2.0))))  # fmt: skip
        if rng.random() < OVERDRIVEN.get(name, 0.0):
            board.append(pb.Distortion(float(rng.uniform(5, 20))))
        if name not in ('drums', 'bass') and rng.random() < 0.12:
            board.append(pb.Chorus(float(rng.uniform(0.3, 3)), float(rng.uniform(0.1, 0.5)), mix=0.5))
        if name not in ('drums', 'bass') and rng.random() < 0.06:
            board.append(pb.Phaser(float(rng.uniform(0.2, 2))))
        if rng.random() < 0.1:  # dull, as the samples of small fonts are
            board.append(pb.LowpassFilter(float(np.exp(rng.uniform(np.log(1500), np.log(7000))))))
        if rng.random() < 0.25:
            board.append(pb.Compressor(float(rng.uniform(-30, -15)), float(rng.uniform(2, 5))))
        if rng.random() < 0.25 and name != 'bass':
            board.append(pb.Reverb(float(rng.uniform(0.1, 0.8)), wet_level=float(rng.uniform(0.05, 0.3))))
        before = rms(audio) + 1e-6
        if rng.random() < GATED.get(name, 0.0):
            audio = gated(audio, 44100, rng)
        if board:
            for plugin in board:
                audio = plugin(audio, 44100, reset=True)
        if coherent:  # an effect may colour a part, its loudness stays the composer's
            audio = audio * min(before / (rms(audio) + 1e-6), 8.0)
        if not coherent:
            audio = audio * (0.1 / (rms(audio) + 1e-3))
        gain = 10 ** (rng.uniform(-spread, spread) / 20)
        if rng.random() < 0.3:
            audio = audio[::-1]
        if rng.random() < 0.3:
            audio = np.repeat(audio.mean(0, keepdims=True), 2, 0)
        pan = rng.uniform(-0.6, 0.6) if rng.random() < 0.5 else 0.0
        return (audio * gain * np.array([[1 - max(pan, 0)], [1 + min(pan, 0)]])).astype(np.float32)


def _of_length(audio: np.ndarray, n: int) -> np.ndarray:
    return audio[:, :n] if audio.shape[-1] >= n else np.pad(audio, [(0, 0), (0, n - audio.shape[-1])])


def batch_of(
    source: BandMixtures, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[list[str]]]:
    """Return a batch of new mixtures for a network whose mask is the same for both channels.

    What such a mask does to left and right it does to every mix of the two, so the loss needs one channel only: a
    random mix of both, drawn for each mixture again.

    Returns
    -------
    tuple
        Mixture (B, 2, n); shares of its channels in the mix (B, 2); the mix of the targets (B, Q, n); and the queries
        in words.
    """
    drawn = [source.draw(rng) for _ in range(size)]
    angle = rng.uniform(0, np.pi / 2, size)
    mix = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    targets = np.stack([np.tensordot(one.targets, shares, (1, 0)) for one, shares in zip(drawn, mix, strict=True)])
    return np.stack([one.mixture for one in drawn]), mix, targets, [one.queries for one in drawn]
