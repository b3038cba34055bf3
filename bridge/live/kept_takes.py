"""Takes that are kept: gathered where the music plays, written where nothing waits for it.

The session only gathers what was played (`KeptTake`). The port process hands it to the parent in small pieces, for a
pipe that is never waited for (`to_pieces`, `Pieces`); there a thread of its own writes the file (`TakeWriter`), so
that a full disk or a slow network folder costs a line and nothing else.
"""

import pickle
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from genaudio_core.errors import one_line
from genaudio_core.score.instruments import DRUMS
from genaudio_core.score.notes import Meter, Note, Score, Tempo, Track
from genaudio_core.score.reading import write_midi

PIECE = 4000  # bytes in one message: a pipe that is writable takes as much without waiting
Piece = tuple[bool, bytes]  # (whether it is the last of a take, content)


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


def to_pieces(take: KeptTake) -> list[Piece]:
    """Return the take as messages for a pipe between our own processes."""
    content = pickle.dumps(take, protocol=pickle.HIGHEST_PROTOCOL)
    pieces = [content[at : at + PIECE] for at in range(0, len(content), PIECE)]
    return [(number == len(pieces), piece) for number, piece in enumerate(pieces, 1)]


class Pieces:
    """Puts the pieces of takes together again, as they arrive."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def add(self, piece: Piece) -> KeptTake | None:
        """Take the next piece; return the take that it completes."""
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
        self._folder, self._notify = Path(folder), notify
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
            path, line = self._results.get()
            if path:
                self.kept.append(path)
            self._notify(line)

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits, for up to `timeout` seconds, and tell."""
        if self._thread is not None:
            self._takes.put(None)
            self._thread.join(timeout)
            if self._thread.is_alive():
                self._notify(f'A take is not yet written to {self._folder}: it does not answer.')
            self._thread = None
        self.poll()

    def _run(self) -> None:
        while (take := self._takes.get()) is not None:
            path = self._folder / take.name
            try:
                write_midi(take.score(), path)
            except Exception as error:  # whatever it is: the next one wants its writer
                self._results.put(('', f'The take is not kept: {one_line(error)}'))
            else:
                self._results.put((str(path), f'Kept as {path}'))
