"""MIDI over JACK with frame offsets: what comes in is stamped to the frame, what goes out leaves on it.

The process callback only moves messages between deques and port buffers; Python is not a hard real-time language, so
everything is handed over a few periods ahead, and a lost cycle loses nothing: what was due is sent in the next one.
An xrun can lose what a cycle had written, though, hence a second, harmless note-off follows every note-off.
"""

import contextlib
import math
import time as wall
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.midi.input_queue import LOST
from bridge.midi.sender import Message, Outbox, Sender
from bridge.midi.sounding_notes import Sounding
from bridge.system.clock import Clock
from bridge.system.jack_client import JackClient
from bridge.system.notices import notice

MAX_UNSENT = 2000  # messages that wait for room in the buffers; more than that no port takes any more
LATELY = 0.5  # seconds before an xrun whose note-offs are sent again
TOLD_LATE = 2.0  # seconds by which JACK, on a busy machine, tells late of cables, and by which they work late
SAFETY = 0.060  # seconds after a note-off at which it is sent again
FRAME_WRAP = 1 << 32  # JACK counts frames in 32 bits


@dataclass(frozen=True, slots=True)
class JackPosition:
    """Where JACK transport is."""

    rolling: bool
    time: float = 0.0  # seconds on the bridge clock at which this is so
    seconds: float = 0.0  # into the song
    tempo: float | None = None  # quarter notes a minute; None: there is no timebase master
    beat: float | None = None  # quarter notes; None: there is no timebase master


class JackMidi(JackClient, Sender, Clock):
    """A JACK client with MIDI ports: a `Clock` (frames as seconds), a `Sender`, and a source of input.

    Parameters
    ----------
    inputs, outputs : names of the ports to make
    deliver : callable
        Gets (input number, bytes, bridge time), `LOST` for bytes after a cycle that was missed; called in JACK's
        thread, must not wait.
    connect : parts of names of other clients' ports to connect to, now and when they appear
    """

    def __init__(
        self, inputs: Sequence[str], outputs: Sequence[str], deliver: Callable[[int, bytes, float], None], *,
        name: str = 'genaudio', connect: Sequence[str] = (), sounding: Sounding | None = None,
        notify: Callable[[str], None] = notice,
    ) -> None:  # fmt: skip
        self._deliver, self._notify, self._connect = deliver, notify, tuple(connect)
        self._input_names, self._output_names = tuple(inputs), tuple(outputs)
        self.outbox = Outbox(sounding, len(outputs))
        self.sounding = self.outbox.sounding
        self.errors = 0
        self.looped = False  # somebody we hear from also hears us: JACK delays one of the ways by a period
        self.scheduled: list[tuple[int, int, bytes]] | None = None  # (frame, output, message), for benchmarks
        self._offset = 0.0  # bridge time minus JACK time
        self._last: tuple[float, float] | None = None  # bridge time and machine's time, at the last look
        self._seen: tuple[int, bool, dict[str, Any]] | None = None  # JACK transport: frame of the clock, rolls, where
        self._orders: deque[Callable[[], Iterable[Message]]] = deque()  # done in the next cycle, which sends the result
        self._again: deque[tuple[int, int, bytes]] = deque()  # (frame, output, note-off) to repeat
        self._silenced = 0
        self._next_look = 0.0
        self._peers: set[str] = set()
        self._sources: list[set[str]] = []  # who is heard on each input
        self._sinks: dict[int, set[str]] = {}  # output -> who hears it
        self._cut: deque[tuple[str, str]] = deque()  # (our output, who no longer hears it), from JACK's thread
        self._ended: deque[tuple[float, int, bytes]] = deque()  # (time, output, note-off) of those that left lately
        self._away: dict[int, set[str]] = {}  # output -> who heard it and is gone
        self._missed: dict[int, set[bytes]] = {}  # output -> note-offs that those who are away did not get
        self._doubted: dict[int, float] = {}  # output -> until when it may not reach those who are back
        self._back: set[int] = set()
        super().__init__(name)
        self.start()

    # --- life

    GONE, BACK = 'The JACK server is gone; waiting for it.', 'JACK is back.'
    retry = 0.0  # `look` looks now and then only

    def set_up(self) -> None:
        client = self.client
        self.sample_rate = client.samplerate
        self.block_size = client.blocksize
        self._inputs = [client.midi_inports.register(name.replace(':', ' ')) for name in self._input_names]
        self._outputs = [client.midi_outports.register(name.replace(':', ' ')) for name in self._output_names]
        client.set_port_connect_callback(self._note_cut)
        # The clock goes on from where it is, whatever the server counts, before JACK's thread first looks at it.
        self._seen, self._next = None, None
        self._frames = client.frame_time
        self._offset = self._without_jack() - self._frames / self.sample_rate if self._last else 0.0

    @property
    def alive(self) -> bool:
        """Whether the server is there."""
        return not self.lost

    def _xrun(self, delayed_usecs: float) -> None:
        self.xruns += 1
        self._torn = True

    def _note_cut(self, source: Any, sink: Any, connected: bool) -> None:
        """Keep each cut for `_watch`: one that is mended between two looks would not be seen."""
        if not connected and source is not None and sink is not None:
            with contextlib.suppress(Exception):  # gone by now, or a name that is not UTF-8
                self._cut.append((source.name, sink.name))

    def _blocksize(self, frames: int) -> None:
        self.block_size = frames

    @property
    def horizon(self) -> float:
        """Seconds by which messages should be handed over before their time."""
        return 0.05 + 2 * self.block_size / self.sample_rate

    # --- clock

    def now(self) -> float:
        """JACK's frames as seconds; while there is no server, the machine's seconds. Not for JACK's thread."""
        if not self.lost:
            last = self._last[0] if self._last else -math.inf
            seen, frame = self._seen, self._unwrap(self.client.frame_time)
            # JACK's estimate lies behind cycles that have begun, for seconds after the server was held up.
            time = max(max(frame, seen[0] if seen else 0) / self.sample_rate + self._offset, last)
            self._last = (time, wall.perf_counter())
            return time
        return self._without_jack()

    def _without_jack(self) -> float:
        last, at = self._last or (-math.inf, 0.0)
        return last + wall.perf_counter() - at

    def _unwrap(self, frame: int) -> int:
        """A frame of JACK's 32-bit count as one that never wraps.

        Any recent frame serves as the measure, so it does no harm that two threads may write it at the same time.
        """
        near = self._frames
        unwrapped = near + (frame - near + FRAME_WRAP // 2) % FRAME_WRAP - FRAME_WRAP // 2
        self._frames = max(near, unwrapped)
        return unwrapped

    # --- sender

    def send_at(self, time: float, output: int, message: bytes, strike: int = 0) -> None:
        def order() -> Iterable[Message]:
            self.outbox.put(round((time - self._offset) * self.sample_rate), output, message, strike)
            return ()

        self._orders.append(order)

    def release(self, strikes: Iterable[int], then: Iterable[Message] = ()) -> None:
        gone, last = tuple(strikes), tuple(then)
        self._orders.append(lambda: (*self.outbox.release(gone), *last))

    def silence(self, outputs: Iterable[int] | None = None) -> None:
        chosen = None if outputs is None else tuple(outputs)

        def order() -> Iterable[Message]:
            meant = range(len(self._outputs)) if chosen is None else chosen
            self._again = deque(item for item in self._again if item[1] not in meant)
            self._silenced += 1
            return self.outbox.silence(meant)

        self._orders.append(order)

    def complaints(self) -> list[str]:
        return self.outbox.complaints()

    def close(self) -> None:
        """Silence, wait until that has left, and go."""
        if self.alive:
            before = self._silenced
            self.silence()
            end = wall.perf_counter() + 0.5
            # An xrun may take the cycle with the note-offs: wait for their repetition, too.
            while self.alive and wall.perf_counter() < end:
                if self._silenced > before and not self._orders and not self._again:
                    break
                wall.sleep(0.002)
            wall.sleep(3 * self.block_size / self.sample_rate)  # the note-offs reach the others before the ports vanish
        super().close()

    # --- JACK's thread

    _torn = False  # an xrun may have taken what the last cycles had written
    _next: int | None = None  # frame with which the next cycle begins, unless we miss it

    def _process(self, frames: int) -> None:
        try:
            self._cycle(frames)
        except Exception:  # an exception would end the client, and the music
            self.errors += 1
        try:
            self._seen = self._whereabouts()
        except Exception:  # whatever it tells of its transport, the music goes out
            self._seen, self.errors = None, self.errors + 1

    def _whereabouts(self) -> tuple[int, bool, dict[str, Any]]:
        """Frame and JACK transport of one cycle: one that runs late may see the next one begin, a period further."""
        for _ in range(4):
            frame, seen = self.client.last_frame_time, _transport_of(self.client)
            if frame == self.client.last_frame_time:
                break
        return self._unwrap(frame), seen[0], seen[1]

    def _cycle(self, frames: int) -> None:
        start = self._unwrap(self.client.last_frame_time)
        missed, self._next = self._next is not None and start > self._next, start + frames
        self._torn |= missed  # who is late has written for nobody; JACK's word of it (`_xrun`) may come later still
        for number, port in enumerate(self._inputs):
            if missed:  # JACK keeps for nobody what comes in meanwhile
                self._deliver(number, LOST, start / self.sample_rate + self._offset)
            for offset, data in port.incoming_midi_events():
                self._deliver(number, bytes(data), (start + offset) / self.sample_rate + self._offset)
        for port in self._outputs:
            port.clear_buffer()
        ordered = [message for _ in range(len(self._orders)) for message in self._orders.popleft()()]
        first, self.outbox.unsent = [*self.outbox.unsent, *ordered], deque()
        due: list[tuple[int, int, bytes, bool]] = [(start, output, message, False) for output, message in first]
        for frame, output, message in self.outbox.pop_due(start + frames - 1):
            due.append((int(frame), output, message, False))
        while self._again and self._again[0][0] < start + frames:
            frame, output, message = self._again.popleft()
            if not self.outbox.is_held(output, message[0] & 15, message[1]):
                due.append((frame, output, message, True))
        if self._torn:
            self._torn = False
            since = start - LATELY * self.sample_rate
            lately = dict.fromkeys(item[1:] for item in self.outbox.recent if item[0] > since)
            due += [
                (start, output, message, True) for output, message in lately
                if not self.outbox.is_held(output, message[0] & 15, message[1])
            ]  # fmt: skip
        due.sort(key=lambda item: max(item[0], start))  # stable: note-offs stay before note-ons
        full: set[int] = set()
        for frame, output, message, repeated in due:
            if output >= len(self._outputs):
                self.outbox.complain(f'There is no output {output + 1}: what is meant for it is left out.')
            elif output in full or not self._write(min(max(frame - start, 0), frames - 1), output, message):
                full.add(output)
                if not repeated:
                    self.outbox.unsent.append((output, message))  # goes first in the next cycle, in order
            else:
                if message[0] & 0xF0 == 0x80 and not repeated:
                    self._again.append((max(frame, start) + int(SAFETY * self.sample_rate), output, message))
                    self.outbox.ended.append((output, message))
                    self.outbox.recent.append((max(frame, start), output, message))
                if self.scheduled is not None:
                    self.scheduled.append((frame, output, message))
        if len(self.outbox.unsent) > MAX_UNSENT:
            self.outbox.complain("JACK's MIDI buffers are full; some messages are lost.")
            self.outbox.unsent.clear()
            ends = self.outbox.silence(full)  # there were ends of notes among them
            self.outbox.unsent.extend(ends)

    def _write(self, offset: int, output: int, message: bytes) -> bool:
        try:
            self._outputs[output].write_midi_event(offset, message)
        except Exception:  # the buffer of this cycle is full
            return False
        self.sounding.note(output, message)
        return True

    # --- the world around

    def transport(self) -> JackPosition:
        """Where JACK transport was at the beginning of the newest period."""
        seen = self._seen
        if seen is None or self.lost:
            return JackPosition(False)
        frame, rolling, where = seen
        at, song = frame / self.sample_rate + self._offset, where['frame'] / self.sample_rate
        return JackPosition(rolling, at, song, *_beat_of(where, self.sample_rate))

    def look(self) -> list[int]:
        """Connect what appeared, notice who is connected, come back if the server did. Call a few times a second."""
        now = self.now()
        if now < self._next_look:
            return []
        self._next_look = now + 0.5
        if self.lost:
            return self._return()
        with contextlib.suppress(Exception):  # ports come and go while we look
            self._connect_all()
            self.connect_pending()
            sources = [{peer.name for peer in self.client.get_all_connections(port)} for port in self._inputs]
            heard = set().union(*sources)
            sinks = [{peer.name for peer in self.client.get_all_connections(port)} for port in self._outputs]
            self._watch(sinks)
            told = set().union(*sinks)
            self._peers = heard
            self.looped = bool({name.split(':')[0] for name in heard} & {name.split(':')[0] for name in told})
            before, self._sources = self._sources, sources
            # Whoever is gone, or was disconnected, lets no key go any more.
            return [number for number, (old, new) in enumerate(zip(before, sources, strict=False)) if old - new]
        return []

    def _watch(self, sinks: Sequence[set[str]]) -> None:
        """Notice who no longer hears an output, and who hears it again: what it missed is sent again, and again."""
        cut = {self._cut.popleft() for _ in range(len(self._cut))}
        now = self.now()
        self._ended += [(now, *self.outbox.ended.popleft()) for _ in range(len(self.outbox.ended))]
        while self._ended and now - self._ended[0][0] > TOLD_LATE:
            self._ended.popleft()
        for output, present in enumerate(sinks):
            away = self._away.setdefault(output, set())
            away |= self._sinks.get(output, set()) - present
            away |= {sink for source, sink in cut if source == self._outputs[output].name}
            self._sinks[output] = present
            if away & present:
                away -= present
                self._back.add(output)
                # On a busy machine JACK shows a cable before anything goes through it, and one that is cut already.
                self._doubted[output] = now + TOLD_LATE
            is_doubted = now < self._doubted.get(output, 0.0)
            missed = self._missed.setdefault(output, set())
            if not away and not is_doubted:
                missed.clear()
                continue
            missed |= {message for _, number, message in self._ended if number == output}
            if is_doubted:
                for message in missed:  # of nobody: where the key is held again, it stays down
                    self.send_at(now, output, message)

    def outputs_back(self) -> list[int]:
        """Outputs that are heard again, since the last call, by somebody who was away."""
        back = sorted(self._back)
        self._back.clear()
        return back

    @property
    def loop_delay(self) -> float:
        """Seconds that JACK delays what goes out, because somebody both hears us and is heard."""
        return self.block_size / self.sample_rate if self.looped else 0.0

    @property
    def senders(self) -> set[str]:
        """Full names of the ports that send to us."""
        return self._peers

    def _connect_all(self) -> None:
        for part in self._connect:
            for source in self.client.get_ports(part, is_midi=True, is_output=True):
                for port in self._inputs:
                    if not self.client.owns(source) and source not in self.client.get_all_connections(port):
                        self.client.connect(source, port)
            for sink in self.client.get_ports(part, is_midi=True, is_input=True):
                for port in self._outputs:
                    if not self.client.owns(sink) and sink not in self.client.get_all_connections(port):
                        self.client.connect(port, sink)

    def _return(self) -> list[int]:
        self._orders.clear()
        self._again.clear()  # frames of the dead server mean nothing to the next one
        self.outbox = Outbox(self.sounding, len(self._output_names))
        self.silence()
        if (line := self.look_for_server()) is not None:
            self._notify(line)
        if line == self.GONE:
            return list(range(len(self._inputs)))
        if line == self.BACK:
            self._back.update(range(len(self._outputs)))
        return []


def _transport_of(client: Any) -> tuple[bool, dict[str, Any]]:
    """Whether JACK transport rolls, and the fields of its position that are valid; for JACK's thread."""
    import jack

    state, position = client.transport_query_struct()
    return state == jack.ROLLING, jack.position2dict(position)


def _beat_of(where: Mapping[str, Any], sample_rate: int) -> tuple[float | None, float | None]:
    """Tempo and beat, in quarter notes, of a timebase master; None where there is none, or it tells nonsense."""
    parts = [where.get(key, 0) for key in ('beats_per_minute', 'beats_per_bar', 'beat_type', 'ticks_per_beat')]
    if not all(math.isfinite(part) and part > 0 for part in parts):
        return None, None
    tempo, beats_per_bar, beat_type, ticks_per_beat = parts
    beats = (where['bar'] - 1) * beats_per_bar + where['beat'] - 1 + where['tick'] / ticks_per_beat
    beats += where.get('bbt_offset', 0) / sample_rate * tempo / 60  # what is told may hold for an earlier frame
    scale = 4 / beat_type  # quarter notes in a beat of the meter
    return tempo * scale, beats * scale
