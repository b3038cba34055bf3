"""The parent's hand on the port process: starts it, hears from it, starts it again when it dies or hangs."""

import contextlib
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bridge.live.kept_takes import HeardTake, Pieces, SavedTakes, TakeWriter
from bridge.live.port_process import COUNTED, Backend, Setup, run_midi
from bridge.midi.input_queue import Inbox
from bridge.midi.sounding_notes import Sounding
from bridge.settings.band_preset import Preset
from bridge.system.channel import Channel
from bridge.system.notices import Sparing
from genaudio_core.errors import GenaudioError
from genaudio_core.processes.child_process import ChildProcess
from genaudio_core.processes.child_watch import RestartLimit

MAX_RESTARTS, WITHIN = 5, 30.0  # so many in so many seconds; more are of no use
STUCK = 4.0  # seconds without a sign of life after which the port process is ended; it gives fifty in a second
STARTS = 60.0  # seconds that it may take to start, on a machine that is busy


class Supervisor:
    """Runs the port process.

    `send` may be called from any thread, all else from one.

    Parameters
    ----------
    preset : Preset
    notify : callable
        Gets one line for the person; called by `poll`, `pause` and `stop`.
    on_scene : callable, optional
        Gets what a panel draws (`snapshot.Scenes`), ten times a second; called by `poll`, must not wait.
    saved : SavedTakes, optional
        Gets each answer as it is heard; `stop` closes it.
    """

    def __init__(
        self, preset: Preset, notify: Callable[[str], None], *, folder: str = '.', client_name: str = 'genaudio',
        on_scene: Callable[[dict[str, Any]], None] | None = None, saved: SavedTakes | None = None,
    ) -> None:  # fmt: skip
        self.notify = notify
        self.snapshot: dict[str, Any] = {}
        self.restarts = 0
        self.started = False
        handle, self._table = tempfile.mkstemp(prefix='genaudio-sounding-')
        os.close(handle)
        self._setup = Setup(preset, self._table, client_name, draws=on_scene is not None, saves=saved is not None)
        self._on_scene = on_scene
        self._writer = TakeWriter(folder, notify)
        self._saved = saved
        self._pieces = Pieces()
        self._limit = RestartLimit(MAX_RESTARTS, WITHIN)
        self._stopping = self._paused = False
        self._failed = ''  # why it could not start again
        self._before: dict[str, int] = {}  # what the processes before this one counted
        self._lock = threading.Lock()
        self._sent = 0
        self._open: deque[tuple[int, dict[str, Any]]] = deque()  # (number, message) that it has not taken yet
        self._refused_before = self._refused_told = 0
        self._sparing = Sparing(notify)
        self._start()

    def _start(self) -> None:
        with self._lock:  # what other threads send from here on goes to the new process, and is counted again
            waiting, self._sent = [message for _, message in self._open], 0
            self._open.clear()
            self._process = ChildProcess(
                run_midi, (self._setup,), name='genaudio midi', loading=STARTS, stuck=STUCK, parent=True, start=False
            )
            self.channel = Channel(self._process.pipe)
        for message in waiting:  # sent, and not known to be taken
            self._setup.preset = _changed(_reloaded(self._setup.preset, message), message)
        self._process.start()

    @property
    def pid(self) -> int | None:
        """Process id of the port process; None while there is none."""
        return self._process.pid

    @property
    def refused(self) -> int:
        """Messages that were left out because too many came at once."""
        return self._refused_before + self.channel.refused

    @property
    def pending(self) -> int:
        """Messages that were sent, and that the session is not yet known to have taken."""
        return len(self._open)

    def send(self, **message: Any) -> None:
        """Tell the session: ``set=..., value=...``, ``command=...``, ``learn=...``, ``take=...``
        or ``preset=...``."""
        with self._lock:
            if self.channel.send(message):
                self._sent += 1
                self._open.append((self._sent, message))

    def poll(self, timeout: float = 0.0) -> bool:
        """Take in what the process says, for `timeout` seconds; False when it is over.

        Raises
        ------
        GenaudioError
            If the process cannot start: no such port, no JACK.
        """
        end = time.monotonic() + timeout
        try:
            self._listen(end)
        except EOFError:
            if self._stopping:
                return False
            return self._revive('died')
        self._writer.poll()
        if self._saved is not None:
            self._saved.poll()
        if self.refused > self._refused_told:
            self._sparing(f'Too many messages at once: {self.refused - self._refused_told} are left out.')
            self._refused_told = self.refused
        self._sparing.look()
        if not self._stopping and self._process.is_hung():
            return self._revive('hangs')
        return self._stopping is False

    def _listen(self, end: float) -> None:
        """Take in what comes until `end`, and what is there already."""
        with contextlib.suppress(TimeoutError):
            while True:
                self._take(*self.channel.receive(max(end - time.monotonic(), 0)))

    def _take(self, kind: str, value: Any) -> None:
        if kind == 'snapshot':
            self.snapshot = {**value, 'kept': list(self._writer.kept)}
            for name in COUNTED:
                self.snapshot[name] = value[name] + self._before.get(name, 0)
            self._follow(value)
        elif kind == 'scene' and self._on_scene is not None:
            self._on_scene(value)
        elif kind == 'keep':
            take = self._pieces.add(value)
            if isinstance(take, HeardTake):
                assert self._saved is not None
                self._saved.add(take)
            elif take is not None:
                self._writer.write(take)
        elif kind == 'line':
            self.notify(value)
        elif kind == 'started':
            self.started = True
            self.snapshot = {**self.snapshot, **value}
        elif kind == 'failed':
            if self.started:  # it did play before: what is in its way may pass
                self._failed = value
                return
            self._end()
            raise GenaudioError(value)
        elif kind == 'ended':
            self._process.join(2)
        elif kind == 'paused':
            self._paused = True

    def _follow(self, snapshot: dict[str, Any]) -> None:
        """Keep for a restart what the session has taken, learned controllers and settings moved by them included."""
        preset = self._setup.preset
        with self._lock:
            while self._open and self._open[0][0] <= snapshot['applied']:
                preset = _reloaded(preset, self._open.popleft()[1])
        self._setup.preset = replace(
            preset, values=snapshot['values'], controllers=snapshot['controllers'], part_values=snapshot['part_values']
        )

    def _revive(self, how: str) -> bool:
        self._bury(2.0 if how == 'died' else 0.0)
        self._setup.reconnect = self.snapshot.get('connections', [])
        if not self._limit.allows():
            self.notify(f'The MIDI process {"keeps dying" if how == "died" else "hangs again and again"}; giving up.')
            self._end_notes()
            self._end()
            return False
        if self._failed:
            self.notify(f'{self._failed} Trying again.')
            self._failed = ''
            time.sleep(0.5)
        else:
            self.notify(f'The MIDI process {how}; its notes are ended and it starts again.')
        self.restarts += 1
        self._before = {name: self.snapshot.get(name, 0) for name in COUNTED}
        self._start()
        return True

    def _bury(self, patience: float = 2.0) -> None:
        """End what is left of the process; `patience` in seconds, for one that is about to end by itself."""
        self._process.end(patience, ask=False)  # the channel's threads have the pipe
        self._refused_before += self.channel.refused
        self.channel.refused = 0
        self.channel.close()
        self._pieces.clear()
        if self._saved is not None:
            self._saved.cut()

    def _end_notes(self) -> None:
        """End what still sounds ourselves, in this process: nobody else is left to do it."""
        with contextlib.suppress(OSError):
            if not Sounding.shared(self._table).count():
                return
        self._setup.reconnect = self.snapshot.get('connections', [])
        inbox = Inbox()
        try:
            backend = Backend(self._setup, inbox, self.notify)
            backend.sender.close()
            backend.close()
        except Exception as error:  # whatever it is, the person must know
            self.notify(f'Notes may still sound, and cannot be ended ({error}): end them at the synthesizer.')
        finally:
            inbox.close()

    def pause(self) -> None:
        """Ctrl-Z: have the process end its notes and answer nothing until `resume`; it goes on serving its ports."""
        self._paused = False
        self.channel.send({'pause': True})
        end = time.monotonic() + 1
        with contextlib.suppress(EOFError):  # a dead one plays nothing; `poll` finds it later
            while not self._paused and time.monotonic() < end:
                self._listen(time.monotonic() + 0.01)

    def resume(self) -> None:
        """Play again."""
        self._process.renew()
        self.channel.send({'pause': False})

    def stop(self) -> None:
        """End every note, then the processes."""
        self._stopping = True
        self.channel.send({'stop': True})
        end = time.monotonic() + 3
        with contextlib.suppress(EOFError):
            while time.monotonic() < end:
                self._listen(time.monotonic() + 0.05)
                if not self._process.is_alive():
                    self._listen(0.0)  # its last words
                    break
        self._process.join(max(end - time.monotonic(), 0.2))
        if self._process.is_alive() or self._process.exitcode != 0:
            self._process.kill()
            self._end_notes()
        self._end()

    def _end(self) -> None:
        self._stopping = True
        self._bury()
        self._writer.close()
        if self._saved is not None:
            self._saved.close()
        self.snapshot['kept'] = list(self._writer.kept)
        with contextlib.suppress(OSError):
            os.unlink(self._table)


def _reloaded(preset: Preset, message: dict[str, Any]) -> Preset:
    """The preset that a running session makes of `preset` when it gets `message`."""
    return preset.reloaded(message['preset'])[0] if 'preset' in message else preset


def _changed(preset: Preset, message: dict[str, Any]) -> Preset:
    if 'set' in message:
        with contextlib.suppress(GenaudioError):
            return preset.with_live_values({message['set']: message['value']})
    return preset
