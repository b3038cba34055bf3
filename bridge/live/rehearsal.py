"""Playing without a DAW: a written part goes into a session, on a simulated clock or in real time.

`demo`, `rehearse`, `bench live` and the tests use it. The part is a list of (seconds, MIDI bytes).
"""

import sys
from collections.abc import Callable, Iterable
from multiprocessing.connection import wait

from bridge.live.session import Session
from bridge.midi import messages
from bridge.midi.input_queue import Inbox
from bridge.midi.sender import SimulatedSender
from bridge.musicians.musician_process import Engine, ProcessEngine
from bridge.system.clock import Clock, SimulatedClock
from bridge.system.cpu_wakeup import awake
from bridge.system.real_time import SWITCH, in_real_time
from genaudio_core.score.notes import Note

Timed = tuple[float, bytes]  # (seconds on the bridge clock, message)
TEMPO = 104.0  # quarter notes a minute at which `ode` is played


def ode(bars: int = 0) -> list[Note]:
    """Two bars of the Ode to Joy (Beethoven, 1824) with a bass, as a pianist would try them: bars 0-1 or 2-3 ..."""
    melodies = (
        ((0, 1, 64), (1, 1, 64), (2, 1, 65), (3, 1, 67), (4, 1, 67), (5, 1, 65), (6, 1, 64), (7, 1, 62)),
        ((0, 1, 60), (1, 1, 60), (2, 1, 62), (3, 1, 64), (4, 1.5, 64), (5.5, 0.5, 62), (6, 1.9, 62)),
    )
    basses = (((0, 4, 48), (4, 4, 43)), ((0, 4, 45), (4, 2, 43), (6, 1.9, 47)))
    notes = [Note(beat, 0.92 * length, note, 84 - 4 * (beat % 2 != 0)) for beat, length, note in melodies[bars % 2]]
    notes += [Note(beat, 0.95 * length, note, 66) for beat, length, note in basses[bars % 2]]
    return sorted(notes)


def clock_part(
    start: float, beats: float, tempo: float, *, first: bytes = b'\xfa', jitter: Callable[[int], float] | None = None
) -> list[Timed]:
    """MIDI clock from `start` seconds on, opened by the message `first` (may be empty).

    `jitter` gives the seconds by which tick i is off.
    """
    period = 60 / tempo / 24
    ticks = [(start + i * period + (jitter(i) if jitter else 0.0), b'\xf8') for i in range(round(beats * 24))]
    return ([(ticks[0][0], first)] if first and ticks else []) + ticks


def note_part(notes: Iterable[Note], start: float, tempo: float, channel: int = 0) -> list[Timed]:
    """Key events of notes whose beat 0 is at `start` seconds."""
    second = 60 / tempo
    part = []
    for note in notes:
        part.append((start + note.beat * second, messages.note_on(channel, note.note, note.velocity)))
        part.append((start + (note.beat + note.duration) * second, messages.note_off(channel, note.note)))
    return sorted(part, key=lambda item: item[0])


def simulate(
    session: Session,
    clock: SimulatedClock,
    sender: SimulatedSender,
    part: Iterable[Timed],
    until_s: float,
    source: int = 0,
) -> None:
    """Play `part` into input `source` until simulated time is `until_s`; what comes later is not played."""
    simulate_inputs(session, clock, sender, ((time, source, message) for time, message in part), until_s)


def simulate_inputs(
    session: Session,
    clock: SimulatedClock,
    sender: SimulatedSender,
    events: Iterable[tuple[float, int, bytes]],
    until_s: float,
) -> None:
    """As `simulate`, for several inputs: `events` are (seconds, input, message); those of one time keep their order."""
    waiting = iter(sorted(events, key=lambda item: item[0]))
    event = next(waiting, None)
    while True:
        wake = session.step()
        sender.run_until(clock.now())
        # A step of at least 0.1 ms: a session that wants to be woken at once must not stop the clock.
        target = min(max(wake, clock.now() + 1e-4), event[0] if event else until_s, until_s)
        clock.advance_to(target)
        sender.run_until(clock.now())
        while event is not None and event[0] <= clock.now():
            session.receive(event[1], event[2], event[0])
            event = next(waiting, None)
        if clock.now() >= until_s:
            session.step()
            sender.run_until(clock.now())
            return


def perform(
    session: Session, engine: Engine, clock: Clock, part: Iterable[Timed], until_s: float, inbox: Inbox | None = None,
    source: int = 0,
) -> None:  # fmt: skip
    """Play `part` into input `source` in real time, until the bridge clock is at `until_s`, as the port process would.

    What other threads put into `inbox` meanwhile is played too.
    """
    waiting = iter(sorted(part, key=lambda item: item[0]))
    event = next(waiting, None)
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    try:
        with awake(), in_real_time():
            while clock.now() < until_s:
                wake = session.step()
                target = min(wake, event[0] if event else until_s, until_s)
                readers = [engine.connection] if isinstance(engine, ProcessEngine) else []
                wait([*readers, *([inbox.reader] if inbox else [])], max(target - clock.now(), 0))
                for arrived in inbox.drain() if inbox else ():
                    session.receive(*arrived)
                while event is not None and event[0] <= clock.now():
                    session.receive(source, event[1], event[0])
                    event = next(waiting, None)
    finally:
        sys.setswitchinterval(before)


def played_notes(
    sent: Iterable[tuple[float, int, bytes]], beat_at: Callable[[float], float]
) -> dict[tuple[int, int], list[Note]]:
    """Notes by (output, channel), in order, from the messages that went out.

    Parameters
    ----------
    sent : (seconds on the bridge clock, output, message) in the order of sending
    beat_at : the beat of a time; notes before beat 0 begin there
    """
    down: dict[tuple[int, int, int], tuple[float, int]] = {}
    found: dict[tuple[int, int], list[Note]] = {}
    for time, output, message in sent:
        kind, channel = message[0] & 0xF0, message[0] & 15
        if kind == 0x90 and message[2]:
            down[output, channel, message[1]] = (beat_at(time), message[2])
        elif kind in (0x80, 0x90) and (output, channel, message[1]) in down:
            onset, velocity = down.pop((output, channel, message[1]))
            note = Note(max(onset, 0.0), beat_at(time) - onset, message[1], velocity)
            found.setdefault((output, channel), []).append(note)
    return {place: sorted(notes) for place, notes in found.items()}
