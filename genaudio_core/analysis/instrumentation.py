"""How well a model tells parts that are known: accuracy as in Dong et al. (ISMIR 2021), beside their baselines.

The notes of a piece are poured into one sequence, and each is given back to one of its parts. Accuracy is over all
notes together, of at most 2,000 a piece. Crossings are notes that begin while another part sounds on the wrong side.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from genaudio_core.arranging.assigning import Costs, Lines, assign
from genaudio_core.arranging.baselines import closest, commonest, fit_zones, zones
from genaudio_core.arranging.part_model import PartModel
from genaudio_core.errors import GenaudioError
from genaudio_core.files import read_arrays
from genaudio_core.score.notes import Track
from genaudio_core.training.scores.packed_scores import ScoreData
from genaudio_core.training.scores.part_batches import Mixture, mixture

LONGEST = 2000  # notes of a piece, as published
QUARTET, CHOIR = ('violin', 'violin', 'viola', 'cello'), ('voices',) * 4
BAND = ('piano', 'electric-guitar', 'electric-bass', 'strings', 'brasses')
ENSEMBLES = {'quartet': QUARTET, 'chorale': CHOIR, 'band': BAND}
"""Ensemble -> its parts; there is no clean music of the paper's fourth, the games' three voices."""
GROUPS = {'musicnet': 'quartet', 'bach': 'chorale', 'quartet': 'quartet', 'chorale': 'chorale', 'band': 'band'}
"""Beginning of a name in an .npz of notes -> ensemble."""
_BAND = {
    **dict.fromkeys(range(8), 0), **dict.fromkeys(range(24, 32), 1), **dict.fromkeys(range(32, 40), 2),
    **dict.fromkeys((*range(40, 46), *range(48, 52)), 3), **dict.fromkeys(range(56, 64), 4),
}  # fmt: skip


def pieces_of_notes(path: Path) -> dict[str, list[Mixture]]:
    """Ensemble -> pieces of an .npz of arrays (n, 4): time in 24ths of a beat, pitch, length, label; sorted.

    Raises
    ------
    GenaudioError
        If it is none, or of other ensembles.
    """
    found: dict[str, list[Mixture]] = {}
    try:
        for name, array in read_arrays(path, 'table of notes').items():
            rows = array[:LONGEST].astype(np.int64)
            ensemble = GROUPS[name.split('/')[0]]
            one = Mixture(rows[:, 0] / 24, rows[:, 1], rows[:, 2] / 24, rows[:, 3], ENSEMBLES[ensemble])
            found.setdefault(ensemble, []).append(one)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise GenaudioError(f'{path} contains no notes of {", ".join(GROUPS)} to judge by ({error}).') from None
    return found


def pieces_of_data(data: ScoreData, ensemble: str, split: str, most: int | None = None) -> list[Mixture]:
    """Pieces of a split of prepared scores that have the parts of an ensemble, two for a band; whole."""
    names = ENSEMBLES[ensemble]
    found = []
    for index in data.indices(split):
        table = data.notes(int(index), tracks=True)
        if ensemble == 'band':
            part = np.array([_BAND.get(program, -1) for program in table['program'].tolist()])
            # What decides is the family: written with the first program of each, the parts come out as they should.
            program = np.array([0, 26, 33, 48, 61, 0])[part]
            table = table.copy()
            table['program'], table['track'] = program, part.clip(0)
            mixed = mixture(table[part >= 0])
            if len(mixed.names) < 3 or len(table) < 100:
                continue
            place = np.array([names.index(name) for name in mixed.names])
            mixed = mixed._replace(part=place[mixed.part], names=names)
        else:
            programs = np.unique(table['program']).tolist()
            if {Track(program).instrument for program in programs if program < 128} != set(names):
                continue
            mixed = mixture(table)
            if mixed.names != names:
                continue
        found.append(mixed)
        if most and len(found) >= most:
            break
    return found


def evaluate(
    model: PartModel, pieces: dict[str, list[Mixture]], train: dict[str, list[Mixture]], costs: Costs | None = None
) -> list[dict]:
    """Rows of a table: ensemble, way, and what was measured; `train` gives the baselines their zones."""
    rows: list[dict] = []
    for ensemble, mixtures in pieces.items():
        if not mixtures:
            continue
        names = ENSEMBLES[ensemble]
        ways: dict[str, list[np.ndarray]] = {}
        learned = train.get(ensemble, [])
        if learned:
            pitch, part = (np.concatenate([getattr(one, key) for one in learned]) for key in ('pitch', 'part'))
            if len(names) == 4:  # with four cuts there are too many to try
                cuts = fit_zones(pitch, part, len(names))
                ways['zone'] = [zones(one.pitch, cuts) for one in mixtures]
            ways['commonest'] = [commonest(part, len(one.pitch)) for one in mixtures]
        for name, mono in (('closest', False), ('closest, mono', True)):
            ways[name] = [
                closest(one.onset, one.pitch, one.onset + one.length, one.part, len(names), mono=mono)
                for one in mixtures
            ]
        for reading in ('live', 'whole') if not model.is_published else ('whole' if model.hears_all else 'live',):
            for searched in (False, True):
                ways[f'{reading}{", searched" if searched else ""}'] = [
                    told(model, one, live=reading == 'live', costs=(costs or Costs()) if searched else None)
                    for one in mixtures
                ]
        rows += [
            {'ensemble': ensemble, 'way': way, **figures(mixtures, found), 'pieces': len(mixtures)}
            for way, found in ways.items()
        ]
    return rows


def told(model: PartModel, one: Mixture, *, live: bool, costs: Costs | None) -> np.ndarray:
    """The parts (n,) that a model tells: the likeliest of each note, or with `costs` the best of all together.

    Live the parts of an onset are given out together, and nothing is taken back later.
    """
    end = one.onset + one.length
    hint = entries(one) if model.takes_hints else None
    scores = model.scores(one.onset, one.pitch, end, one.names, live=live, hint=hint)
    if costs is None:
        return scores.argmax(axis=1)
    return assign(scores, one.onset, one.pitch, end, one.names, costs=costs, live=live)


def entries(one: Mixture) -> np.ndarray:
    """The paper's entry hints (n, parts): -1 before a part's first note, 0 at it, 1 after it; 0 if it never plays."""
    hint = np.zeros((len(one.part), len(one.names)), np.float32)
    for part in range(len(one.names)):
        where = np.flatnonzero(one.part == part)
        if len(where):
            hint[:, part] = np.sign(np.arange(len(one.part)) - where[0])
    return hint


def figures(mixtures: Sequence[Mixture], found: Iterable[np.ndarray]) -> dict[str, float]:
    """Figures of the parts (n,) found for each mixture.

    Notes; accuracy in %, also with the parts of one instrument taken as one; crossings in % of the notes.
    """
    right = merged = crossed = notes = 0
    for one, part in zip(mixtures, found, strict=True):
        alike = np.array([one.names.index(name) for name in one.names])
        right += int((part == one.part).sum())
        merged += int((alike[part] == alike[one.part]).sum())
        crossed += crossings(one, part)
        notes += len(part)
    share = 100 / max(notes, 1)
    return {'notes': notes, 'accuracy': right * share, 'merged': merged * share, 'crossings': crossed * share}


def crossings(one: Mixture, part: np.ndarray) -> int:
    """How many notes, with parts (n,), begin on the wrong side of what another part of one voice or two sounds."""
    lines = Lines(one.names, Costs(0.0, 1.0, 0.0, 0.0, 0.0), exact=False)
    count = 0
    for i in range(len(part)):
        onset, pitch = float(one.onset[i]), int(one.pitch[i])
        count += bool(lines.costs_of(pitch, onset)[0, part[i]] > 0)
        lines.take(np.zeros(1, np.int64), part[i : i + 1], pitch, onset, onset + float(one.length[i]))
    return count
