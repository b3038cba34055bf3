"""What a person writes, taken apart into weighted words: ``2 * violin + flute - drums``."""

import re

from genaudio_core.errors import GenaudioError
from genaudio_core.query.everyday import COMPLEMENTS, plainly
from genaudio_core.query.text_encoder import plain_words

_PART = re.compile(
    r'\s*(?P<sign>[+;&]|(?<!\d),|,(?!\d)|-\s|\bnot\b|\bwithout\b|\bminus\b|\bno\b|\band\b|\bor\b|\bplus\b)\s*',
    re.IGNORECASE,
)
_NUMBER = r'\d*[.,]?\d+'
_TIMES = re.compile(rf'({_NUMBER})(?:\s*[*\u00d7]\s*|\s*x\s+)(.+)')  # 2 * violin, 2x violin
_DECIMAL = re.compile(r'(\d*[.,]\d+)\s+(.+)')  # 0.7 violin
_ONLY_NUMBER = re.compile(r'\d*[.,]\d+(?:\s*[*\u00d7x])?')  # a weight without words
_NOTHING = re.compile(r'(0+)\s+(.+)')
_DIGIT = re.compile(r'(\d)\s+(.+)')  # 2 violin, where there is more than one sound
_BELOW_ZERO = re.compile(rf'(?:^|\s)[-\u2212]\s*({_NUMBER})\b')
MAX_WEIGHT = 100.0


Parts = list[tuple[float, str]]  # weighted words


def parse(text: str) -> tuple[Parts, Parts]:
    """Split '0.7 violin + 0.3 flute, not cymbals' into weighted positive and negative words.

    A number in front of words is a weight if it is written with a point (or a decimal comma) and is at most 100, or
    with ``*``, ``×`` or ``x`` behind it; a single digit also, where the query names more than one sound. Any other
    number belongs to the words: '808 bass', '12 string guitar', '303', '1e3 hz'.

    Nothing positive means all of the mixture but the negative ones: 'no drums', 'everything but vocals', 'karaoke'.

    Raises
    ------
    GenaudioError
        If a weight is not a positive number.
    """
    positive: Parts = []
    negative: Parts = []
    pieces = _PART.split(plainly(text))
    several = sum(bool(piece.strip()) for piece in pieces[::2]) > 1
    minus = False
    for index, piece in enumerate(pieces):
        if index % 2:
            sign = piece.lower().strip()
            minus = sign in ('-', 'not', 'without', 'minus', 'no') or (minus and sign in ('and', 'or'))
            continue
        words = piece.strip()
        if not words:
            continue
        if found := _BELOW_ZERO.search(words):
            raise GenaudioError(
                f"The weight -{found[1]} in '{words}' must be more than 0; to leave a sound out write 'not' before it."
            )
        weight = 1.0
        if _ONLY_NUMBER.fullmatch(words):
            raise GenaudioError(f"The weight {words} stands alone; write a sound behind it, such as '{words} violin'.")
        found = _TIMES.fullmatch(words) or _NOTHING.fullmatch(words) or (_DIGIT.fullmatch(words) if several else None)
        if not found and (found := _DECIMAL.fullmatch(words)) and _weight(found[1]) > MAX_WEIGHT:
            found = None  # '440.5 hz' is no weight
        if found:
            weight, words = _weight(found[1]), found[2]
        if not 0 < weight <= MAX_WEIGHT:
            raise GenaudioError(f"The weight {weight:g} of '{words}' must be more than 0 and at most {MAX_WEIGHT:g}.")
        (negative if minus else positive).append((weight, words))
    return _without(positive, negative)


def _without(positive: Parts, negative: Parts) -> tuple[Parts, Parts]:
    """Put what the names of complements lack in their place."""
    whole = [COMPLEMENTS.get(_name(words)) for _, words in positive]
    lacks = [part for text in whole if text for part in parse(text)[0]]
    kept = [part for part in negative if _name(part[1]) not in COMPLEMENTS]
    # Without the accompaniment there is what the accompaniment lacks.
    back = [part for _, words in negative for part in parse(COMPLEMENTS.get(_name(words), ''))[0]]
    if lacks:
        return [], [*lacks, *kept]
    return [*positive, *back], kept


def _name(words: str) -> str:
    return ' '.join(plain_words(words))


def _weight(text: str) -> float:
    return float(text.replace(',', '.'))
