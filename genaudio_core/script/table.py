"""The audio script: a table whose rows become a mix. Reading, checking, and where each row stands in time.

Columns (in brackets the keys of WavJourney's JSON, Liu et al. 2023, which are read too):

========================  ================================================================================
Audio Type (audio_type)   Music, Speech or Sound effect
Layout (layout)           Foreground: one after the other. Background: under the rows between Begin and End
ID (id)                   background only: what Begin and End have in common
Character (character)     speech only
Volume dB (vol)           integrated loudness of the row, in LUFS; a usual value stands in where it is empty
Action (action)           background only: Begin or End
Content or Description    what is said, or what is heard (text, desc); the name of a sound file plays that file
Duration (len)            seconds or Auto; background lasts from Begin to End, speech as long as it takes
File (file)               a recording to use instead of making one; Content is then only a note
Fade in, Fade out         seconds; optional
========================  ================================================================================

`read_script` reads CSV, TOML (``[[rows]]``) and JSON and collects every fault of the whole script, so that a person
mends it in one go; `timeline` places the rows, to the sample. Nothing is made here.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.sound.audio_files import READABLE
from genaudio_core.tables import Setting, Table, unknown

MUSIC, SPEECH, EFFECT = 'music', 'speech', 'sound effect'
FOREGROUND, BACKGROUND = 'foreground', 'background'
BEGIN, END = 'begin', 'end'
AUTO_SECONDS = {MUSIC: 10.0, EFFECT: 2.0}
"""Length of a foreground row whose Duration is Auto; a row that plays a file lasts as long as its file."""
USUAL_VOLUME = {
    (SPEECH, FOREGROUND): -20.0, (EFFECT, FOREGROUND): -24.0, (MUSIC, FOREGROUND): -24.0,
    (EFFECT, BACKGROUND): -34.0, (MUSIC, BACKGROUND): -32.0,
}  # fmt: skip
"""Volume (LUFS) of a row whose Volume is empty."""
VOLUME = Setting(kind=float, low=-70, high=0, unit='dB')  # what is under -70 LUFS the measurement calls silence
DURATION = Setting(kind=float, above=0, high=600, unit='s')  # of one row
FADE = Setting(kind=float, low=0, high=60, unit='s')
MAX_TOTAL = 3600.0  # seconds of a mix: half an hour of stereo takes 635 MB, and as much again for its rows
MAX_ROWS, MAX_BYTES = 2000, 4 << 20
SUFFIXES = (*READABLE, '.mid', '.midi')
# Recordings of kinds that are not read; a content that ends like that and is one word means the file.
_FOREIGN = re.compile(
    r'\S+\.(m4a|m4b|aac|ac3|amr|ape|mka|mkv|mov|mp2|mp4|mpc|mpeg|mpg|ra|avi|webm|wma|wmv|wv|3gp|aup3?|als|ptx|sf2)',
    re.IGNORECASE,
)  # fmt: skip

COLUMNS: dict[str, str] = {
    'audiotype': 'kind', 'type': 'kind', 'layout': 'layout', 'id': 'id', 'character': 'character',
    'volumedb': 'volume', 'volume': 'volume', 'vol': 'volume', 'volumelufs': 'volume', 'action': 'action',
    'contentordescription': 'content', 'content': 'content', 'description': 'content', 'desc': 'content',
    'text': 'content', 'duration': 'duration', 'durationseconds': 'duration', 'durations': 'duration',
    'len': 'duration', 'length': 'duration', 'file': 'file', 'fadein': 'fade_in', 'fadeout': 'fade_out',
}  # fmt: skip
SHOWN = (
    'Audio Type', 'Layout', 'ID', 'Character', 'Volume dB', 'Action', 'Content', 'Description', 'Duration', 'File',
    'Fade in', 'Fade out',
)  # fmt: skip
_KINDS: dict[str, str] = {
    'music': MUSIC, 'speech': SPEECH, 'sound effect': EFFECT, 'soundeffect': EFFECT, 'sfx': EFFECT, 'effect': EFFECT,
    'sound effects': EFFECT,
}  # fmt: skip


def _check_name(name: str) -> None:
    if not name or name.startswith('-'):
        raise GenaudioError(f"'{name}' is not the name of a voice; write one such as 'en-gb'.")


VOICE = Table(
    {
        'voice': Setting(None, 'language, or a voice that the engine knows', kind=str, valid=_check_name),
        'pitch': Setting(None, kind=int, low=0, high=99),
        'speed': Setting(None, kind=int, low=60, high=450, unit='words a minute'),
    },
    example="write [voices.NAME] and below it voice = 'en-gb', pitch = 50, speed = 160",
)
"""How somebody speaks, in a script; what is left out is chosen."""


@dataclass(frozen=True)
class Row:
    """One checked row."""

    number: int  # counted from 1, without the header
    kind: str  # MUSIC, SPEECH or EFFECT
    layout: str = FOREGROUND
    content: str = ''
    volume: float = -24.0  # LUFS
    id: str = ''  # background only
    action: str = ''  # background only: BEGIN or END
    character: str = ''  # speech only
    seconds: float | None = None  # None: Auto
    file: Path | None = None  # a recording (or MIDI file) to play
    fade_in: float | None = None  # seconds; None: the usual
    fade_out: float | None = None

    @property
    def name(self) -> str:
        """Its name in a list: its ID or character, or the first words of its content."""
        return self.id or self.character or ' '.join(self.content.split()[:4]) or self.kind


@dataclass(frozen=True)
class Script:
    """All rows, and the settings that a TOML file may hold beside them."""

    rows: tuple[Row, ...]
    path: Path | None = None
    voices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # character -> voice, pitch, speed

    @property
    def foreground(self) -> list[Row]:
        """The rows that sound one after the other."""
        return [row for row in self.rows if row.layout == FOREGROUND]

    @property
    def backgrounds(self) -> list[Row]:
        """The rows that begin a background."""
        return [row for row in self.rows if row.layout == BACKGROUND and row.action == BEGIN]


class Faults:
    """Faults, row by row, until they are reported all at once."""

    def __init__(self, where: Callable[[int], str] = lambda number: f'row {number}'):
        self._where = where
        self._found: list[tuple[int, str]] = []

    def add(self, number: int, text: str) -> None:
        """Note a fault of a row (0: of the script as a whole)."""
        self._found.append((number, text))

    def of(self, number: int) -> list[str]:
        """The faults of one row."""
        return [text for row, text in self._found if row == number]

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def lines(self) -> list[str]:
        """One line per fault, in the order of the rows; a fault of the whole script comes first."""
        told = [f'{self._where(number)}: {text}' if number else text for number, text in sorted(self._found)]
        return list(dict.fromkeys(told))

    def tell(self, path: Path | None) -> None:
        """Raise what was found, if anything."""
        if not self._found:
            return
        lines = self.lines
        name = path.name if path else 'The script'
        count = 'a fault' if len(lines) == 1 else f'{len(lines)} faults'
        raise GenaudioError('\n'.join([f'{name} has {count}; nothing was made:', *(f'  {line}' for line in lines)]))


# --- reading ---------------------------------------------------------------------------------------------------------


def plain_name(name: Any) -> str:
    """The form in which names are compared."""
    return re.sub(r'[^a-z]', '', str(name).lower())


# --- checking --------------------------------------------------------------------------------------------------------


def parse_rows(
    raw: Sequence[Mapping[str, Any]],
    faults: Faults,
    *,
    path: Path | None = None,
    voices: Mapping[str, Any] | None = None,
) -> Script:
    """Turn mappings into rows, adding every fault found, of single rows and between rows, to `faults`.

    Rows that cannot be understood are left out of what is returned, so that the others can still be checked.
    """
    if not raw:
        faults.add(0, 'The script is empty: write at least one foreground row.')
    if len(raw) > MAX_ROWS:
        faults.add(0, f'The script has {len(raw)} rows; at most {MAX_ROWS} are allowed.')
        raw = raw[:MAX_ROWS]
    folder = path.parent if path else Path()
    rows = []
    vague = set()  # IDs of rows that could not be understood: their partners are not at fault
    for number, cells in enumerate(raw, 1):
        row = _parse_row(number, cells, folder, faults)
        if row is not None:
            rows.append(row)
        else:
            vague |= {str(value).strip() for name, value in cells.items() if plain_name(name) == 'id'}
    _check_order(rows, vague, faults)
    return Script(tuple(rows), path, _checked_voices(voices or {}, faults))


def _cells(number: int, raw: Mapping[str, Any], faults: Faults) -> dict[str, Any]:
    """Known columns -> values that are not empty."""
    cells: dict[str, Any] = {}
    named: dict[str, str] = {}  # key -> how the column is called here
    for name, value in raw.items():
        if name == '\0':
            faults.add(number, 'more cells than columns; put quotes around text that contains the separator.')
            continue
        key = COLUMNS.get(plain_name(name))
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        if key is None:
            faults.add(number, str(unknown('column', '', str(name), SHOWN)))
            continue
        if isinstance(value, (dict, list)):
            faults.add(number, f"'{name}' must be a single value, not a list or table.")
            continue
        if isinstance(value, str):  # one line, nothing invisible: it goes into file names, XML and terminals
            value = ' '.join(''.join(c if c.isprintable() else ' ' for c in value).split())
        if key in cells:
            if str(cells[key]) != str(value):
                faults.add(number, f"'{named[key]}' and '{name}' are two columns for the same thing; remove one.")
            continue
        cells[key], named[key] = value, name
    return cells


def _parse_row(number: int, raw: Mapping[str, Any], folder: Path, faults: Faults) -> Row | None:
    cells = _cells(number, raw, faults)
    kind = _word(number, cells.get('kind'), 'Audio Type', _KINDS, ('Music', 'Speech', 'Sound effect'), faults)
    layout = _word(
        number, cells.get('layout', FOREGROUND), 'Layout', {FOREGROUND: FOREGROUND, BACKGROUND: BACKGROUND},
        ('Foreground', 'Background'), faults,
    )  # fmt: skip
    if kind is None or layout is None:
        return None
    action = ''
    if 'action' in cells:
        if layout == FOREGROUND:
            faults.add(number, 'a foreground row has no Action; Begin and End are for background rows.')
        else:
            words = {BEGIN: BEGIN, 'start': BEGIN, END: END, 'stop': END}
            action = _word(number, cells['action'], 'Action', words, ('Begin', 'End'), faults) or '?'
    elif layout == BACKGROUND:
        faults.add(number, 'a background row needs an Action: Begin or End.')
        action = '?'
    name = str(cells.get('id', ''))
    if layout == BACKGROUND and not name:
        faults.add(number, 'a background row needs an ID, so that its End can be found.')
    if layout == BACKGROUND and kind == SPEECH:
        faults.add(number, 'speech is always foreground; for voices in the background use a Sound effect.')
    character = str(cells.get('character', ''))
    content = str(cells.get('content', ''))
    file = _file(number, cells, content, folder, faults) if action != END else None
    if action != END and not content and file is None:
        wanted = 'what is said' if kind == SPEECH else 'what is heard'
        faults.add(number, f'Content or Description is missing: write {wanted}.')
    volume = USUAL_VOLUME.get((kind, layout), -24.0)
    if 'volume' in cells:
        volume = _number(number, cells['volume'], 'Volume dB', VOLUME, faults, volume)
    seconds = _seconds(number, cells, kind, layout, faults)
    fades = {
        key: _number(number, cells[key], shown, FADE, faults, None)
        for key, shown in (('fade_in', 'Fade in'), ('fade_out', 'Fade out'))
        if key in cells
    }
    return Row(number, kind, layout, content, volume, name, action, character, seconds, file, **fades)


def _word(
    number: int, value: Any, column: str, words: Mapping[str, str], shown: Iterable[str], faults: Faults
) -> str | None:
    if value is None:
        faults.add(number, f'{column} is missing: {", ".join(shown)}.')
        return None
    plain = ' '.join(str(value).lower().replace('_', ' ').replace('-', ' ').split())
    if plain in words:
        return words[plain]
    hint = did_you_mean(plain, shown) or f' Known are: {", ".join(shown)}.'
    faults.add(number, f"unknown {column} '{value}'.{hint}")
    return None


def _number(number: int, value: Any, column: str, setting: Setting, faults: Faults, default: Any) -> Any:
    """The number in a cell, as spreadsheets write it: with a unit, a decimal comma, a minus sign of typography."""
    text = str(value).strip().replace('\N{MINUS SIGN}', '-')
    found = re.fullmatch(r'([+-]?\d+(?:[.,]\d+)?(?:e[+-]?\d+)?)\s*(db|lufs|s|sec|seconds)?', text, re.IGNORECASE)
    if found and re.fullmatch(r'[+-]?[1-9]\d{0,2},\d{3}', found[1]):
        faults.add(number, f"{column} '{value}' may mean two numbers; write {found[1].replace(',', '.')} or "
                           f'{found[1].replace(",", "")}.')  # fmt: skip
        return default
    try:
        return setting.check(column, found[1].replace(',', '.') if found and not isinstance(value, bool) else value)
    except GenaudioError as error:
        faults.add(number, str(error))
        return default


def _seconds(number: int, cells: Mapping[str, Any], kind: str, layout: str, faults: Faults) -> float | None:
    value = cells.get('duration', 'auto')
    if str(value).strip().lower() in ('auto', 'automatic', '-'):
        return None
    if layout == BACKGROUND:
        faults.add(number, 'a background row lasts from Begin to End: its Duration is Auto.')
        return None
    if kind == SPEECH:
        faults.add(
            number, 'speech lasts as long as it takes: its Duration is Auto. (Sound effect "silence" is a pause.)'
        )
        return None
    return _number(number, value, 'Duration', DURATION, faults, None)


def _file(number: int, cells: Mapping[str, Any], content: str, folder: Path, faults: Faults) -> Path | None:
    """The recording that a row plays: its File, or a content that is nothing but the name of a sound file."""
    is_name = content.lower().endswith(SUFFIXES) or _FOREIGN.fullmatch(content)
    name = str(cells['file']) if 'file' in cells else content if is_name else ''
    if not name:
        return None
    if not name.lower().endswith(SUFFIXES):
        faults.add(
            number,
            f"'{name}' is not a sound file of a kind that can be read ({', '.join(SUFFIXES)}); convert it "
            'first, with ffmpeg for example.',
        )
        return None
    file = folder / name
    try:
        if file.is_file():
            return file
    except (OSError, ValueError):  # too long for a name, or a zero byte in it: a text after all
        pass
    faults.add(number, f'the file {file} does not exist.')
    return None


def _checked_voices(voices: Any, faults: Faults) -> dict[str, dict[str, Any]]:
    """The settings of each voice that were written, and none that were not."""
    try:
        told = Table({}, VOICE, example=VOICE.example).check('voices', voices)
    except GenaudioError as error:
        faults.add(0, str(error))
        return {}
    return {who: {key: value for key, value in said.items() if value is not None} for who, said in told.items()}


def _check_order(rows: Sequence[Row], vague: set[str], faults: Faults) -> None:
    """Check what only the rows together show: Begin and End, and one music at a time."""
    if rows and not vague and not any(row.layout == FOREGROUND for row in rows):
        faults.add(0, 'The script has no foreground row, so it has no length.')
    open_rows: dict[str, Row] = {}
    started: dict[str, int] = {}  # ID -> foreground rows so far when it began
    foreground = 0
    for row in rows:
        if row.layout == FOREGROUND:
            foreground += 1
        if row.kind == MUSIC and row.action in ('', BEGIN):
            for other in open_rows.values():
                if other.kind == MUSIC and other.id != row.id:
                    faults.add(
                        row.number,
                        f"this music overlaps the music '{other.id}' of row {other.number}; one at a time: "
                        f"end '{other.id}' first.",
                    )
        if not row.id or row.layout != BACKGROUND or row.id in vague:
            continue
        if row.action == BEGIN:
            if row.id in open_rows:
                faults.add(row.number, f"'{row.id}' begins twice; it began already in row {open_rows[row.id].number}.")
                continue
            open_rows[row.id], started[row.id] = row, foreground
        elif row.action == END:
            begun = open_rows.pop(row.id, None)
            if begun is None:
                hint = did_you_mean(row.id, open_rows)
                faults.add(row.number, f"'{row.id}' ends here but never began.{hint}")
            elif begun.kind != row.kind:
                faults.add(
                    row.number, f"'{row.id}' ends as {row.kind}, but row {begun.number} began it as {begun.kind}."
                )
            elif started[row.id] == foreground and not vague:
                faults.add(
                    row.number, f"'{row.id}' has no length: there is no foreground row between its Begin and End."
                )
    for row in open_rows.values():
        faults.add(row.number, f"'{row.id}' never ends: add a row with Action End and this ID.")
