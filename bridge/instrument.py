"""An instrument plug-in (VST3, AU) plays the answer: a JACK client in a process of its own.

::

    [instrument]
    plugin = "Synth.vst3"              # from the preset's folder, or a whole path
    channel = 2                        # of the answer, 1 to 16; all where nothing is said
    gain_db = -6
    connect = ["system:playback"]      # parts of names of audio inputs
    state = "synth.state"              # kept here from one session to the next
    [instrument.parameters]
    cutoff = 0.4
    [instrument.cc]
    74 = "cutoff"                      # controllers of the answer's port
    [[instrument.effects]]
    effect = "Reverb"

The MIDI ports of the session go on as ever: the instrument hears what they send, on the frame they send it. A plug-in
that is missing, does not load or crashes is told, and silent; one that crashes while it plays is started again.
pedalboard (GPLv3) is imported in its process alone.
"""

import contextlib
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from bridge.jack_player import RETRY, JackPlayer, Lines, SoundProcess
from bridge.plugin_effects import Chain, Link, Share, load_link, set_parameter
from bridge.priority import SWITCH
from genaudio_core.command import notice
from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.files import atomic_write

MAX_RESTARTS = 5
_KEYS = ('plugin', 'channel', 'gain_db', 'connect', 'state', 'parameters', 'cc', 'effects')
_DAMPER, _ALL_SOUND_OFF, _ALL_NOTES_OFF = 64, 120, 123


@dataclass(frozen=True)
class Instrument:
    """A plug-in, what it hears, and what comes after it."""

    plugin: Path
    channel: int | None = None  # 0..15
    gain_db: float = 0.0
    connect: tuple[str, ...] = ()
    state: Path | None = None
    parameters: Mapping[str, float | str | bool] = field(default_factory=dict)
    controllers: Mapping[int, str] = field(default_factory=dict)  # number -> parameter
    effects: tuple[Link, ...] = ()


def check_plugin(path: Path) -> None:
    """Check that the plug-in is there.

    Raises
    ------
    GenaudioError
        If it is not; the message names the nearest that is.
    """
    if not path.exists():
        beside = [p.name for p in path.parent.glob('*')] if path.parent.is_dir() else []
        raise GenaudioError(f'There is no plug-in {path}.{did_you_mean(path.name, beside)}')


def parse_instrument(table: Any, folder: Path) -> Instrument:
    """Read an ``[instrument]`` table; its paths count from `folder`.

    Raises
    ------
    GenaudioError
        With the key and what would be right. That the plug-in is there is not checked: the band plays without it.
    """
    from bridge.isolate_preset import effects_of

    if not isinstance(table, Mapping) or not isinstance(table.get('plugin'), str):
        raise GenaudioError('instrument: write [instrument] and below it plugin = "Synth.vst3".')
    for key in table:
        if key not in _KEYS:
            raise GenaudioError(f"unknown key 'instrument.{key}'.{did_you_mean(key, _KEYS)} Known: {', '.join(_KEYS)}.")
    channel, gain = table.get('channel'), table.get('gain_db', 0.0)
    if channel is not None and (isinstance(channel, bool) or not isinstance(channel, int) or not 1 <= channel <= 16):
        raise GenaudioError(f"'instrument.channel' is 1 to 16, not {channel!r}.")
    if isinstance(gain, bool) or not isinstance(gain, (int, float)) or not -60 <= gain <= 12:
        raise GenaudioError(f"'instrument.gain_db' must be in range -60..12, not {gain!r}.")
    connect = table.get('connect', [])
    if not isinstance(connect, list) or not all(isinstance(part, str) and part for part in connect):
        raise GenaudioError('\'instrument.connect\' is a list of names, such as ["system:playback"].')
    state = table.get('state')
    if state is not None and not isinstance(state, str):
        raise GenaudioError(f"'instrument.state' is the name of a file, not {state!r}.")
    parameters, controllers = table.get('parameters', {}), table.get('cc', {})
    if not isinstance(parameters, Mapping) or not all(isinstance(v, (int, float, str)) for v in parameters.values()):
        raise GenaudioError('instrument: below [instrument.parameters] stand lines such as cutoff = 0.4.')
    if not isinstance(controllers, Mapping) or not all(
        str(key).isdecimal() and int(key) < 120 and isinstance(value, str) for key, value in controllers.items()
    ):
        raise GenaudioError('instrument: below [instrument.cc] stand lines such as 74 = "cutoff" (0 to 119).')
    return Instrument(
        folder / Path(table['plugin']).expanduser(), None if channel is None else channel - 1, float(gain),
        tuple(connect), folder / Path(state).expanduser() if state else None, dict(parameters),
        {int(key): value for key, value in controllers.items()}, effects_of(table, folder),
    )  # fmt: skip


class JackInstrument(JackPlayer):
    """The JACK client around a loaded plug-in.

    Raises
    ------
    GenaudioError
        If no server runs, or the plug-in does not load, is an effect, or has no such parameter.
    """

    def __init__(self, instrument: Instrument, name: str):
        self.instrument = instrument
        check_plugin(instrument.plugin)
        state = b''
        if instrument.state is not None and instrument.state.is_file():
            state = instrument.state.read_bytes()
        self.plugin = load_link(Link(path=str(instrument.plugin), parameters=dict(instrument.parameters), state=state))
        if not self.plugin.is_instrument:
            raise GenaudioError(
                f'The plug-in {instrument.plugin} is an effect and cannot be played; put it in [[instrument.effects]].'
            )
        for parameter in instrument.controllers.values():
            if parameter not in self.plugin.parameters:
                known = list(self.plugin.parameters)
                raise GenaudioError(f"{instrument.plugin.name} has no parameter '{parameter}'."
                                    f'{did_you_mean(parameter, known)} It has: {", ".join(known)}.')  # fmt: skip
        super().__init__(name, instrument.connect)
        self.played = 0
        self._gain = np.float32(10 ** (instrument.gain_db / 20))
        self._sounding: set[tuple[int, int]] = set()  # (channel, note)
        self._turned: deque[tuple[str, float]] = deque()
        self._hush = False
        self.rate_changed()

    def rate_changed(self) -> None:
        self.chain = Chain(self.instrument.effects, self.sample_rate) if self.instrument.effects else None
        held = self.chain.latency if self.chain else 0
        self._made = np.zeros((2, held), np.float32)  # what the effects have finished and was not played yet
        self.latency = held + int(getattr(self.plugin, 'reported_latency_samples', 0) or 0)  # samples
        # Memory is taken now, not while it plays. pedalboard strikes a middle C to see whether a plug-in is awake, and
        # relies on a reset to end it, which not every plug-in heeds.
        ends = [(bytes((0x80 | channel, note, 0)), 0.0) for channel in range(16) for note in range(128)]
        self.plugin(ends, 0.05, self.sample_rate, num_channels=2, reset=False)

    def silence(self) -> None:
        self._hush = True

    def _messages(self, events: Sequence[tuple[int, bytes]]) -> list[tuple[bytes, float]]:
        """Return what the plug-in is to hear: (message, seconds into the block)."""
        messages: list[tuple[bytes, float]] = []
        if self._hush:
            self._hush = False
            messages += [(bytes((0x80 | channel, note, 0)), 0.0) for channel, note in self._sounding]
            for channel in {channel for channel, _ in self._sounding} | {self.instrument.channel or 0}:
                messages += [(bytes((0xB0 | channel, number, 0)), 0.0)
                             for number in (_DAMPER, _ALL_NOTES_OFF, _ALL_SOUND_OFF)]  # fmt: skip
            self._sounding.clear()
        for offset, message in events:
            kind, channel = message[0] & 0xF0, message[0] & 0x0F
            if kind == 0xF0 or self.instrument.channel not in (None, channel):
                continue
            if kind == 0xB0 and message[1] in self.instrument.controllers:
                self._turned.append((self.instrument.controllers[message[1]], message[2] / 127))
                continue
            if kind == 0x90 and message[2]:
                self._sounding.add((channel, message[1]))
                self.played += 1
            elif kind in (0x80, 0x90):
                self._sounding.discard((channel, message[1]))
            elif kind == 0xB0 and message[1] in (_ALL_SOUND_OFF, _ALL_NOTES_OFF):
                # Not every plug-in obeys: its notes are ended one by one as well.
                for key in [key for key in self._sounding if key[0] == channel]:
                    messages.append((bytes((0x80 | channel, key[1], 0)), (offset + 0.5) / self.sample_rate))
                    self._sounding.discard(key)
            messages.append((message, (offset + 0.5) / self.sample_rate))
        return messages

    def render(self, out: np.ndarray, events: list[tuple[int, bytes]]) -> None:
        frames = out.shape[1]
        made = self.plugin(
            self._messages(events), (frames + 1e-3) / self.sample_rate, self.sample_rate, num_channels=2,
            buffer_size=frames, reset=False,
        )[:, :frames]  # fmt: skip
        if self.chain is not None:
            finished = self.chain.board(made, self.sample_rate, buffer_size=frames, reset=False)
            self._made = np.concatenate([self._made, finished], axis=1)
            made, self._made = self._made[:, :frames], self._made[:, frames:]
        out[:, : made.shape[1]] = made * self._gain
        out[:, made.shape[1] :] = 0
        if not np.isfinite(out).all():
            np.nan_to_num(out, copy=False, nan=0.0, posinf=0.0, neginf=0.0)

    def turn(self) -> None:
        """Set what controllers asked for, the newest of each. Not in the audio thread."""
        turned: dict[str, float] = {}
        while self._turned:
            name, share = self._turned.popleft()
            turned[name] = share
        for name, share in turned.items():
            set_parameter(self.plugin, name, Share(share))

    def save(self) -> None:
        """Keep the plug-in's state, if there is a place for it."""
        if self.instrument.state is not None:
            with atomic_write(self.instrument.state) as temporary:
                temporary.write_bytes(self.plugin.raw_state)

    def status(self) -> dict[str, Any]:
        """Figures for a person."""
        return {'played': self.played, 'sounding': len(self._sounding), 'xruns': self.xruns, 'faults': self.faults,
                'latency_ms': round(1000 * self.latency / self.sample_rate, 2)}  # fmt: skip


def _body(instrument: Instrument, name: str, orders: Connection, told: Connection) -> None:
    """The process: tells texts, ('ready', latency in seconds), ('failed', why) and ('status', figures)."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The callback must get the interpreter soon, whoever has it (measured: reference/linux-stack.md).
    sys.setswitchinterval(SWITCH)

    def tell(what: Any) -> None:
        with contextlib.suppress(OSError):
            told.send(what)

    try:
        player = JackInstrument(instrument, name)
    except GenaudioError as error:
        tell(('failed', str(error)))
        return
    try:
        player.start()
        tell(('ready', player.latency / player.sample_rate))
        lines, wire_at = Lines(None, orders), 0.0
        while True:
            if (line := player.poll()) is not None:
                tell(line)
            if not player.lost and time.monotonic() > wire_at:  # the session's ports may come back
                wire_at = time.monotonic() + RETRY
                player.wire()
            player.turn()
            for line in lines.wait(0.02):
                if line == 'quit':
                    player.save()
                    tell(('status', player.status()))
                    return
                if line == 'silence':
                    player.silence()
    except GenaudioError as error:
        tell(str(error))
    finally:
        player.close()


class InstrumentProcess(SoundProcess):
    """The instrument beside a session; looked after by `poll`.

    Attributes
    ----------
    latency : float
        Seconds by which it sounds late; known once it is ready.
    failed : str
        Why it cannot play, or ''.
    """

    def __init__(self, instrument: Instrument, name: str = 'genaudio-instrument'):
        self.instrument = instrument
        self.latency, self.ready, self.failed, self.restarts = 0.0, False, '', 0
        self.status: dict[str, Any] = {}
        super().__init__(_body, (instrument, name), name)

    def poll(self) -> list[str]:
        alive, lines = self.process.is_alive(), []
        for what in self._heard():
            if isinstance(what, str):
                lines.append(what)
            elif what[0] == 'ready':
                self.ready, self.latency = True, what[1]
            elif what[0] == 'failed':
                self.failed = what[1]
                lines.append(f'{what[1]} The band plays on over its MIDI ports.')
            elif what[0] == 'status':
                self.status = what[1]
        if alive or self.failed or self.status:
            return lines
        name = self.instrument.plugin.name
        if not self.ready or self.restarts >= MAX_RESTARTS:
            when = 'crashed again and again' if self.ready else 'crashed while it was loaded'
            self.failed = f'The instrument {name} {when}.'
            return [*lines, f'{self.failed} The band plays on over its MIDI ports.']
        self.restarts, self.ready = self.restarts + 1, False
        self._orders.close()
        self._told.close()
        self._launch()
        return [*lines, f'The instrument {name} crashed; it is started again.']

    def stop(self) -> None:
        """End the process; its state is kept."""
        self.obey('quit')
        self.process.join(3.0)
        self.poll()
        super().stop()


def run(
    instrument: Instrument, name: str, *, seconds: float | None = None, ended: Callable[[], bool] = lambda: False,
    on_notice: Callable[[str], None] = notice,
) -> dict[str, Any]:
    """Play until `ended` or `seconds`; return the final figures.

    Raises
    ------
    GenaudioError
        If it cannot play.
    """
    host = InstrumentProcess(instrument, name)
    until, said = time.monotonic() + seconds if seconds else float('inf'), False
    try:
        while not ended() and time.monotonic() < until:
            for line in host.poll():
                if not host.failed:
                    on_notice(line)
            if host.failed:
                raise GenaudioError(host.failed)
            if host.ready and not said:
                said = True
                late = 1000 * host.latency
                on_notice(f'{instrument.plugin.name}: JACK client {name}, {late:.1f} ms late. Ctrl-C ends.')
            time.sleep(0.02)
    finally:
        host.stop()
    return host.status | {'restarts': host.restarts}


def with_session(instrument: Instrument, session: str) -> Instrument:
    """Return `instrument` as it hears the JACK ports of the session of this client name."""
    return replace(instrument, connect=(f'{session}:', *instrument.connect))
