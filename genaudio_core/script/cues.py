"""The cue list of a mix, as a table and as labels for Audacity."""

import csv
from pathlib import Path

from genaudio_core.files import atomic_write
from genaudio_core.script.composition import Composition
from genaudio_core.script.mixing import SAMPLE_RATE


def cue_rows(composition: Composition) -> list[dict[str, str | int | float]]:
    """One mapping for each row that sounds."""
    rows = []
    for stem in composition.mixdown.stems:
        part, row = stem.part, stem.part.row
        rows.append({
            'row': row.number, 'type': row.kind, 'layout': row.layout, 'name': row.name,
            'start_seconds': round(part.start / SAMPLE_RATE, 6), 'end_seconds': round(part.end / SAMPLE_RATE, 6),
            'start_sample': part.start, 'end_sample': part.end, 'volume_lufs': row.volume,
            'gain_db': round(stem.gain_db + composition.mixdown.gain_db, 2), 'content': row.content,
            'told': composition.told.get(row.number, ''),
        })  # fmt: skip
    return rows


def write_cues(path: Path, composition: Composition) -> None:
    """Write the cue list as CSV."""
    rows = cue_rows(composition)
    with atomic_write(path) as temporary, open(temporary, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ['row'])
        writer.writeheader()
        writer.writerows(rows)


def write_labels(path: Path, composition: Composition) -> None:
    """Write the cue list as Audacity labels (File > Import > Labels)."""
    with atomic_write(path) as temporary:
        temporary.write_text(
            ''.join(
                f'{cue["start_seconds"]:.6f}\t{cue["end_seconds"]:.6f}\t{cue["row"]} {cue["name"]}\n'
                for cue in cue_rows(composition)
            ),
            encoding='utf-8',
        )
