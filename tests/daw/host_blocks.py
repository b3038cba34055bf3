"""A plug-in of the tests: what plugin/band/Band.cpp does with blocks of a host, in Python and without a process call.

It makes the memory, tells a `HostBand` of it, and plays the answers on their frames.
"""

import os
from dataclasses import dataclass, field

import numpy as np

from bridge.daw.band_session import HostBand
from bridge.daw.band_state import BandState
from bridge.daw.meeting_place import LAYOUT, METER, MIDI, START, STOP, TEMPO, VALUE, Event, Meeting
from bridge.musicians.rule_musician import FallbackMusician
from bridge.musicians.thread_engine import ThreadEngine
from bridge.settings.parameters import MODES

MAGIC = int.from_bytes(b'1GEAUDIO'[::-1], 'big')
PRESETS = ['own text', 'duet', 'endless', 'string-quartet', 'trading-fours', 'orchestrate', 'band', 'take-over']
KEYS = ["preset's", 'auto', 'off', 'C major']
RATE = 48000


def memory(rate: int = RATE, ahead: int = 4800, channels: tuple[int, int] = (0, 0)) -> int:
    """A descriptor of shared memory as plugin/meeting.hpp lays it out; channels of sound in and out."""
    rings, queue = [64 + n * 4 * (1 << 16) for n in channels], 64 + 4096 * 32
    size = 512 + sum(rings) + 2 * queue
    descriptor = os.memfd_create('genaudio-test')
    os.ftruncate(descriptor, size)
    words = np.zeros(size // 8, np.int64)
    words[:7] = MAGIC, LAYOUT, size, rate, *channels, ahead
    for at, n in ((64, channels[0]), (64 + rings[0] // 8, channels[1])):
        words[at + 2], words[at + 3] = 1 << 16, n
    for at in (size - 2 * queue, size - queue):
        words[at // 8 + 2] = 4096
    os.pwrite(descriptor, words.tobytes(), 0)
    return descriptor


@dataclass
class HostBlocks:
    """A host and its plug-in: call `run`, and look at `played`, a list of (frame of the song, bytes)."""

    values: dict[int, float] = field(default_factory=dict)
    musician: type = FallbackMusician
    rate: int = RATE
    offline: bool = True

    def __post_init__(self) -> None:
        self.meeting = Meeting(memory(self.rate))
        self.lines: list[str] = []
        values = [0.0] * 17
        values[1], values[3] = 1.0, 1.0
        for number, value in self.values.items():
            values[number] = value
        self.state = BandState(
            {'presets': PRESETS, 'modes': ["preset's", *MODES], 'keys': KEYS, 'values': values}, self.lines.append
        )
        self.band = HostBand(
            self.meeting, lambda name, clock: ThreadEngine(lambda: self.musician, clock, notify=self.lines.append),
            self.state, self.lines.append,
        )  # fmt: skip
        self.meeting.words[Meeting.OFFLINE] = self.offline
        self.position, self.turn, self.beat, self.tempo, self.meter = 0, 0, 0.0, 120.0, (4, 4)
        self.playing = False
        self.played: list[tuple[int, bytes]] = []  # (position, message)
        self.down: set[tuple[int, int]] = set()
        self._before: list[Event] = []

    def tell(self, kind: int, index: int = 0, value: float = 0.0, more: float = 0.0, after: int = 0) -> None:
        assert self.meeting.events.put(Event(self.position + after, kind, index, value, more))

    def play(self, beat: float = 0.0, *, afresh: bool = True) -> None:
        """The transport starts, or jumps."""
        self.end_all()
        self.turn += 1
        self.playing, self.beat = True, beat
        self.tell(METER, self.meter[0] | self.meter[1] << 8 | afresh << 16)
        self.tell(START, self.turn, beat, self.tempo)

    def stop(self) -> None:
        self.end_all()
        self.turn += 1
        self.playing = False
        self.tell(STOP, self.turn)

    def bend(self, tempo: float) -> None:
        self.tempo = tempo
        self.tell(TEMPO, 0, self.beat, tempo)

    def set(self, number: int, value: float) -> None:
        self.tell(VALUE, number, value)

    def end_all(self) -> None:
        self.played += [(self.position, bytes((0x80 | channel, note, 0))) for channel, note in sorted(self.down)]
        self.down.clear()

    def run(self, frames: int, block: int = 512, notes: list[tuple[int, bytes]] | None = None) -> None:
        """Let so many frames pass; `notes` are (frame from here, message)."""
        waiting, begin = sorted(notes or [], key=lambda item: item[0]), self.position
        while self.position < begin + frames:
            n = min(block, begin + frames - self.position)
            while waiting and waiting[0][0] < self.position - begin + n:
                at, data = waiting.pop(0)
                index = int.from_bytes((data + b'\0\0')[:3], 'little') | len(data) << 24
                self.tell(MIDI, index, after=begin + at - self.position)
            self.meeting.inbox.write(np.zeros((0, n), np.float32))
            self.band.work()
            self._emit(n)
            self.position += n
            if self.playing:
                self.beat += n * self.tempo / 60 / self.rate

    def _emit(self, n: int) -> None:
        pace = self.tempo / 60 / self.rate
        self._before += list(self.meeting.answers.take(1 << 62))
        while self._before:
            event = self._before[0]
            frame = max(round((event.value - self.beat) / pace), 0) if self.playing else 0
            if event.more == self.turn and frame >= n:
                return
            self._before.pop(0)
            if event.more != self.turn:
                continue
            data = (event.index & 0xFFFFFF).to_bytes(3, 'little')
            key = (data[0] & 15, data[1])
            if data[0] >> 4 == 9:
                self.down.add(key)
            elif data[0] >> 4 == 8:
                if key not in self.down:
                    continue
                self.down.discard(key)
            self.played.append((self.position + frame, data))

    def onsets(self) -> list[int]:
        return [at for at, data in self.played if data[0] >> 4 == 9]

    def close(self) -> None:
        self.band.engine.close()
