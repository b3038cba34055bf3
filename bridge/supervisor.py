"""The parent's hand on the port process: starts it, hears from it, starts it again when it dies."""

import contextlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

from bridge.inbox import Inbox
from bridge.kept_takes import Piece, Pieces, TakeWriter
from bridge.midi_process import Backend, Setup, run_midi
from bridge.preset import Preset
from genaudio_core.errors import GenaudioError

MAX_RESTARTS = 5  # within `WITHIN` seconds; then something is wrong that a restart does not mend
WITHIN = 30.0


class Supervisor:
    """Runs the port process.

    Parameters
    ----------
    preset : Preset
    notify : callable
        Gets one line for the person.
    """

    def __init__(
        self, preset: Preset, notify: Callable[[str], None], *, folder: str = '.', client_name: str = 'genaudio'
    ) -> None:
        self.notify = notify
        self.snapshot: dict[str, Any] = {}
        self.restarts = 0
        self.started = False
        handle, self._table = tempfile.mkstemp(prefix='genaudio-sounding-')
        os.close(handle)
        self._setup = Setup(preset, self._table, client_name)
        self._writer = TakeWriter(folder, notify)
        self._pieces = Pieces()
        self._context = multiprocessing.get_context('spawn')
        self._deaths: list[float] = []
        self._stopping = False
        self._start()

    def _start(self) -> None:
        self.connection, theirs = self._context.Pipe()
        # Not a daemon of multiprocessing: it has a child of its own, the engine.
        self._process = self._context.Process(target=run_midi, args=(theirs, self._setup), name='genaudio midi')
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def send(self, **message: Any) -> None:
        """Tell the session: ``set=..., value=...``, ``command=...``, ``learn=...`` or ``preset=...``."""
        if 'preset' in message:  # a restarted process keeps the settings, as far as the running one took them
            self._setup.preset, _ = self._setup.preset.reloaded(message['preset'])
        if message.get('set'):
            with contextlib.suppress(GenaudioError):
                self._setup.preset = self._setup.preset.with_live_values({message['set']: message['value']})
        with contextlib.suppress(OSError):
            self.connection.send(message)

    def poll(self, timeout: float = 0.0) -> bool:
        """Take in what the process says, wait up to `timeout` seconds for it; False when it is over.

        Raises
        ------
        GenaudioError
            If the process cannot start: no such port, no JACK.
        """
        end = time.monotonic() + timeout
        try:
            while self.connection.poll(max(end - time.monotonic(), 0)):
                kind, value = self.connection.recv()
                if kind == 'snapshot':
                    self.snapshot = {**value, 'kept': list(self._writer.kept)}
                elif kind == 'keep':
                    self._keep(value)
                elif kind == 'line':
                    self.notify(value)
                elif kind == 'started':
                    self.started = True
                    self.snapshot = {**self.snapshot, **value}
                elif kind == 'failed':
                    self._end()
                    raise GenaudioError(value)
                elif kind == 'ended':
                    self._process.join(timeout=2)
                if time.monotonic() >= end:
                    break
        except (EOFError, OSError):
            if not self._stopping:
                return self._revive()
            return False
        self._writer.poll()
        return self._stopping is False

    def _keep(self, piece: Piece) -> None:
        if (take := self._pieces.add(piece)) is not None:
            self._writer.write(take)

    def _revive(self) -> bool:
        self._pieces.clear()
        self._process.join(timeout=2)
        now = time.monotonic()
        self._deaths = [death for death in self._deaths if now - death < WITHIN] + [now]
        self._setup.reconnect = self.snapshot.get('connections', [])
        if len(self._deaths) > MAX_RESTARTS:
            self.notify('The MIDI process keeps dying; giving up.')
            self._end_notes()
            self._end()
            return False
        self.restarts += 1
        self.notify('The MIDI process died; its notes are ended and it starts again.')
        self._start()
        return True

    def _end_notes(self) -> None:
        """End what still sounds ourselves, in this process."""
        with contextlib.suppress(Exception):
            inbox = Inbox()
            backend = Backend(self._setup, inbox, self.notify)
            backend.sender.close()
            backend.close()
            inbox.close()

    def stop(self) -> None:
        """End every note, then the processes."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self.connection.send({'stop': True})
        end = time.monotonic() + 3
        while self._process.is_alive() and time.monotonic() < end:
            with contextlib.suppress(EOFError, OSError):
                if self.connection.poll(0.05):
                    kind, value = self.connection.recv()
                    if kind == 'keep':
                        self._keep(value)
            self._process.join(timeout=0.02)
        if self._process.is_alive() or self._process.exitcode != 0:
            self._process.kill()
            self._process.join(timeout=1)
            self._end_notes()
        self._end()

    def _end(self) -> None:
        self._stopping = True
        if self._process.is_alive():
            self._process.join(timeout=2)
        self._writer.close()
        self.snapshot['kept'] = list(self._writer.kept)
        with contextlib.suppress(OSError):
            self.connection.close()
        with contextlib.suppress(OSError):
            os.unlink(self._table)
