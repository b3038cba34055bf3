"""Takes: audition the others, compose one again in part, undo an answer, gather one that is kept."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.band.answer import Answer, ComposedAgain
from bridge.live.kept_takes import HeardTake, KeptTake
from bridge.musicians.musician import Again, PlannedMusic
from bridge.settings.control_messages import EVERY
from bridge.settings.voice import part_names
from genaudio_core.errors import GenaudioError, did_you_mean

if TYPE_CHECKING:
    from bridge.live.session import Session

AUDITION = 1 << 30  # owner numbers of auditions, beyond every request
MOST = 16  # takes of an answer
EDGE = 1e-3  # beats: a piece with a note has reached its beat, one without has come up to it


class Takes:
    """Remembers the last answers. Only the session's thread may call it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.gathered: deque[KeptTake] = deque(maxlen=16)  # to be kept: whoever runs the session hands them on
        self.heard: deque[HeardTake] | None = None  # the same with each answer as it is heard; None: nobody saves them
        self._done: deque[Answer] = deque(maxlen=16)
        self._auditions = 0

    def ended(self, answer: Answer) -> None:
        """Remember a finished or cut answer, if it sounded at all."""
        if answer.queued is not None and answer.end > answer.request.start:
            self._done.append(answer)
            self._save(answer)

    def look(self, beat: float) -> None:
        """Have answers saved that have begun, as far as they are known, and again when they are complete."""
        for answer in self.session.answers if self.heard is not None else ():
            state = 2 if answer.take in answer.complete else 1
            if answer.queued is not None and answer.request.start <= beat and answer.saved < state:
                answer.saved = state
                self._save(answer)

    def _save(self, answer: Answer) -> None:
        if self.heard is not None and self.session.preset['player.autosave']:
            begin, take = answer.request.start, self.gather(answer)
            self.heard.append(HeardTake(take, answer.request.id, answer.take, begin, answer.end))

    @property
    def current(self) -> Answer | None:
        """The answer that commands mean: the one that plays, else the last."""
        begun = [answer for answer in self.session.answers if answer.queued is not None]
        return begun[-1] if begun else self._done[-1] if self._done else None

    def describe(self) -> str:
        """The take that is chosen and how many there are, such as '2/3'; '' without an answer."""
        answer = self.current
        return f'{answer.take + 1}/{answer.n_takes}' if answer else ''

    def next_take(self) -> None:
        """Go to the next take: at the next beat if the answer plays, else hear it from the next bar line on."""
        answer = self.current
        if answer is None or len(answer.takes) < 2:
            self.session.notify('There is only one take. Set music.takes to 2 or more before the next answer.')
            return
        n_takes = answer.n_takes
        others = [(answer.take + step) % n_takes for step in range(1, n_takes)]
        self.go_to(next((take for take in others if answer.notes(take)), answer.take))

    def go_to(self, take: int) -> None:
        """Go to a take of the last answer, counted from 0; as `next_take`. The one that is over plays again."""
        answer = self.current
        session = self.session
        if answer is None or not 0 <= take < answer.n_takes or not answer.notes(take):
            session.notify(f'There is no take {take + 1} of the last answer.')
            return
        if take == answer.take and answer in session.answers:
            return  # it plays
        if answer in session.answers and answer.saved:
            self._save(answer)  # as far as it was heard, before another is chosen
        answer.take, answer.saved = take, 0
        session.engine.choose(answer.request.id, answer.take)
        session.notify(f'Take {self.describe()}')
        if not session.transport.rolling and answer not in session.answers:
            return
        soon = session.transport.beat_at(session.clock.now() + session.scheduler.horizon)
        if answer in session.answers:
            start = float(-(-max(soon, answer.request.start) // 1))  # ceiling
            session.scheduler.cancel(answer.request.id, start)
            session.scheduler.end_by(start)  # what the other take holds on to is of its own harmony
            # What the new take does not cover yet is watched by the deadline contract like anything else.
            covered = answer.until.get(answer.take, answer.request.start)
            notes = [note for note in answer.notes() if start - 1e-6 <= note.beat < answer.end]
            session.scheduler.add(answer.request.id, session.dues(answer, notes))
            answer.covered = max(covered, start)
            return
        self.stop()
        shift = session.transport.next_bar(soon) - session.transport.bar_start(answer.request.start)
        self._auditions += 1
        self._save(answer)
        notes = [note for note in answer.notes() if note.beat < answer.end]
        session.scheduler.add(AUDITION + self._auditions, session.dues(answer, notes, shift))

    def stop(self) -> None:
        """End the audition that runs."""
        self.session.scheduler.cancel(AUDITION + self._auditions)

    def again(self, part: str = EVERY, bar: int | None = None) -> None:
        """Have a part, or `EVERY` one, composed again in what the band is still to play, or in one bar of it.

        Each answer gets another take. What was planned stands until the new notes are there.

        Parameters
        ----------
        bar : from 1, as the views count; None: all of them

        Raises
        ------
        GenaudioError
            If there is no such part, or nothing is planned there that can be changed in time.
        """
        session = self.session
        names = part_names([voice.instrument for voice in session.voices])
        if part not in (EVERY, *names):
            raise GenaudioError(f"There is no part '{part}'.{did_you_mean(part, (EVERY, *names))}")
        parts = tuple(number for number, name in enumerate(names) if part in (EVERY, name))
        soon = math.ceil(session.transport.beat_at(session.clock.now() + session.lead()))
        begin, end = -math.inf, math.inf
        if bar is not None:
            begin, end = (bar - 1) * session.transport.bar, bar * session.transport.bar
        places = [(max(begin, soon, answer.request.start), min(end, answer.end), answer) for answer in session.answers]
        places = [(start, until, answer) for start, until, answer in places if until - start > 1e-6]
        if not places:
            where = 'the next bars' if bar is None else f'bar {bar}'
            raise GenaudioError(f'The band plays nothing in {where} that is not over.')
        if not session.engine.ready:
            raise GenaudioError('The music engine is starting: ask again in a moment.')
        if any(answer.take not in answer.complete for _, _, answer in places):
            raise GenaudioError('It is still being composed: ask again in a moment.')
        if max(answer.n_takes for _, _, answer in places) >= MOST:
            raise GenaudioError(f'The answer has {MOST} takes: choose one of them.')
        for start, until, answer in places:
            self._compose_again(answer, parts, start, until)
        where = f'bar {bar}' if bar else f'from bar {places[0][0] // session.transport.bar + 1:g} on'
        session.notify(f'Composed again: {part}, {where} (take {self.describe()}).')

    def _compose_again(self, answer: Answer, parts: tuple[int, ...], start: float, end: float) -> None:
        session, of, take = self.session, answer.take, answer.n_takes
        answer.takes[take], answer.until[take] = list(answer.notes()), answer.until.get(of, start)
        answer.again[take], answer.take = ComposedAgain(parts, start), take
        given = [note for note in answer.notes() if start - 1e-6 <= note.beat < end - 1e-6 and note.part not in parts]
        asked = answer.request
        request = session.requests.make(start, end, asked.role, asked.listens)
        again = Again(take, of, parts, tuple(given), asked.start)
        session.engine.ask(replace(request, id=asked.id, chords=asked.chords, takes=1, again=again))

    def came_again(self, answer: Answer, piece: PlannedMusic) -> None:
        """Let new notes of a take that is composed again stand for those that were there up to their beat."""
        session, again = self.session, answer.again[piece.take]
        soon = session.transport.beat_at(session.clock.now() + session.scheduler.horizon)
        begin, end = max(again.upto, soon), piece.until + (EDGE if piece.notes else -EDGE)
        if end > begin:
            answer.takes[piece.take] = [
                note for note in answer.notes(piece.take) if not (note.part in again.parts and begin <= note.beat < end)
            ]
            if piece.take == answer.take:
                session.scheduler.cancel(answer.request.id, begin, end, [session.voices[part] for part in again.parts])
            again.upto = end
        notes = [note for note in piece.notes if soon <= note.beat < answer.end]
        answer.takes[piece.take].extend(notes)
        if piece.take == answer.take:
            session.scheduler.add(answer.request.id, session.dues(answer, notes))

    def undo(self) -> None:
        """Forget the last answer: it ends, and the music model never played it."""
        answer = self.current
        if answer is None:
            self.session.notify('No answer to undo.')
            return
        self.session.scheduler.cancel(answer.request.id)
        self.session.engine.cancel(answer.request.id, answer.request.start)
        if answer in self.session.answers:
            self.session.answers.remove(answer)
        else:
            self._done.remove(answer)
        self.session.notify('The last answer is forgotten.')

    def keep(self) -> None:
        """Gather the phrase and the chosen take of the last answer, for a MIDI file. Nothing is written here."""
        answer = self.current
        if answer is None:
            self.session.notify('No answer to keep.')
            return
        stamp = time.strftime('%Y%m%d-%H%M%S')
        self.gathered.append(self.gather(answer, f'genaudio-{stamp}-{answer.request.id}-take{answer.take + 1}.mid'))

    def gather(self, answer: Answer, name: str = '') -> KeptTake:
        """The player's last bars before the answer, and the answer, from a bar line on."""
        session = self.session
        bar = session.transport.bar
        length = max(answer.request.end - answer.request.start, 4 * bar)
        origin = session.transport.bar_start(max(answer.request.start - length, 0.0))
        instruments = answer.request.instruments
        return KeptTake(
            name,
            [(note.instrument, note.plain) for note in session.heard.between(origin - 1e-6) if not note.held],
            [(instruments[note.part], note.plain) for note in answer.notes() if note.beat < answer.end],
            origin,
            session.transport.tempo,
            (session.preset['transport.beats_per_bar'], session.preset['transport.beat_unit']),
        )  # fmt: skip
