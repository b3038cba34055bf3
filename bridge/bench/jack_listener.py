"""A JACK client that only listens, and notes at which frame each MIDI message came."""

import bisect
from collections.abc import Sequence

from bridge.midi.jack_ports import FRAME_WRAP
from bridge.system.jack_client import open_client


class JackListener:
    """Notes what arrives from a port, to the frame: what `bench` holds against the schedule."""

    def __init__(self, name: str, source: str) -> None:
        self._client = open_client(name)
        self._rate = self._client.samplerate  # not known any more after `close`
        self._port = self._client.midi_inports.register('in')
        self._heard: list[tuple[int, bytes]] = []
        self._client.set_process_callback(self._process)
        self._client.activate()
        self._client.connect(source, self._port)

    def _process(self, frames: int) -> None:
        start = self._client.last_frame_time
        self._heard.extend((start + offset, bytes(data)) for offset, data in self._port.incoming_midi_events())

    @property
    def count(self) -> int:
        """Messages that have arrived."""
        return len(self._heard)

    def compare(
        self, scheduled: Sequence[tuple[int, int, bytes]]
    ) -> tuple[list[float], int, list[tuple[float, int, bytes]]]:
        """Hold what arrived against what was scheduled.

        Returns
        -------
        deviations in seconds, each message against the nearest equal one that arrived; messages with none within a
        quarter of a second (an xrun took them); (seconds, 0, message) of all that arrived
        """
        arrived: dict[bytes, list[int]] = {}
        for frame, message in self._heard:
            arrived.setdefault(message, []).append(frame)
        off, lost = [], 0
        for frame, _, message in scheduled:
            frames = arrived.get(message, [])
            at = bisect.bisect_left(frames, frame % FRAME_WRAP)
            near = min(
                (abs(found - frame % FRAME_WRAP) for found in frames[max(at - 1, 0) : at + 1]), default=self._rate
            )
            if near > self._rate / 4:
                lost += 1
            else:
                off.append(near / self._rate)
        return off, lost, [(frame / self._rate, 0, message) for frame, message in self._heard]

    def close(self) -> None:
        """Leave JACK."""
        self._client.deactivate()
        self._client.close()
