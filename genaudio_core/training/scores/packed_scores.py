"""One compact, memory-mapped file that holds all scores to train on.

It is a safetensors file of columns: a piece is a slice of the note columns, of the meter columns and of the chord
columns. The header carries a JSON report (pieces, notes, instruments, what was skipped and why).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.files import atomic_write, check_readable
from genaudio_core.jobs.cluster import Cluster
from genaudio_core.jobs.pool import each
from genaudio_core.music.chord_recognition import Segment, recognise_score
from genaudio_core.music.descriptions import chord_code
from genaudio_core.music.events import DRUM_PROGRAM, NOTE_TYPE, TRACKED_NOTE_TYPE, meter_code, note_table
from genaudio_core.music.keys import parse_chord
from genaudio_core.music.layouts import RESOLUTION
from genaudio_core.score.instruments import DRUMS, DRUMS_CODE, PROGRAM_TO_LIVE_CODE, instrument_name
from genaudio_core.score.notes import Score
from genaudio_core.training.scores.score_files import ScoreFile, find_scores, read_score, work_of

FORMAT_VERSION = '2'  # 2: chords, and the track of every note
MIN_NOTES = 50  # as published; ...
MIN_DRUM_NOTES = 8  # ... a drum groove is short by nature
SPLITS = ('train', 'valid', 'test')
VALID_SHARE, TEST_SHARE = 0.03, 0.03
MAX_STEP = 2000 * 4 * RESOLUTION  # the published conversion keeps pieces of up to 2,000 bars


@dataclass
class PackedPiece:
    """The contents of one file, as `read_piece` finds them."""

    source: str
    name: str
    notes: np.ndarray  # NOTE_TYPE or TRACKED_NOTE_TYPE, sorted by step
    meters: np.ndarray  # (n, 2): step, meter code
    chords: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.int32))  # (n, 2): step, chord code
    # (n, 2): onset and length less those of `notes`, in steps, by the rules of the published layout; None: alike
    published: np.ndarray | None = None


def read_piece(file: ScoreFile, min_notes: int = MIN_NOTES) -> PackedPiece | tuple[str, str, str]:
    """Read one file; a bad one, or one with fewer notes (drums alone may be shorter), gives (source, name, why)."""
    try:
        score = read_score(file)
    except GenaudioError as error:
        return file.source, file.name, str(error).replace('The MIDI data', 'the file')
    table = note_table(score, tracks=True)
    drums = int((table['program'] == DRUM_PROGRAM).sum())
    if len(table) < (min(MIN_DRUM_NOTES, min_notes) if drums == len(table) else min_notes):
        return file.source, file.name, f'only {len(table)} notes'
    other = note_table(score, as_published=True)
    published = np.stack([other[name] - table[name] for name in ('step', 'duration')], axis=1).astype(np.int8)
    kept = (table['step'] < MAX_STEP) & (table['step'] >= 0)
    table, published = table[kept], published[kept]
    order = np.lexsort((table['pitch'], table['step']))
    table, published = table[order], published[order]
    meters = [(round(m.beat * RESOLUTION), meter_code(m.numerator, m.denominator)) for m in score.meters]
    chords = chords_of(score, file.facts)
    return PackedPiece(file.source, file.name, table, np.array(meters, np.int32).reshape(-1, 2), chords, published)


def _read_numbered(numbered: tuple[int, ScoreFile]) -> PackedPiece | tuple[str, str, str]:
    return read_piece(numbered[1])


def chords_of(score: Score, facts: dict | None = None) -> np.ndarray:
    """Where chords begin, (n, 2) int32 of step and chord code: from the facts of written music, or as recognised."""
    if facts is not None:
        segments = [Segment(beat, length, parse_chord(symbol)) for beat, length, symbol in facts['chords']]
    else:
        segments = recognise_score(score)
    rows = [(round(segment.beat * RESOLUTION), chord_code(segment.chord)) for segment in segments]
    return np.array(rows, np.int32).reshape(-1, 2)


def split_by_work(works: list[str]) -> np.ndarray:
    """0 train, 1 valid, 2 test for each piece (n,), by the name of its work, so that adding data moves none.

    Small collections, which may get no held-out work that way, lend one for each split.
    """
    place = {w: int.from_bytes(hashlib.sha256(w.encode()).digest()[:4], 'big') / 2**32 for w in works}
    splits = np.array([1 if place[w] < VALID_SHARE else 2 if place[w] < VALID_SHARE + TEST_SHARE else 0 for w in works])
    by_place = sorted(place, key=lambda work: place[work])
    if len(by_place) >= 3:
        for split, lent in ((1, by_place[0]), (2, by_place[-1])):
            if not (splits == split).any():
                splits[[work == lent for work in works]] = split
    return splits.astype(np.uint8)


def fingerprints(pitch: np.ndarray, length: int = 12) -> np.ndarray:
    """A 64-bit hash for every run of `length` notes of pitches (n,), blind to transposition and to rhythm."""
    interval = np.diff(pitch.astype(np.int64)).astype(np.uint64)
    if len(interval) < length:
        return np.empty(0, np.uint64)
    code = np.zeros(len(interval) - length + 1, np.uint64)
    with np.errstate(over='ignore'):
        for i in range(length):
            code = code * np.uint64(6364136223846793005) + interval[i : i + len(code)] + np.uint64(1442695040888963407)
    return np.unique(code)


def near_duplicates(pieces: list[PackedPiece], splits: np.ndarray) -> list[int]:
    """Held-out pieces that share over 30% of their note runs with a training piece, by their splits (n,)."""
    train = [fingerprints(piece.notes['pitch']) for piece, split in zip(pieces, splits, strict=True) if split == 0]
    known = np.unique(np.concatenate(train)) if train else np.empty(0, np.uint64)
    found = []
    for i in np.flatnonzero(splits != 0):
        own = fingerprints(pieces[i].notes['pitch'])
        if len(own) and np.isin(own, known, assume_unique=True).mean() > 0.3:
            found.append(int(i))
    return found


def prepare(
    folders: list[Path], out: Path, *, workers: int | None = 1, cluster: Cluster | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict:  # fmt: skip
    """Pack every score in `folders` into `out`, by processes or the nodes of a cluster; return the report.

    Bad files are skipped and named in the report. Exact duplicates count once. A held-out piece that nearly
    repeats a training piece is left out of its split.

    Raises
    ------
    GenaudioError
        If nothing usable was found.
    """
    pieces: list[PackedPiece] = []
    skipped: list[tuple[str, str, str]] = []
    seen: set[bytes] = set()
    found: dict[int, PackedPiece | tuple[str, str, str]] = {}
    for (place, file), result in each(_read_numbered, enumerate(find_scores(folders)), workers, cluster):
        if isinstance(result, GenaudioError):  # its process ended
            result = (file.source, file.name, str(result))
        elif isinstance(result, Exception):
            raise result
        found[place] = result
        progress(len(found))
    for _, result in sorted(found.items(), key=lambda pair: pair[0]):  # of files that are alike the first one counts
        if not isinstance(result, PackedPiece):
            skipped.append(result)
            continue
        digest = hashlib.sha256(plain(result.notes).tobytes()).digest()
        if digest in seen:
            skipped.append((result.source, result.name, 'the same notes as another file'))
        else:
            seen.add(digest)
            pieces.append(result)
    if not pieces:
        why = f' First reason: {skipped[0][1]}: {skipped[0][2]}.' if skipped else ''
        raise GenaudioError(f'No usable score in {", ".join(map(str, folders))}.{why}')

    splits = split_by_work([work_of(piece.source, piece.name) for piece in pieces])
    repeats = set(near_duplicates(pieces, splits))
    for i in repeats:
        why = f'held out, but another edition of it is trained on ({SPLITS[splits[i]]})'
        skipped.append((pieces[i].source, pieces[i].name, why))
    splits = splits[[i for i in range(len(pieces)) if i not in repeats]]
    pieces = [piece for i, piece in enumerate(pieces) if i not in repeats]
    return pack(pieces, splits, out, skipped)


def plain(table: np.ndarray) -> np.ndarray:
    """A note table (n,) without the column of tracks."""
    if table.dtype == NOTE_TYPE:
        return table
    result = np.empty(len(table), NOTE_TYPE)
    for name in NOTE_TYPE.names or ():
        result[name] = table[name]
    return result


def _published(piece: PackedPiece) -> np.ndarray:
    return np.zeros((len(piece.notes), 2), np.int8) if piece.published is None else piece.published


def _tracks(table: np.ndarray) -> np.ndarray:
    """The column of tracks; a table without one has a track for every program."""
    if 'track' in (table.dtype.names or ()):
        return table['track']
    return np.unique(table['program'], return_inverse=True)[1].astype(np.uint8)


def pack(pieces: list[PackedPiece], splits: np.ndarray, out: Path, skipped: list[tuple[str, str, str]]) -> dict:
    """Write pieces with their splits (n,), indices into `SPLITS`, as a data file; return the report."""
    from safetensors.numpy import save_file

    notes = np.concatenate([plain(piece.notes) for piece in pieces])
    report = _report(pieces, splits, notes, skipped)
    sources = sorted({piece.source for piece in pieces})
    tensors = {
        'step': notes['step'],
        'duration': np.minimum(notes['duration'], 65535).astype(np.uint16),
        'pitch': notes['pitch'],
        'velocity': notes['velocity'],
        'program': notes['program'],
        'track': np.concatenate([_tracks(piece.notes) for piece in pieces]),
        'published': np.concatenate([_published(piece) for piece in pieces]),
        'note_offset': np.cumsum([0] + [len(piece.notes) for piece in pieces]),
        'meter': np.concatenate([piece.meters for piece in pieces]),
        'meter_offset': np.cumsum([0] + [len(piece.meters) for piece in pieces]),
        'chord': np.concatenate([piece.chords for piece in pieces]),
        'chord_offset': np.cumsum([0] + [len(piece.chords) for piece in pieces]),
        'split': splits,
        'source': np.array([sources.index(piece.source) for piece in pieces], np.uint16),
    }
    metadata = {
        'genaudio_scores': FORMAT_VERSION,
        'resolution': str(RESOLUTION),
        'sources': json.dumps(sources),
        'names': json.dumps([piece.name for piece in pieces]),
        'report': json.dumps(report),
    }
    with atomic_write(out) as temporary:
        save_file({name: np.ascontiguousarray(column) for name, column in tensors.items()}, temporary, metadata)
    return report


def _report(pieces: list[PackedPiece], splits: np.ndarray, notes: np.ndarray, skipped: list) -> dict:
    code_of = np.array([*PROGRAM_TO_LIVE_CODE, DRUMS_CODE])
    counts = np.bincount(code_of[notes['program']], minlength=DRUMS_CODE + 1)
    by_instrument = {
        (instrument_name(code) if code else 'sound effects (not used)'): int(counts[code])
        for code in np.argsort(-counts)
        if counts[code]
    }
    per_source: dict[str, dict[str, int]] = {}
    for piece, split in zip(pieces, splits, strict=True):
        entry = per_source.setdefault(piece.source, dict.fromkeys(('pieces', 'notes', *SPLITS), 0))
        entry['pieces'] += 1
        entry['notes'] += len(piece.notes)
        entry[SPLITS[split]] += 1
    return {
        'pieces': len(pieces),
        'notes': len(notes),
        'drum_notes': by_instrument.get(DRUMS, 0),
        'split': {name: int((splits == i).sum()) for i, name in enumerate(SPLITS)},
        'sources': per_source,
        'instruments': by_instrument,
        'skipped': len(skipped),
        'skipped_why': dict(Counter(why for _, _, why in skipped).most_common(20)),
        'skipped_files': [f'{source}/{name}: {why}' for source, name, why in skipped],
    }


class ScoreData:
    """A prepared file, memory-mapped: many processes share one copy.

    Raises
    ------
    GenaudioError
        If the file is not one that `prepare` of this version wrote.
    """

    def __init__(self, path: str | Path):
        path = Path(path)
        try:
            with check_readable(path, 'data file').open('rb') as file:
                size = int.from_bytes(file.read(8), 'little')
                if size > 1 << 30:
                    raise ValueError
                head = json.loads(file.read(size))
        except OSError as error:
            raise GenaudioError(f'Cannot read {path}: {error.strerror}. Make one: genaudio-train prepare') from error
        except (ValueError, RecursionError):
            head = None
        if not isinstance(head, dict):
            raise GenaudioError(f'{path} is not a genaudio data file. Make one: genaudio-train prepare')
        metadata = head.pop('__metadata__', None) or {}
        if 'genaudio_scores' not in metadata:
            raise GenaudioError(f'{path} is not a genaudio data file. Make one: genaudio-train prepare')
        if metadata['genaudio_scores'] != FORMAT_VERSION:
            raise GenaudioError(f'{path} was made by another version. Make it again: genaudio-train prepare')
        try:
            self._map(path, 8 + size, head, metadata)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise GenaudioError(
                f'{path} is damaged or cut off ({one_line(error)}). Make it again: genaudio-train prepare'
            ) from error
        self.path = path

    def _map(self, path: Path, start: int, head: dict[str, Any], metadata: dict[str, str]) -> None:
        """Map the columns that `head` describes, from byte `start` on."""
        # safetensors' own numpy loader copies; mapping its plain layout shares the pages.
        types = {'I32': '<i4', 'U16': '<u2', 'U8': 'u1', 'I8': 'i1', 'I64': '<i8'}
        raw = np.memmap(path, mode='r')
        columns = {
            name: raw[start + begin : start + end].view(types[entry['dtype']]).reshape(entry['shape'])
            for name, entry in head.items()
            for begin, end in [entry['data_offsets']]
        }
        self._notes = {name: columns[name] for name in TRACKED_NOTE_TYPE.names or ()}
        self._published = columns.get('published')  # files of before it was kept have none
        self._chords, self._chord_offset = columns['chord'], columns['chord_offset']
        self._meters, self._meter_offset = columns['meter'], columns['meter_offset']
        self.offset = columns['note_offset']
        self.split, self.source = np.asarray(columns['split']), np.asarray(columns['source'])
        self.sources: list[str] = json.loads(metadata['sources'])
        self.names: list[str] = json.loads(metadata['names'])
        self.report: dict = json.loads(metadata['report'])

    def __len__(self) -> int:
        return len(self.offset) - 1

    def indices(self, split: str) -> np.ndarray:
        """The indices (n,) of the pieces of a split."""
        return np.flatnonzero(self.split == SPLITS.index(split))

    def n_notes(self, index: int) -> int:
        return int(self.offset[index + 1] - self.offset[index])

    def notes(
        self, index: int, begin: int = 0, end: int | None = None, *, tracks: bool = False, as_published: bool = False
    ) -> np.ndarray:
        """Note table (n,) of a piece (its notes `begin` to `end`, sorted by step).

        With `tracks` it is of TRACKED_NOTE_TYPE; `as_published` rounds as the published layout does.

        Raises
        ------
        GenaudioError
            If the file was prepared before that was kept.
        """
        first, last = int(self.offset[index]), int(self.offset[index + 1])
        piece = slice(first + begin, last if end is None else min(first + end, last))
        table = np.empty(max(piece.stop - piece.start, 0), TRACKED_NOTE_TYPE if tracks else NOTE_TYPE)
        for name in table.dtype.names or ():
            table[name] = self._notes[name][piece]
        if as_published:
            if self._published is None:
                raise GenaudioError(
                    f'{self.path} was prepared before the published rounding was kept. Make it again: genaudio-train '
                    'prepare'
                )
            for i, name in enumerate(('step', 'duration')):
                table[name] += self._published[piece, i]
            table = table[np.argsort(table['step'], kind='stable')]
        return table

    def meters(self, index: int) -> list[tuple[int, int]]:
        """(step, meter code) pairs of a piece."""
        rows = self._meters[int(self._meter_offset[index]) : int(self._meter_offset[index + 1])]
        return [(int(step), int(code)) for step, code in rows]

    def chords(self, index: int) -> np.ndarray:
        """(n, 2): steps at which chords of a piece begin, and their codes (`descriptions.chord_code`)."""
        return np.asarray(self._chords[int(self._chord_offset[index]) : int(self._chord_offset[index + 1])])

    def pieces(self, split: str) -> Iterator[tuple[int, np.ndarray, list[tuple[int, int]]]]:
        """(index, note table, meters) of every piece of a split."""
        for index in self.indices(split):
            yield int(index), self.notes(int(index)), self.meters(int(index))
