"""The two ends of a chaos run on JACK: keys that play whatever they are told, and a witness at the wire."""

import contextlib
import heapq
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from bridge.midi.messages import note_off
from bridge.midi.sender import Key
from bridge.midi.wire_check import WireCheck, WireFault
from bridge.system.jack_client import open_client

REPEATED = (0.03, 0.12)  # seconds after a note-off within which JackMidi sends it again


class DeskKeys:
    """A JACK client with two MIDI outputs, ``out`` and ``clock``, that sends bytes at their frames."""

    def __init__(self, name: str) -> None:
        self._client = open_client(name)
        self.rate = int(self._client.samplerate)
        self.ports: dict[str, Any] = {port: self._client.midi_outports.register(port) for port in ('out', 'clock')}
        self.name = self.ports['out'].name
        self._plan: list[tuple[int, int, str, bytes]] = []
        self._new: deque[tuple[int, str, bytes]] = deque()
        self._number = 0
        self.down: set[tuple[str, int, int]] = set()  # (output, channel, note) of keys that were ever pressed
        self._client.set_process_callback(self._process)
        self._client.activate()

    def send(self, after_s: float, message: bytes, output: str = 'out') -> None:
        """Send `message` `after_s` seconds from now."""
        self._new.append((self._client.frame_time + int(after_s * self.rate), output, message))

    def lift(self, channel: int, note: int, after_s: float, output: str = 'out') -> None:
        """Let a key go `after_s` seconds from now, and once more whenever all are let go: the note-off may be lost."""
        self.send(after_s, note_off(channel, note), output)
        self.down.add((output, channel, note))

    def lift_all(self) -> None:
        """Let every key go that was ever pressed: one that a phrase presses later needs it again."""
        for number, (output, channel, note) in enumerate(sorted(self.down)):
            self.send(0.02 + 0.0002 * number, note_off(channel, note), output)

    def _process(self, frames: int) -> None:
        with contextlib.suppress(Exception):  # garbage that JACK refuses must not end the client
            start = self._client.last_frame_time
            for port in self.ports.values():
                port.clear_buffer()
            while self._new:
                frame, output, message = self._new.popleft()
                self._number += 1
                heapq.heappush(self._plan, (frame, self._number, output, message))
            while self._plan and self._plan[0][0] < start + frames:
                frame, _, output, message = heapq.heappop(self._plan)
                with contextlib.suppress(Exception):
                    self.ports[output].write_midi_event(min(max(frame - start, 0), frames - 1), message)

    def close(self) -> None:
        """Vanish, whatever is down."""
        with contextlib.suppress(Exception):
            self._client.deactivate()
            self._client.close()


class Witness:
    """Hears the outputs of the daemon and counts what must not be; independent of all that is ours but the parser.

    JACK loses what a cycle carries when a client is late. The witness knows when that was, and takes no fault for one
    of the daemon that such a loss explains: for a key that stays on, the note-off and its repetition must be lost, and
    the daemon must take it to be off (`believes`).
    """

    def __init__(self, name: str, n_outputs: int, believes: Callable[[Key], bool] = lambda key: False) -> None:
        self._client = open_client(name)
        self._believes = believes
        self.rate = int(self._client.samplerate)
        self.client: Any = self._client
        self.ports = [self._client.midi_inports.register(f'in {i + 1}') for i in range(n_outputs)]
        self.check = WireCheck()
        self.heard = self.unsure = 0
        self.gaps: list[tuple[float, float]] = []  # seconds in which events may be lost
        self.faults: list[WireFault] = []
        self._seen = 0  # faults of the check looked at
        self._stale: dict[Key, float] = {}  # on when the connection was pulled
        self._events: deque[tuple[int, int, bytes]] = deque()
        self._lost: deque[tuple[int, int]] = deque()
        self._next: int | None = None
        self._client.set_process_callback(self._process)
        self._client.set_xrun_callback(self._xrun)
        self._client.activate()

    def _process(self, frames: int) -> None:
        start = self._client.last_frame_time
        if self._next is not None and start != self._next:
            self._lost.append((self._next, start))
        self._next = start + frames
        for number, port in enumerate(self.ports):
            self._events.extend((start + offset, number, bytes(data)) for offset, data in port.incoming_midi_events())

    def _xrun(self, delay: float) -> None:
        now = self._next or 0
        self._lost.append((now - 2 * self._client.blocksize, now + 2 * self._client.blocksize))

    @property
    def now(self) -> float:
        """Seconds on JACK's clock."""
        return self._client.frame_time / self.rate

    def take(self) -> None:
        """Work in what was heard since."""
        while self._lost:
            first, last = self._lost.popleft()
            self.gaps.append((first / self.rate, last / self.rate))
        while self._events:
            frame, output, message = self._events.popleft()
            self.heard += 1
            if message and message[0] & 0xE0 == 0x80 and len(message) > 2:
                self._stale.pop((output, message[0] & 15, message[1]), None)
            if message:
                self.check.feed(frame / self.rate, output, message)
        self._judge()

    def _judge(self) -> None:
        for fault in self.check.faults[self._seen :]:
            lost = self._both_lost if fault.kind == 'hung' else self._one_lost
            if lost(fault.since, fault.time) and not (fault.kind == 'hung' and self._believes(fault.key)):
                self.unsure += 1
            else:
                self.faults.append(fault)
        self._seen = len(self.check.faults)

    def _one_lost(self, since: float, until: float) -> bool:
        return any(last >= since and first <= until for first, last in self.gaps)

    def _both_lost(self, since: float, until: float) -> bool:
        within = [(first, last) for first, last in self.gaps if last >= since and first <= until]
        if any(last - first > REPEATED[1] for first, last in within):
            return True
        return any(
            other[0] - one[1] <= REPEATED[1] and other[1] - one[0] >= REPEATED[0]
            for i, one in enumerate(within)
            for other in within[i + 1 :]
        )

    def pulled(self, output: int) -> None:
        """The connection of `output` was taken away: what is on there must end when it is back."""
        self.take()
        self._stale |= {key: since for key, since in self.check.sounding.items() if key[0] == output}
        self.check.forget(output)

    def sounding(self) -> set[Key]:
        """Keys that are on."""
        self.take()
        return {*self.check.sounding, *self._stale}

    def must_be_quiet(self) -> None:
        """Nothing may sound now: what does is hung."""
        self.take()
        now = self.now
        for key, since in self._stale.items():
            self.check.faults.append(WireFault('hung', now, key, since))
        self._stale.clear()
        self.check.must_be_quiet(now)
        self._judge()

    def none_longer_than(self, seconds: float) -> None:
        """Whatever has sounded for longer is hung."""
        self.take()
        self.check.none_longer_than(seconds, self.now)
        self._judge()

    def wire(self, sources: Sequence[str], sink_of: Callable[[int], Any]) -> bool:
        """Connect outputs of the daemon to us; whether all are connected."""
        done = True
        for number, source in enumerate(sources):
            try:
                port = sink_of(number)
                if source not in {peer.name for peer in self._client.get_all_connections(port)}:
                    self._client.connect(source, port)
            except Exception:
                done = False
        return done

    def close(self) -> None:
        """Leave the server."""
        with contextlib.suppress(Exception):
            self._client.deactivate()
            self._client.close()
