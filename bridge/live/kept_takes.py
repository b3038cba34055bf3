"""Takes that are kept, and answers that are saved: gathered where the music plays, written where nothing waits for it.

The session only gathers what was played: when it is told to (`KeptTake`), and each answer when it begins, when all of
it is composed and when it is over (`HeardTake`). The port process hands it to the parent in small pieces, for a pipe
that is never waited for (`to_pieces`, `Pieces`); there a thread of its own writes the file (`TakeWriter`,
`SavedTakes`), so that a full disk or a slow network folder costs a line and nothing else. A crash of either process,
Ctrl-C and a closed terminal cost what of an answer was not yet composed, at most.
"""

import contextlib
import os
import pickle
import queue
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.score.instruments import DRUMS
from genaudio_core.score.notes import Meter, Note, Score, Tempo, Track
from genaudio_core.score.reading import write_midi

PIECE = 4000  # bytes in one message: a pipe that is writable takes as much without waiting
Piece = tuple[bool, bytes]  # (whether it is the last of a take, content)
MOST_FILES = 10_000  # that are kept of all sessions, some tens of megabytes; the oldest go
MOST_NOTES = 4000  # in one file; it is written whole with each answer that joins it
JOINS = 1e-3  # beats between two answers of which one goes on with the other
_SESSION = re.compile(r'\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d-.*')
_FILE = re.compile(r'\d{3,}-bar-\d+(-take-\d+)?\.mid')


@dataclass(frozen=True, slots=True)
class KeptTake:
    """A phrase and an answer, in plain data: notes with who plays them, in session beats."""

    name: str  # of the file
    heard: list[tuple[str, Note]]  # instrument class, note
    played: list[tuple[str, Note]]
    origin: float  # session beat at which the file begins
    tempo: float  # BPM
    meter: tuple[int, int]

    def score(self) -> Score:
        """Return it as a score, a track for each instrument of the player and of the band."""
        tracks: dict[str, list[Note]] = {}
        for who, notes in (('you', self.heard), ('band', self.played)):
            for instrument, note in notes:
                track = tracks.setdefault(f'{who}: {instrument}', [])
                track.append(note._replace(beat=max(note.beat - self.origin, 0.0)))
        made = []
        for name, notes in tracks.items():
            track = Track.of(name.split(': ')[1], sorted(notes))
            track.name = name
            track.is_drum = name.endswith(DRUMS)
            made.append(track)
        return Score(made, [Tempo(0.0, self.tempo)], [Meter(0.0, *self.meter)])


@dataclass(frozen=True, slots=True)
class HeardTake:
    """An answer as far as it is known, on its way to its file."""

    take: KeptTake
    answer: int  # number of the request
    number: int  # of the take, from 0
    start: float  # session beats
    end: float


def to_pieces(take: Any) -> list[Piece]:
    """Return the take as messages for a pipe between our own processes."""
    content = pickle.dumps(take, protocol=pickle.HIGHEST_PROTOCOL)
    pieces = [content[at : at + PIECE] for at in range(0, len(content), PIECE)]
    return [(number == len(pieces), piece) for number, piece in enumerate(pieces, 1)]


class Pieces:
    """Puts the pieces of takes together again, as they arrive."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def add(self, piece: Piece) -> Any:
        """Take the next piece; return the take that it completes, else None."""
        last, content = piece
        self._parts.append(content)
        if not last:
            return None
        whole, self._parts = b''.join(self._parts), []
        return pickle.loads(whole)

    def clear(self) -> None:
        """Forget a take of which no more will come: its sender is gone."""
        self._parts.clear()


class TakeWriter:
    """Writes takes as MIDI files from a thread of its own.

    Parameters
    ----------
    folder : str or Path
        Where to.
    notify : callable
        Gets one line for each take; called by `poll` and `close`, in the caller's thread.
    """

    def __init__(self, folder: str | Path, notify: Callable[[str], None]) -> None:
        self.kept: list[str] = []  # paths written
        self.folder, self._notify = Path(folder), notify
        self._takes: queue.SimpleQueue[KeptTake | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()  # (path or '', line)
        self._thread: threading.Thread | None = None

    def write(self, take: KeptTake) -> None:
        """Have `take` written; returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name='takes', daemon=True)
            self._thread.start()
        self._takes.put(take)

    def poll(self) -> None:
        """Tell what was written, or why it could not be."""
        while not self._results.empty():
            self._tell(*self._results.get())

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits, for up to `timeout` seconds, and tell."""
        if self._thread is not None:
            self._takes.put(None)
            self._thread.join(timeout)
            if self._thread.is_alive():
                self._notify(f'A take is not yet written to {self.folder}: it does not answer.')
            self._thread = None
        self.poll()

    def _tell(self, path: str, line: str) -> None:
        if path:
            self.kept.append(path)
        self._notify(line)

    def _run(self) -> None:
        while (take := self._takes.get()) is not None:
            path = self.folder / take.name
            try:
                write_midi(take.score(), path)
            except Exception as error:  # whatever it is: the next one wants its writer
                self._results.put(('', f'The take is not kept: {one_line(error)}'))
            else:
                self._results.put((str(path), f'Kept as {path}'))


def takes_folder() -> Path:
    """The folder of all sessions; it may not be there yet. ``GENAUDIO_TAKES`` in the environment names another."""
    return Path(os.environ.get('GENAUDIO_TAKES') or user_data_path('genaudio', appauthor=False) / 'takes')


class _File:
    """What one file holds: an answer, or several of which each begins where the last one ends."""

    def __init__(self, number: int, first: HeardTake) -> None:
        bar = first.take.meter[0] * 4 / first.take.meter[1]
        take = f'-take-{first.number + 1}' if first.number else ''
        self.name = f'{number:03}-bar-{int(first.start / bar + JOINS) + 1}{take}.mid'
        self._first = first
        self._heard: dict[tuple[str, float, int], tuple[str, Note]] = {}
        self._played: dict[tuple[int, int], list[tuple[str, Note]]] = {}
        self._end = first.start

    def goes_on_with(self, heard: HeardTake) -> bool:
        if (heard.answer, heard.number) in self._played:
            return True
        full = len(self._heard) + sum(map(len, self._played.values())) >= MOST_NOTES
        return abs(heard.start - self._end) < JOINS and heard.take.meter == self._first.take.meter and not full

    def add(self, heard: HeardTake) -> KeptTake:
        """Take in an answer, or a newer state of it; return all as a take."""
        for who, note in heard.take.heard:
            self._heard[who, round(note.beat, 3), note.note] = (who, note)
        self._played[heard.answer, heard.number] = heard.take.played
        if heard.answer == list(self._played)[-1][0]:
            self._end = heard.end
        played = [note for notes in self._played.values() for note in notes]
        return replace(self._first.take, name=self.name, heard=list(self._heard.values()), played=played)


class SavedTakes(TakeWriter):
    """The folder of one session, in which each answer that is heard becomes a MIDI file. One thread calls it.

    Parameters
    ----------
    name : str
        Of the session, for its folder.
    notify : callable
        Gets a line when a file cannot be written, and one at the end; called by `poll` and `close`, in the caller's
        thread.
    root : Path, optional
        By default `takes_folder`.

    Raises
    ------
    GenaudioError
        If the folder cannot be made.
    """

    def __init__(self, name: str, notify: Callable[[str], None], root: Path | None = None) -> None:
        root = root or takes_folder()
        super().__init__(_new_folder(root, re.sub(r'[^\w-]+', '-', name)[:60]), notify)
        self._files, self._failed = 0, False
        self._open: _File | None = None
        self._thinning = threading.Thread(target=thin_out, args=(root,), name='old takes', daemon=True)
        self._thinning.start()

    def add(self, heard: HeardTake) -> None:
        """Have an answer, or a newer state of it, written; returns at once."""
        if self._open is None or not self._open.goes_on_with(heard):
            self._files += 1
            self._open = _File(self._files, heard)
        self.write(self._open.add(heard))

    def cut(self) -> None:
        """What comes next is another session's, which counts its answers anew."""
        self._open = None

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits, and tell where it is; an empty folder goes."""
        super().close(timeout)
        self._thinning.join(timeout)
        if saved := len(set(self.kept)):
            self._notify(f'{saved} {"take is" if saved == 1 else "takes are"} saved in {self.folder}.')
        _remove_empty(self.folder)

    def _tell(self, path: str, line: str) -> None:
        """Say the first of several failures: a full disk is one thing."""
        if path:
            self.kept.append(path)
        elif not self._failed:
            self._notify(line)
        self._failed = not path


def _new_folder(root: Path, name: str) -> Path:
    begin = root / time.strftime('%Y-%m-%d') / f'{time.strftime("%H-%M-%S")}-{name}'
    try:
        for number in range(1, 1000):  # two sessions may begin in the same second
            folder = begin if number == 1 else begin.with_name(f'{begin.name}-{number}')
            with contextlib.suppress(FileExistsError):
                folder.mkdir(parents=True)  # another session may just have removed that of the day
                return folder
        raise OSError('too many sessions in one second')
    except OSError as error:
        raise GenaudioError(
            f'Takes cannot be saved in {begin.parent}: {error.strerror or error}. Name another folder in '
            'GENAUDIO_TAKES, or say --set autosave=no.'
        ) from None


def _remove_empty(session: Path) -> None:
    for folder in (session, session.parent):
        with contextlib.suppress(OSError):
            folder.rmdir()


def thin_out(root: Path, most: int = MOST_FILES) -> None:
    """Delete the oldest of our files beyond `most`, and folders that are empty then. Nothing that is not ours."""
    sessions = sorted(one for one in root.glob('*/*') if _SESSION.fullmatch(f'{one.parent.name}/{one.name}'))
    for session in reversed(sessions):
        files = sorted((one for one in session.glob('*.mid') if _FILE.fullmatch(one.name)), reverse=True)
        for file in files[most:]:
            with contextlib.suppress(OSError):
                file.unlink()
        if len(files) > most:
            _remove_empty(session)
        most = max(most - len(files), 0)
