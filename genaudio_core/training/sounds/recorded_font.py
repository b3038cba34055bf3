"""A SoundFont of recorded notes: what is played in training on a musician's own instruments.

Recordings of single notes, one folder per instrument, the note in the file's name ('A2.ogg', 'bass_Bb1_soft.wav'),
become presets of General MIDI, which fluidsynth plays as it plays any font. The format is SoundFont 2.01 (sections 4
to 8.1.2 of the standard): one preset, one instrument, and a zone for every recording.

Notable choices

* Libraries disagree by an octave or two about what C4 is: where all notes of an instrument sound octaves beside their
  names, the sound is right.
* Every recording is brought to one level, since a font makes its loudness from velocity; several of one note become
  layers, the softer ones below.
* What holds its level (bows, winds, organs) is looped, its end faded into what comes before the loop.
* A drum kit is a folder with a folder of hits for each drum ('kick', 'closed hi-hat'), or a file for each. It becomes
  preset 0 of the percussion bank; drums that a kit lacks are lent a like one (an open hi-hat for a crash), its
  drums stand at the levels of a usual mix, and a closed hi-hat ends an open one.
"""

import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write, make_folder
from genaudio_core.music.keys import LETTERS
from genaudio_core.sound.audio_files import READABLE, read_audio, to_mono
from genaudio_core.sound.soundfont import DRUM_BANK

SAMPLE_RATE = 32_000  # Hz
LEVEL = 0.25  # root mean square of the loudest half second, full scale 1
LONGEST = 6.0  # seconds of a recording
_NOTE = re.compile(r'(?<![A-Za-z])([A-Ga-g])([#sb]?)(-?\d)(?!\d)')
_HELD = -8.0  # dB that a sound may have lost after two thirds to be one that holds its level
_FADE = 0.1  # seconds
_KEYS, _VELOCITIES, _RELEASE, _SAMPLE, _LOOPED, _ROOT, _INSTRUMENT = 43, 44, 38, 53, 54, 58, 41  # generators
_CHOKE = 57  # generator: sounds of one class end each other
# Drum -> (words of its folder or file, dB below full scale of its peak, MIDI keys, drums that can stand in for it).
DRUMS: dict[str, tuple[str, float, tuple[int, ...], tuple[str, ...]]] = {
    'kick': (r'kick|kdrum|bass ?drum|\bbd\b', -1, (35, 36), ()),
    'rim': (r'rim|side ?stick|\bss\b', -7, (37,), ('snare',)),
    'snare': (r'snare|\bsn\b', -3, (38, 40), ('clap', 'rim')),
    'clap': (r'clap', -6, (39,), ('snare',)),
    'closed': (r'closed|\bhc\b|hi ?hat|\bhats?\b', -13, (42,), ('pedal', 'open')),
    'pedal': (r'pedal|\bhf\b', -14, (44,), ('closed',)),
    'open': (r'(hat|hihat|hi hat) ?open|open ?(hi ?)?hat|\bho\b', -11, (46,), ('closed',)),
    'low tom': (r'tom ?(low|[34])', -5, (41, 43, 45), ('high tom',)),
    'high tom': (r'tom', -5, (47, 48, 50), ('low tom',)),
    'china': (r'china', -8, (52,), ('crash',)),
    'bell': (r'ride ?[lr]? ?bell', -13, (53,), ('ride',)),
    'ride': (r'ride', -13, (51, 59), ('crash', 'closed')),
    'crash': (r'crash|cymbal', -8, (49, 55, 57), ('china', 'ride', 'open')),
    'tambourine': (r'tamb|sleigh', -12, (54,), ()),
    'cowbell': (r'cowbell', -10, (56,), ()),
    'conga': (r'conga|bongo|hand ?drum|cajon|tabla', -9, (60, 61, 62, 63, 64), ()),
    'shaker': (r'shaker|maracas|cabasa', -14, (69, 70, 82), ('tambourine',)),
    'claves': (r'claves|wood ?block|temple', -12, (75, 76, 77), ()),
    'triangle': (r'triangle', -14, (80, 81), ()),
}  # fmt: skip
_SEARCHED = ('china', 'bell', 'pedal', 'open', 'rim', 'low tom')  # before those whose words are in theirs too
_HATS = ('closed', 'pedal', 'open')


class RecordedNote(NamedTuple):
    """One recording."""

    key: int  # MIDI
    audio: np.ndarray  # (n,) 16 bit integers
    loop: tuple[int, int] | None  # samples, first and one past the last
    loudness: float  # of the recording before it was brought to `LEVEL`


def note_of(name: str) -> int | None:
    """Return the MIDI key that a file's name says (C4 is 60), or None."""
    found = _NOTE.search(name)
    if found is None:
        return None
    letter, sign, octave = found.groups()
    key = 12 * (int(octave) + 1) + LETTERS[letter.lower()] + {'': 0, '#': 1, 's': 1, 'b': -1}[sign]
    return key if 0 <= key <= 127 else None


def read_instrument(folder: Path) -> list[RecordedNote]:
    """Return the notes of a folder of recordings, in order of key and loudness.

    Raises
    ------
    GenaudioError
        If no file's name says a note.
    """
    named = [(key, path) for path in sorted(folder.iterdir()) if path.suffix.lower() in READABLE
             and (key := note_of(path.stem)) is not None]  # fmt: skip
    if not named:
        raise GenaudioError(
            f'No recording in {folder} has a note in its name. Name each file after its note, e.g. A2.wav.'
        )
    sounds = [to_mono(read_audio(path, SAMPLE_RATE))[: round(LONGEST * SAMPLE_RATE)] for _, path in named]
    beside = [12 * round((pitch - key) / 12) for (key, _), sound in zip(named, sounds, strict=True)
              if (pitch := pitch_of(sound, SAMPLE_RATE)) is not None]  # fmt: skip
    octaves = int(np.median(beside)) // 12 * 12 if beside else 0
    notes = [_prepare(min(max(key + octaves, 0), 127), sound) for (key, _), sound in zip(named, sounds, strict=True)]
    return sorted(notes, key=lambda n: (n.key, n.loudness))


def read_kit(folder: Path) -> dict[int, list[RecordedNote]]:
    """Return MIDI key -> the hits of a drum kit, the softer ones first (see the module's notes).

    Raises
    ------
    GenaudioError
        If it has no kick drum, snare drum or hi-hat.
    """
    order = [*_SEARCHED, *(drum for drum in DRUMS if drum not in _SEARCHED)]
    paths: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob('*')):
        if path.suffix.lower() not in READABLE:
            continue
        words = ' '.join(re.split(r'[^a-z0-9]+', str(path.relative_to(folder).with_suffix('')).lower()))
        drum = next((drum for drum in order if re.search(DRUMS[drum][0], words)), None)
        if drum:
            paths.setdefault(drum, []).append(path)
    needed = {'kick': 'kick', 'snare': 'snare', 'closed': 'closed hi-hat'}
    if missing := [words for drum, words in needed.items() if drum not in paths]:
        raise GenaudioError(
            f"{folder} has no {' and no '.join(missing)} to make a drum kit from. Name folders of hits 'kick', "
            "'snare', 'closed hi-hat' and so on."
        )
    hits = {drum: sorted((_hit(path, DRUMS[drum][1]) for path in found), key=lambda h: h[1])
            for drum, found in paths.items()}  # fmt: skip
    kit: dict[int, list[RecordedNote]] = {}
    for drum, (_, decibels, keys, others) in DRUMS.items():
        like = next((name for name in (drum, *others) if name in hits), None)
        if like is None:
            continue
        gain = 10 ** ((decibels - DRUMS[like][1]) / 20)
        for key in keys:
            kit[key] = [RecordedNote(key, np.round(np.clip(audio * gain, -1, 1) * 32767).astype(np.int16), None,
            loudness)
                        for audio, loudness in hits[like]]  # fmt: skip
    return kit


def _hit(path: Path, decibels: float) -> tuple[np.ndarray, float]:
    """A drum's recording (n,) with a peak of `decibels`, and its loudness before."""
    audio = to_mono(read_audio(path, SAMPLE_RATE))[: round(LONGEST * SAMPLE_RATE)]
    peak = max(float(np.abs(audio).max()), 1e-6)
    return audio * (10 ** (decibels / 20) / peak), peak


def pitch_of(audio: np.ndarray, sample_rate: int) -> float | None:
    """Return the pitch of a single note (n,) as a MIDI key with fractions, None for what has none.

    The lag at which a tenth of a second is most like itself (de Cheveigné and Kawahara 2002: the normalised
    difference's first dip), in the middle of what sounds.
    """
    width = round(0.1 * sample_rate)
    longest = round(sample_rate / 25)
    start = round(0.15 * sample_rate)
    part = audio[start : start + width + longest]
    if len(part) < width + longest or not np.any(part):
        return None
    part = part - part.mean()
    energy = np.concatenate([[0.0], np.cumsum(np.square(part, dtype=np.float64))])
    lags = np.arange(longest)
    alike = np.correlate(part, part[:width], 'valid')[:longest]
    difference = energy[width] + energy[lags + width] - energy[lags] - 2 * alike
    normal = difference[1:] * np.arange(1, longest) / np.maximum(np.cumsum(difference[1:]), 1e-12)
    shortest = round(sample_rate / 5000)
    low = np.flatnonzero(normal[shortest:] < 0.15)
    if not len(low):
        return None
    at = low[0] + shortest
    while at + 1 < len(normal) and normal[at + 1] < normal[at]:
        at += 1
    return float(69 + 12 * np.log2(sample_rate / (at + 1) / 440))


def write_font(
    presets: Mapping[int, Sequence[RecordedNote]],
    path: Path,
    name: str = 'recorded',
    kit: Mapping[int, Sequence[RecordedNote]] | None = None,
) -> None:
    """Write a SoundFont with one preset of bank 0 for each General MIDI program, and one of drums for `kit`."""
    listed = [(0, program, _zones(notes), False) for program, notes in sorted(presets.items())]
    if kit:
        listed.append((DRUM_BANK, 0, _kit_zones(kit), True))
    listed = [(bank, program, list(zones), drums) for bank, program, zones, drums in listed]
    sounds = {id(note): note for _, _, zones, _ in listed for note, *_ in zones}
    place, data, headers = {}, [], b''
    at = 0
    for number, (key, note) in enumerate(sounds.items()):
        place[key] = number
        first, last = note.loop or (0, len(note.audio))
        headers += struct.pack('<20sIIIIIBbHH', f'{number}'.encode(), at, at + len(note.audio), at + first, at + last,
                               SAMPLE_RATE, note.key, 0, 0, 1)  # fmt: skip
        data += [note.audio, np.zeros(46, np.int16)]  # as many zeros as the standard asks for
        at += len(note.audio) + 46
    headers += struct.pack('<20sIIIIIBbHH', b'EOS', 0, 0, 0, 0, 0, 0, 0, 0, 0)
    phdr, pbag, pgen, inst, ibag, igen = b'', b'', b'', b'', b'', b''
    zones = 0
    for number, (bank, program, found, drums) in enumerate(listed):
        phdr += struct.pack('<20sHHHIII', f'{bank} {program}'.encode(), program, bank, number, 0, 0, 0)
        pbag += struct.pack('<HH', number, 0)
        pgen += struct.pack('<HH', _INSTRUMENT, number)
        inst += struct.pack('<20sH', f'{program}'.encode(), zones)
        for note, keys, velocities in found:
            ibag += struct.pack('<HH', len(igen) // 4, 0)
            igen += struct.pack('<HBB', _KEYS, *keys) + struct.pack('<HBB', _VELOCITIES, *velocities)
            # Timecents: 0.25 s, 0.5 s; a drum rings on.
            igen += struct.pack('<Hh', _RELEASE, 3600 if drums else -2400 if note.loop else -1200)
            if drums and any(keys[0] in DRUMS[hat][2] for hat in _HATS):
                igen += struct.pack('<HH', _CHOKE, 1)
            igen += struct.pack('<HHHH', _LOOPED, 1 if note.loop else 0, _ROOT, note.key)
            igen += struct.pack('<HH', _SAMPLE, place[id(note)])  # always a zone's last
            zones += 1
    phdr += struct.pack('<20sHHHIII', b'EOP', 0, 0, len(listed), 0, 0, 0)
    pbag += struct.pack('<HH', len(listed), 0)
    inst += struct.pack('<20sH', b'EOI', zones)
    ibag += struct.pack('<HH', len(igen) // 4, 0)
    nothing = struct.pack('<HH', 0, 0)
    info = _chunk(b'ifil', struct.pack('<HH', 2, 1)) + _chunk(b'isng', b'EMU8000\0')
    info += _chunk(b'INAM', name.encode() + bytes(2 - len(name.encode()) % 2))  # of an even length
    pdta = b''.join(_chunk(tag, body) for tag, body in (
        (b'phdr', phdr), (b'pbag', pbag), (b'pmod', bytes(10)), (b'pgen', pgen + nothing), (b'inst', inst),
        (b'ibag', ibag), (b'imod', bytes(10)), (b'igen', igen + nothing), (b'shdr', headers),
    ))  # fmt: skip
    body = b'sfbk' + _chunk(b'LIST', b'INFO' + info)
    body += _chunk(b'LIST', b'sdta' + _chunk(b'smpl', np.concatenate(data).astype('<i2').tobytes()))
    body += _chunk(b'LIST', b'pdta' + pdta)
    make_folder(path.parent)
    with atomic_write(path) as temporary:
        temporary.write_bytes(_chunk(b'RIFF', body))


def _zones(notes: Sequence[RecordedNote]) -> Iterable[tuple[RecordedNote, tuple[int, int], tuple[int, int]]]:
    """The notes with the keys and velocities at which they sound: all keys, each through the nearest recording."""
    keys = sorted({note.key for note in notes})
    bounds = [-1, *((a + b) // 2 for a, b in pairwise(keys)), 127]
    for number, key in enumerate(keys):
        layers = [note for note in notes if note.key == key]
        steps = np.linspace(0, 128, len(layers) + 1).astype(int)
        for note, (low, high) in zip(layers, pairwise(steps), strict=True):
            yield note, (bounds[number] + 1, bounds[number + 1]), (int(low), int(high) - 1)


def _kit_zones(
    kit: Mapping[int, Sequence[RecordedNote]],
) -> Iterable[tuple[RecordedNote, tuple[int, int], tuple[int, int]]]:
    for key, layers in sorted(kit.items()):
        steps = np.linspace(0, 128, len(layers) + 1).astype(int)
        for note, (low, high) in zip(layers, pairwise(steps), strict=True):
            yield note, (key, key), (int(low), int(high) - 1)


def _prepare(key: int, audio: np.ndarray) -> RecordedNote:
    width = max(len(audio) // 2 if len(audio) < SAMPLE_RATE else SAMPLE_RATE // 2, 1)
    energy = np.concatenate([[0.0], np.cumsum(np.square(audio, dtype=np.float64))])
    power = (energy[width:] - energy[:-width]) / width
    loud = float(np.sqrt(power.max()))
    audio = audio * min(LEVEL / max(loud, 1e-6), 0.98 / max(float(np.abs(audio).max()), 1e-6))
    loop, fade = None, round(_FADE * SAMPLE_RATE)
    first, last = len(audio) // 2, len(audio) - round(0.05 * SAMPLE_RATE)  # before the fade-out of a cut recording
    held = power[min(2 * len(audio) // 3, len(power) - 1)] / max(power.max(), 1e-12)
    if last - first > 3 * fade and 10 * np.log10(max(held, 1e-12)) > _HELD:
        rise = np.linspace(0, 1, fade)
        audio = audio[:last].copy()
        audio[last - fade :] = audio[last - fade :] * np.sqrt(1 - rise) + audio[first - fade : first] * np.sqrt(rise)
        loop = (first, last)
    return RecordedNote(key, np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16), loop, loud)


def _chunk(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack('<I', len(body)) + body + b'\0' * (len(body) % 2)
