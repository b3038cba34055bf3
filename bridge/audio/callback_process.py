"""The process of the audio callback, in which nothing else runs, and the parent's hand on it.

::

    parent: words, lines, MIDI controllers, AudioHost ── pipe ── audio process: JACK or PortAudio, AudioCore
                     └── registers, rings ─────────────────────────────┘

The callback is Python and needs the interpreter: whatever else would run in its process (a text encoder that loads,
a preset that is parsed) would make it wait. Beside the callback's thread there is one loop that mostly sleeps. It hands
over MIDI, looks whether the device is there, and keeps the connections.

If this process dies the parent starts another, which makes the old one's connections again; if the parent dies, it
ends.
"""

import contextlib
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from bridge.audio.callback import AudioCore, AudioRegisters
from bridge.audio.shared_ring import Ring
from bridge.system.real_time import SWITCH, keep_what_is_loaded
from genaudio_core.errors import GenaudioError
from genaudio_core.processes.child_process import ChildProcess, begin, messages
from genaudio_core.processes.child_watch import RestartLimit, send_now

TURN = 0.005  # seconds of sleep in the loop
RARELY = 30.0  # seconds between two tries, where the process keeps ending


@dataclass(frozen=True)
class AudioSpec:
    """All that a new audio process needs to know; it travels by pickle."""

    sample_rate: int  # Hz
    block: int  # samples
    n_channels: int  # that the core fills
    inbox: str  # names of shared memory
    outbox: str
    registers: str
    finished: str = ''  # ring of the stems after plug-ins
    client: str = ''  # name of the JACK client; '' for a PortAudio device
    outputs: tuple[str, ...] = ()  # JACK: a pair of ports for each
    device: dict[str, Any] | None = None  # PortAudio: from `find_device`
    channels: tuple[int, ...] = ()  # PortAudio: two, to listen to
    restore: tuple[tuple[str, str], ...] = ()  # JACK connections of the process before
    again: bool = False  # it takes the place of one that died: wait for the device


def run_audio(spec: AudioSpec, wake: Any, cells: Any, pipe: Connection) -> None:
    """Body of the process (`ChildProcess`). `wake` is released after every block."""
    heart = begin(cells)
    ended: list[int] = []  # SIGTERM, perhaps sent to all of us at once (systemd): the sound ends softly
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    sys.setswitchinterval(SWITCH)  # the callback must get the interpreter soon (reference/linux-stack.md)
    midi: deque[bytes] = deque(maxlen=4096)
    device = None
    with contextlib.suppress(EOFError, OSError):  # the parent is gone, and so are we
        try:
            core = _core(spec, wake)
            device = _wait_for_device(spec, core, midi, heart, pipe, ended) if spec.again else _device(spec, core, midi)
            if device is None:
                return
            keep_what_is_loaded()
            device.start()
            if spec.restore:
                device.restore(spec.restore)
            pipe.send(('ready', {'client': getattr(device, 'name', ''), 'ms': 1000 * _own_latency(device)}))
            _run(device, core, midi, heart, pipe, ended)
        except GenaudioError as error:
            rate = getattr(error, 'sample_rate', None)
            pipe.send(('failed', str(error)) if rate is None else ('rate', (rate, getattr(error, 'block', 0))))
        except (EOFError, OSError):
            raise
        except Exception as error:
            pipe.send(('failed', ' '.join(f'{type(error).__name__}: {error}'.split())))
    if device is not None:
        core.fade_out()
        device.close()


def _core(spec: AudioSpec, wake: Any) -> AudioCore:
    registers = AudioRegisters(spec.registers)
    finished = Ring(spec.n_channels, spec.finished) if spec.finished else None
    return AudioCore(
        Ring(2, spec.inbox), Ring(spec.n_channels, spec.outbox), sample_rate=spec.sample_rate, block=spec.block,
        hop=int(registers.words[AudioRegisters.HOP]), margin_samples=int(registers.words[AudioRegisters.MARGIN]),
        wake=wake.release, registers=registers, finished=finished,
    )  # fmt: skip


def _device(spec: AudioSpec, core: AudioCore, midi: deque[bytes]) -> Any:
    if spec.client:
        from bridge.audio.jack_device import JackAudio, OtherRate
        from bridge.system.jack_client import open_client

        client = open_client(spec.client)
        if int(client.samplerate) != spec.sample_rate:
            rate, block = int(client.samplerate), int(client.blocksize)
            client.close()
            if spec.again:
                raise OtherRate(rate, block)
            raise GenaudioError(f'JACK runs at {rate} Hz instead of {spec.sample_rate}; start again.')
        core.block = int(client.blocksize)
        return JackAudio(client, core, spec.outputs, midi.append)
    from bridge.audio.portaudio_device import PortAudio

    assert spec.device is not None
    return PortAudio(core, spec.device, list(spec.channels), spec.n_channels)


def _wait_for_device(
    spec: AudioSpec, core: AudioCore, midi: deque[bytes], heart: Any, pipe: Connection, ended: list[int]
) -> Any:
    """Return the device when it is there; None if the parent wants us to end meanwhile."""
    from bridge.system.jack_client import JackClient, NoServer

    told = False
    while True:
        try:
            device = _device(spec, core, midi)
            if told:
                send_now(pipe, ('told', JackClient.BACK))
            return device
        except NoServer as error:
            if not told:
                told = send_now(pipe, ('told', f'{error} Waiting for it.'))
        for _ in range(20):
            heart.beat()
            if ended or any(kind == 'quit' for kind, _ in messages(pipe)):
                return None
            time.sleep(0.05)


def _own_latency(device: Any) -> float:
    return getattr(device, 'device_latency', 0.0)


def _run(device: Any, core: AudioCore, midi: deque[bytes], heart: Any, pipe: Connection, ended: list[int]) -> None:
    connected: list[tuple[str, str]] = []
    while not ended:
        heart.beat()
        for kind, value in messages(pipe):
            if kind == 'quit':
                return
            try:
                if kind == 'connect':
                    device.connect(*value)
                elif kind == 'connect_midi':
                    device.connect_midi(value)
                pipe.send(('done', None))
            except GenaudioError as error:
                pipe.send(('refused', str(error)))
        if told := device.poll():
            send_now(pipe, ('told', told))
        if midi:
            send_now(pipe, ('midi', [midi.popleft() for _ in range(len(midi))]))
        now = getattr(device, 'kept', connected)
        if now != connected:
            connected = list(now)
            send_now(pipe, ('connected', connected))
        time.sleep(TURN)


class AudioProcess:
    """The parent's hand on the audio process. Call `poll` with the host's, from the same thread.

    Parameters
    ----------
    host
        The `AudioHost`, started.
    spec
        What to open; what the host knows is filled in.
    on_midi
        Gets the bytes of every MIDI message, in `poll`.
    wait
        Until the device plays; without it `poll` tells what there is to tell.

    Raises
    ------
    GenaudioError
        If the device cannot be opened.
    """

    def __init__(
        self, host: Any, spec: AudioSpec, *, on_midi: Callable[[bytes], None] = lambda data: None,
        timeout: float = 60.0, wait: bool = True,
    ):  # fmt: skip
        self._host, self._on_midi, self._timeout = host, on_midi, timeout
        self.spec = spec
        self.restarts = 0
        self.client, self.device_ms = '', 0.0
        self._answer: tuple[str, Any] | None = None
        self._lines: deque[str] = deque()  # that `poll` has yet to return
        self._limit = RestartLimit()
        self._why = ''
        self._again_at = 0.0  # when a process that keeps ending is started again
        self._rate: tuple[int, int] | None = None  # (Hz, samples) at which the device came back
        self._launch()
        if not wait:
            return
        try:
            self._await(('ready',))
        except GenaudioError:
            self._child.close(0.0)
            raise

    @classmethod
    def spec_for(cls, host: Any, plugins: Any = None, **what: Any) -> AudioSpec:
        """Return what to open, `what`, with what the host knows."""
        return AudioSpec(
            sample_rate=host.core.sample_rate, block=host.core.block, n_channels=host.outbox.n_channels,
            inbox=host.inbox.name, outbox=host.outbox.name, registers=host.registers.name,
            finished=plugins.finished.name if plugins else '', **what,
        )  # fmt: skip

    def _launch(self) -> None:
        self._why, self._ready = '', False
        self._host.core.ending = False  # the one before may have ended softly
        self._child = ChildProcess(
            run_audio, (self.spec, self._host._wake), name='genaudio-audio', loading=self._timeout
        )

    def _hear(self) -> None:
        for kind, value in self._child.receive():
            if kind == 'told':
                self._lines.append(value)
            elif kind == 'midi':
                for data in value:
                    self._on_midi(data)
            elif kind == 'connected':
                self.spec = replace(self.spec, restore=tuple(map(tuple, value)))
            elif kind == 'failed':
                self._why = value
            elif kind == 'rate':
                self._rate = value
            elif kind == 'ready':
                self._ready = True
                self.client, self.device_ms = value['client'], value['ms']
                self._answer = (kind, value)
            else:
                self._answer = (kind, value)

    def _await(self, kinds: Sequence[str]) -> tuple[str, Any]:
        """Wait for an answer of the process."""
        self._answer = None
        while True:
            alive = self._child.is_alive()  # before its last words are heard
            self._hear()
            if self._answer is not None and self._answer[0] in kinds:
                return self._answer
            if not alive:
                raise GenaudioError(self._why or 'The audio process ended at once.')
            if self._child.is_hung():
                raise GenaudioError('The audio process does not answer.')
            time.sleep(0.005)

    def _ask(self, kind: str, value: Any) -> None:
        self._answer = None
        self._child.send(kind, value)
        answer, why = self._await(('done', 'refused'))
        if answer == 'refused':
            raise GenaudioError(why)

    def connect(self, source: str, sink: str) -> None:
        """Connect two JACK ports by full name, now and after the server or the process comes back.

        Raises
        ------
        GenaudioError
            If one does not exist; those that do are listed.
        """
        self._ask('connect', (source, sink))

    def connect_midi(self, part: str) -> None:
        """Connect every MIDI source whose name has `part` in it.

        Raises
        ------
        GenaudioError
            If there is none; those that are there are listed.
        """
        self._ask('connect_midi', part)

    @property
    def pid(self) -> int:
        """Process number."""
        return self._child.pid

    def poll(self) -> str | None:
        """Look after the process; return a line to tell.

        Raises
        ------
        OtherRate
            If the device came back at another sample rate.
        """
        alive = self._child.is_alive()
        self._hear()
        hung = self._child.is_hung()
        if hung or not alive:
            if self._rate is not None:
                from bridge.audio.jack_device import OtherRate

                raise OtherRate(*self._rate)
            self._revive(hung)
        return self._lines.popleft() if self._lines else None

    def _revive(self, hung: bool) -> None:
        """Start another process; one that keeps ending is given time: whatever is in its way may pass."""
        why = f' ({self._why})' if self._why else ''
        if not self._again_at and not self._limit.allows():
            self._again_at = time.monotonic() + RARELY
            self._lines.append(f'The audio process keeps ending{why}. Nothing sounds; it is tried every {RARELY:g} s.')
            self._child.kill()
        if time.monotonic() < self._again_at:
            return
        if not self._again_at:
            how = 'hangs and was ended' if hung else f'ended{why}'
            self._lines.append(f'The audio process {how}; starting another.')
        self._again_at = 0.0
        self.restarts += 1
        self._child.kill()
        self._child.close(0.0)
        self.spec = replace(self.spec, again=True)
        self._launch()

    def close(self) -> None:
        """Fade out, leave the device, and end the process."""
        self._child.close(3.0)
