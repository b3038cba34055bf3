"""The 64 instrument classes of the Multitrack Music Transformer, drums, General MIDI programs and spoken names.

The classes, their order and the many-to-one map from programs are facts of the published encoding
(MMT, ICASSP 2023, section 3; see ``events.py``). Drums are class 65, which only the live encoding has.
"""

from collections.abc import Iterable

from genaudio_core.errors import GenaudioError, did_you_mean

# (class name, program it is decoded to, programs mapped to it, lowest and highest playable note, family)
_CLASSES: tuple[tuple[str, int, tuple[int, ...], int, int, str], ...] = (
    ('piano', 0, (0, 1, 2, 3), 21, 108, 'keys'),
    ('electric-piano', 4, (4, 5), 28, 103, 'keys'),
    ('harpsichord', 6, (6,), 29, 89, 'keys'),
    ('clavinet', 7, (7,), 28, 96, 'keys'),
    ('celesta', 8, (8,), 60, 108, 'mallets'),
    ('glockenspiel', 9, (9,), 72, 108, 'mallets'),
    ('music-box', 10, (10,), 60, 96, 'mallets'),
    ('vibraphone', 11, (11,), 53, 89, 'mallets'),
    ('marimba', 12, (12,), 45, 96, 'mallets'),
    ('xylophone', 13, (13,), 65, 108, 'mallets'),
    ('tubular-bells', 14, (14,), 60, 77, 'mallets'),
    ('dulcimer', 15, (15,), 50, 93, 'mallets'),
    ('organ', 16, (16, 17, 18, 20), 36, 96, 'organ'),
    ('church-organ', 19, (19,), 24, 108, 'organ'),
    ('accordion', 21, (21,), 41, 93, 'organ'),
    ('harmonica', 22, (22,), 60, 96, 'organ'),
    ('bandoneon', 23, (23,), 36, 96, 'organ'),
    ('nylon-string-guitar', 24, (24,), 40, 84, 'guitar'),
    ('steel-string-guitar', 25, (25,), 40, 84, 'guitar'),
    ('electric-guitar', 26, (26, 27, 28, 29, 30, 31), 40, 88, 'guitar'),
    ('bass', 32, (32,), 28, 60, 'bass'),
    ('electric-bass', 33, (33, 34, 35), 23, 67, 'bass'),
    ('slap-bass', 36, (36, 37), 23, 67, 'bass'),
    ('synth-bass', 38, (38, 39), 21, 72, 'bass'),
    ('violin', 40, (40, 110), 55, 103, 'strings'),
    ('viola', 41, (41,), 48, 91, 'strings'),
    ('cello', 42, (42,), 36, 84, 'strings'),
    ('contrabass', 43, (43,), 24, 67, 'strings'),
    ('harp', 46, (46,), 23, 104, 'strings'),
    ('timpani', 47, (47,), 36, 60, 'percussion'),
    ('strings', 49, (44, 45, 48, 49), 28, 103, 'ensemble'),
    ('synth-strings', 50, (50, 51), 28, 103, 'ensemble'),
    ('voices', 52, (52, 53, 54), 36, 88, 'ensemble'),
    ('orchestra-hit', 55, (55,), 36, 84, 'ensemble'),
    ('trumpet', 56, (56, 59), 52, 86, 'brass'),
    ('trombone', 57, (57,), 34, 77, 'brass'),
    ('tuba', 58, (58,), 24, 65, 'brass'),
    ('horn', 60, (60,), 34, 81, 'brass'),
    ('brasses', 61, (61,), 34, 86, 'brass'),
    ('synth-brasses', 62, (62, 63), 34, 88, 'brass'),
    ('soprano-saxophone', 64, (64,), 56, 91, 'reeds'),
    ('alto-saxophone', 65, (65,), 49, 85, 'reeds'),
    ('tenor-saxophone', 66, (66,), 44, 79, 'reeds'),
    ('baritone-saxophone', 67, (67,), 36, 73, 'reeds'),
    ('oboe', 68, (68,), 58, 93, 'reeds'),
    ('english-horn', 69, (69,), 52, 84, 'reeds'),
    ('bassoon', 70, (70,), 34, 77, 'reeds'),
    ('clarinet', 71, (71,), 50, 96, 'reeds'),
    ('piccolo', 72, (72,), 74, 108, 'pipes'),
    ('flute', 73, (73,), 59, 98, 'pipes'),
    ('recorder', 74, (74,), 53, 98, 'pipes'),
    ('pan-flute', 75, (75,), 55, 96, 'pipes'),
    ('ocarina', 79, (79,), 60, 89, 'pipes'),
    ('lead', 80, tuple(range(80, 88)), 24, 108, 'synth'),
    ('pad', 88, tuple(range(88, 96)), 24, 108, 'synth'),
    ('sitar', 104, (104,), 40, 84, 'guitar'),
    ('banjo', 105, (105,), 48, 86, 'guitar'),
    ('shamisen', 106, (106,), 48, 84, 'guitar'),
    ('koto', 107, (107,), 43, 91, 'guitar'),
    ('kalimba', 108, (108,), 48, 84, 'mallets'),
    ('bag-pipe', 109, (109,), 55, 79, 'reeds'),
    ('shehnai', 111, (111,), 60, 84, 'reeds'),
    ('melodic-tom', 117, (117,), 36, 84, 'percussion'),
    ('synth-drums', 118, (118, 119), 36, 84, 'percussion'),
)

INSTRUMENTS: tuple[str, ...] = tuple(row[0] for row in _CLASSES)  # code = index + 1
N_INSTRUMENTS = len(INSTRUMENTS)  # 64
DRUMS = 'drums'
DRUMS_CODE = N_INSTRUMENTS + 1  # live encoding only

# Programs the published encoding drops. The live encoding must not lose what a musician plays,
# so it lends them their nearest class; the sound effects 120..127 are no notes and stay out.
_NEAREST: dict[int, str] = {
    76: 'pan-flute', 77: 'pan-flute', 78: 'ocarina',
    **dict.fromkeys(range(96, 104), 'pad'),
    112: 'glockenspiel', 113: 'xylophone', 114: 'vibraphone', 115: 'xylophone', 116: 'melodic-tom',
}  # fmt: skip

PROGRAM_TO_CODE: tuple[int, ...] = tuple(
    next((code for code, row in enumerate(_CLASSES, 1) if program in row[2]), 0) for program in range(128)
)
"""Instrument code 1..64 of each General MIDI program; 0 where the published encoding drops the note."""

PROGRAM_TO_LIVE_CODE: tuple[int, ...] = tuple(
    code or (INSTRUMENTS.index(_NEAREST[program]) + 1 if program in _NEAREST else 0)
    for program, code in enumerate(PROGRAM_TO_CODE)
)
"""The same for the live encoding, which lends dropped programs the nearest class."""

CODE_TO_PROGRAM: tuple[int, ...] = (0, *(row[1] for row in _CLASSES), 0)
"""Program that a code is decoded to; index 0 is undefined, 65 is drums."""

FAMILY: dict[str, str] = {row[0]: row[5] for row in _CLASSES} | {DRUMS: 'drums'}
RANGE: dict[str, tuple[int, int]] = {row[0]: (row[3], row[4]) for row in _CLASSES} | {DRUMS: (27, 87)}

_VOICES = {'strings': 2, 'reeds': 1, 'pipes': 1, 'brass': 1, 'bass': 1}  # by family; others play chords
_CHORDS = 8


def voices_of(name: str) -> int:
    """Most notes that a class or 'drums' plays at a time: a flute one, a violin two, a piano a chord."""
    if name == 'harp':
        return _CHORDS
    return 1 if name.endswith(('bass', 'voices')) else _VOICES.get(FAMILY[name], _CHORDS)


# Roland's pads (as in the Groove MIDI Dataset) and other strays -> General MIDI percussion.
DRUM_ALIASES: dict[int, int] = {22: 42, 26: 46, 58: 43, 23: 42, 24: 49, 25: 38}

_SPOKEN: dict[str, str] = {
    'fiddle': 'violin', 'double bass': 'contrabass', 'upright bass': 'bass', 'acoustic bass': 'bass',
    'string bass': 'contrabass', 'bass guitar': 'electric-bass', 'fretless bass': 'electric-bass',
    'guitar': 'steel-string-guitar', 'acoustic guitar': 'steel-string-guitar',
    'classical guitar': 'nylon-string-guitar',
    'nylon guitar': 'nylon-string-guitar', 'steel guitar': 'steel-string-guitar', 'rhodes': 'electric-piano',
    'wurlitzer': 'electric-piano', 'grand piano': 'piano', 'keys': 'piano', 'upright piano': 'piano',
    'hammond': 'organ', 'pipe organ': 'church-organ', 'vibes': 'vibraphone', 'bells': 'tubular-bells',
    'chimes': 'tubular-bells', 'mouth organ': 'harmonica', 'choir': 'voices', 'voice': 'voices', 'vocals': 'voices',
    'vox': 'voices', 'singers': 'voices', 'string section': 'strings', 'string ensemble': 'strings',
    'orchestra': 'strings', 'violoncello': 'cello', 'french horn': 'horn', 'brass': 'brasses',
    'brass section': 'brasses', 'sax': 'alto-saxophone', 'saxophone': 'alto-saxophone',
    'soprano sax': 'soprano-saxophone', 'alto sax': 'alto-saxophone', 'tenor sax': 'tenor-saxophone',
    'baritone sax': 'baritone-saxophone', 'bari sax': 'baritone-saxophone', 'cor anglais': 'english-horn',
    'pan pipes': 'pan-flute', 'panflute': 'pan-flute', 'bagpipes': 'bag-pipe', 'bagpipe': 'bag-pipe',
    'synth lead': 'lead', 'synth': 'lead', 'synth pad': 'pad', 'drum': DRUMS, 'drum kit': DRUMS, 'drumkit': DRUMS,
    'drum set': DRUMS, 'kit': DRUMS, 'percussion': DRUMS, 'kettledrums': 'timpani', 'toms': 'melodic-tom',
    'cembalo': 'harpsichord', 'thumb piano': 'kalimba',
}  # fmt: skip


def _plain(name: str) -> str:
    return ' '.join(name.lower().replace('-', ' ').replace('_', ' ').split())


_BY_PLAIN_NAME: dict[str, str] = (
    {_plain(name): name for name in (*INSTRUMENTS, DRUMS)}
    | _SPOKEN
    | {_plain(name) + 's': name for name in INSTRUMENTS if not name.endswith('s')}
)


def find_instrument(name: str) -> str:
    """Return the class that a spoken name or a General MIDI program number means.

    Raises
    ------
    GenaudioError
        If the name is unknown; the message offers the nearest names.
    """
    plain = _plain(name)
    if plain in _BY_PLAIN_NAME:
        return _BY_PLAIN_NAME[plain]
    if plain.isdecimal() and int(plain) < 128 and PROGRAM_TO_LIVE_CODE[int(plain)]:
        return INSTRUMENTS[PROGRAM_TO_LIVE_CODE[int(plain)] - 1]
    hint = did_you_mean(plain, _BY_PLAIN_NAME) or f' Known are: {", ".join((*INSTRUMENTS, DRUMS))}.'
    raise GenaudioError(f"Unknown instrument '{name}'.{hint}")


def find_instruments(names: str | Iterable[str]) -> list[str]:
    """Return the classes in a list, or a comma-separated one such as ``"church organ,viola"``, each once, in order."""
    parts = names.split(',') if isinstance(names, str) else names
    found = [find_instrument(name) for name in parts if name.strip()]
    if not found:
        raise GenaudioError('No instrument named; give names such as "piano,violin".')
    return list(dict.fromkeys(found))


def instrument_code(name: str) -> int:
    """Code 1..65 of a class name (65 is drums)."""
    return DRUMS_CODE if name == DRUMS else INSTRUMENTS.index(name) + 1


def instrument_name(code: int) -> str:
    """Class name of a code 1..65."""
    return DRUMS if code == DRUMS_CODE else INSTRUMENTS[code - 1]
