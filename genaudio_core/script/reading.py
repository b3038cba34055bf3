"""An audio script read from a file: CSV, JSON or TOML."""

import csv
import io
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from genaudio_core.errors import GenaudioError
from genaudio_core.script.table import COLUMNS, MAX_BYTES, SHOWN, Faults, Script, parse_rows, plain_name
from genaudio_core.tables import unknown


def read_script(path: str | Path, extra_check: Callable[[Script, Faults], None] | None = None) -> Script:
    """Read and check a script: .csv, .toml or .json.

    Parameters
    ----------
    extra_check : callable, optional
        Adds faults that only the makers know (a missing voice); called with what could be read of the script.

    Raises
    ------
    GenaudioError
        With every fault of the script, one line each, or because the file cannot be read.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in ('.csv', '.tsv', '.toml', '.json'):
        raise GenaudioError(f"An audio script is a .csv, .toml or .json file, not '{path.name}'.")
    text = _text_of(path)
    voices: Mapping[str, Any] = {}
    lines: list[int] | None = None
    faults_at_top: list[str] = []
    if suffix in ('.csv', '.tsv'):
        raw, lines = _read_csv(text, path)
    else:
        try:
            if suffix == '.toml':
                tree = tomllib.loads(text)
            else:
                tree = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_twice)
        except (ValueError, RecursionError) as error:  # what both raise is a ValueError
            raise GenaudioError(f'{path}: not a {suffix[1:].upper()} file: {error}.') from error
        if isinstance(tree, dict):
            voices = tree.get('voices', {})
            strange = sorted(set(tree) - {'rows', 'voices'})
            faults_at_top = [str(unknown('section', '', key, ('rows', 'voices'))) for key in strange]
            tree = tree.get('rows', [])
        raw = tree
        if not isinstance(raw, list) or not all(isinstance(row, dict) for row in raw):
            how = '[[rows]] above each row' if suffix == '.toml' else 'a list of objects, one for each row'
            raise GenaudioError(f'{path}: write {how}.')
    faults = Faults((lambda number: f'row {number} (line {lines[number - 1]})') if lines else lambda n: f'row {n}')
    for text in faults_at_top:
        faults.add(0, text)
    script = parse_rows(raw, faults, path=path, voices=voices)
    if extra_check is not None:
        extra_check(script, faults)
    faults.tell(path)
    return script


def _no_constant(name: str) -> None:
    raise ValueError(f'{name} is not JSON')


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"'{twice}' is given twice in one row")
    return found


def _text_of(path: Path) -> str:
    try:
        if path.is_dir():
            raise GenaudioError(f'{path} is a folder; give an audio script.')
        if path.exists() and not path.is_file():
            raise GenaudioError(f'{path} is a pipe or a device; give an audio script.')
        with open(path, 'rb') as file:
            raw = file.read(MAX_BYTES + 1)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise GenaudioError(f'Cannot read {path}: {error.strerror}.') from error
    if len(raw) > MAX_BYTES:
        raise GenaudioError(f'{path}: too large for an audio script ({size >> 20} MiB).')
    # Spreadsheets save UTF-8 with a mark at the front, or UTF-16 ("Unicode text").
    encoding = 'utf-16' if raw[:2] in (b'\xff\xfe', b'\xfe\xff') else 'utf-8-sig'
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise GenaudioError(f'{path}: not UTF-8 text. Save it as "CSV UTF-8".') from error


def _read_csv(text: str, path: Path) -> tuple[list[dict[str, str]], list[int]]:
    """Rows as mappings and the line each ends on. The separator is what makes most of the header known."""
    if '\0' in text:
        raise GenaudioError(f'{path}: not a CSV file in UTF-8. Save it as "CSV UTF-8".')
    if named := re.match(r'\s*"?sep=(.)"?[ \t]*\r?\n', text, re.IGNORECASE):  # how a spreadsheet is told the separator
        text = '\n' + text[named.end() :]
    first = next((line for line in text.splitlines() if line.strip()), '')
    separator = max(',;\t', key=lambda mark: sum(plain_name(name) in COLUMNS for name in first.split(mark)))
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=separator, skipinitialspace=True, strict=True)
    rows: list[dict[str, str]] = []
    lines: list[int] = []
    header: list[str] | None = None
    begin = 1  # line on which the row begins
    try:
        for cells in reader:
            begin = reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                twice = next((name for name in header if name and header.count(name) > 1), None)
                if twice is not None:
                    raise GenaudioError(f"{path}: two columns are called '{twice}'; remove one.")
                if not any(plain_name(name) in COLUMNS for name in header):
                    raise GenaudioError(f'{path}: the first line must name the columns: {", ".join(SHOWN)}.')
                continue
            row = {name: cell for name, cell in zip(header, cells, strict=False) if cell.strip()}
            if any(cell.strip() for cell in cells[len(header) :]):
                row['\0'] = 'more'  # told as a fault of this row
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        if 'unexpected end' in str(error) or 'expected after' in str(error):
            error = csv.Error('a quotation mark is not closed, or is inside a text (write "" there)')
        raise GenaudioError(f'{path}, line {begin}: {error}.') from error
    return rows, lines
