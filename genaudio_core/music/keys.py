"""Keys, chords and charts of chords as a person types them: what notes they mean."""

from collections.abc import Iterable
from dataclasses import dataclass

from genaudio_core.errors import GenaudioError, did_you_mean

LETTERS = {'c': 0, 'd': 2, 'e': 4, 'f': 5, 'g': 7, 'a': 9, 'b': 11, 'h': 11}  # of notes -> pitch class
SCALES: dict[str, tuple[int, ...]] = {
    'major': (0, 2, 4, 5, 7, 9, 11), 'minor': (0, 2, 3, 5, 7, 8, 10), 'harmonic minor': (0, 2, 3, 5, 7, 8, 11),
    'melodic minor': (0, 2, 3, 5, 7, 9, 11), 'dorian': (0, 2, 3, 5, 7, 9, 10), 'phrygian': (0, 1, 3, 5, 7, 8, 10),
    'lydian': (0, 2, 4, 6, 7, 9, 11), 'mixolydian': (0, 2, 4, 5, 7, 9, 10), 'locrian': (0, 1, 3, 5, 6, 8, 10),
    'pentatonic': (0, 2, 4, 7, 9), 'minor pentatonic': (0, 3, 5, 7, 10), 'blues': (0, 3, 5, 6, 7, 10),
    'whole tone': (0, 2, 4, 6, 8, 10), 'chromatic': tuple(range(12)),
}  # fmt: skip
CHORDS: dict[str, tuple[int, ...]] = {
    '': (0, 4, 7), 'maj': (0, 4, 7), 'm': (0, 3, 7), 'min': (0, 3, 7), '7': (0, 4, 7, 10), 'maj7': (0, 4, 7, 11),
    'm7': (0, 3, 7, 10), 'dim': (0, 3, 6), 'dim7': (0, 3, 6, 9), 'm7b5': (0, 3, 6, 10), 'aug': (0, 4, 8),
    'sus2': (0, 2, 7), 'sus4': (0, 5, 7), '7sus4': (0, 5, 7, 10), '6': (0, 4, 7, 9), 'm6': (0, 3, 7, 9),
    '9': (0, 2, 4, 7, 10), 'm9': (0, 2, 3, 7, 10), 'maj9': (0, 2, 4, 7, 11), 'add9': (0, 2, 4, 7), '5': (0, 7),
}  # fmt: skip
NOTE_NAMES = ('C', 'Db', 'D', 'Eb', 'E', 'F', 'F#', 'G', 'Ab', 'A', 'Bb', 'B')


@dataclass(frozen=True, slots=True)
class Chord:
    """A chord: root and bass as pitch classes 0..11, quality as in `CHORDS`."""

    root: int
    quality: str
    bass: int

    @property
    def pitch_classes(self) -> frozenset[int]:
        """Those of its tones, the bass among them."""
        return classes_of(self.root, CHORDS[self.quality]) | {self.bass}

    def __str__(self) -> str:
        low = '' if self.bass == self.root else f'/{NOTE_NAMES[self.bass]}'
        return f'{NOTE_NAMES[self.root]}{self.quality}{low}'


def _root(name: str) -> tuple[int, str] | None:
    """(pitch class, rest) of a name that begins with a note, such as ``'f#'`` or ``'bbm7'`` (B flat minor)."""
    if name[:1].lower() not in LETTERS or not name:
        return None
    end = 1
    while end < len(name) and name[end] in '#b♯♭':
        end += 1
    root = LETTERS[name[0].lower()] + sum(1 if sign in '#♯' else -1 for sign in name[1:end])
    return root % 12, name[end:]


def parse_key(key: str) -> tuple[int, tuple[int, ...]]:
    """Return (tonic pitch class, scale) of a key such as ``"D minor"``, ``"F# blues"``, ``"Am"`` or ``"Bb"`` (major).

    Raises
    ------
    GenaudioError
        If it is no key.
    """
    found, scale = _root(key.strip()), ''
    if found:
        scale = ' '.join(found[1].lower().split())
        scale = {'': 'major', 'm': 'minor', 'min': 'minor', 'maj': 'major'}.get(scale, scale)
        if scale in SCALES:
            return found[0], SCALES[scale]
    hint = did_you_mean(scale, SCALES) or f' Scales: {", ".join(SCALES)}.'
    raise GenaudioError(f"'{key}' is not a key. Write a note and a scale, such as 'D minor'.{hint}")


def pitch_classes(key: str) -> frozenset[int]:
    """Pitch classes of what `parse_key` takes; its errors."""
    return classes_of(*parse_key(key))


def classes_of(tonic: int, intervals: Iterable[int]) -> frozenset[int]:
    """Pitch classes of a scale or a chord on a tonic."""
    return frozenset((tonic + interval) % 12 for interval in intervals)


def parse_chord(symbol: str) -> Chord:
    """Return the chord of a symbol such as ``"Am7"``, ``"F#dim"`` or ``"C/E"``.

    Raises
    ------
    GenaudioError
        If it is not a chord symbol.
    """
    name, slash, bass = symbol.strip().partition('/')
    found, low = _root(name), _root(bass)
    if found and found[1] in CHORDS and (not slash or (low and not low[1])):
        return Chord(found[0], found[1], low[0] if low else found[0])
    raise GenaudioError(f"'{symbol}' is not a chord. Write a note and one of: {', '.join(k for k in CHORDS if k)}.")


def chord_pitch_classes(chord: str) -> frozenset[int]:
    """Pitch classes of what `parse_chord` takes; its errors."""
    return parse_chord(chord).pitch_classes


def parse_chart(text: str) -> tuple[tuple[Chord, ...], ...]:
    """Return the bars of a chord chart, each of one chord or of two that share it.

    ``"C Am F G"`` has a chord for each bar; with bar lines, as in ``"C | Am D7 | G"``, a bar may have two.

    Raises
    ------
    GenaudioError
        If it has no chord, one that is none, or a bar of none or of more than two.
    """
    if '|' in text:
        bars = [bar.split() for bar in text.strip().strip('|').split('|')]
    else:
        bars = [[symbol] for symbol in text.split()]
    if not bars or any(not 1 <= len(bar) <= 2 for bar in bars):
        raise GenaudioError(
            f"'{text}' is not a chord chart. Write a chord for each bar, such as 'C Am F G', or bars with one or two "
            "chords, such as 'C | Am D7 | G'."
        )
    return tuple(tuple(parse_chord(symbol) for symbol in bar) for bar in bars)
