"""An instrument plug-in (VST3, AU) or a SoundFont plays the answer: a JACK client in a process of its own.

::

    [instrument]
    plugin = "Synth.vst3"              # from the preset's folder, or a whole path; or a SoundFont, "GM.sf2"
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
that is missing, does not load or takes too long for it is told, and silent; one that crashes, hangs or returns no
numbers while it plays is started again, and begins with no key down. pedalboard (GPLv3) is imported in its process.
"""

import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from bridge.audio.finite_guard import FiniteGuard
from bridge.audio.jack_sound_client import RETRY, TELL_SECONDS, JackSoundClient
from bridge.plugins.effects import NO_NUMBERS, Chain, EffectFault
from bridge.plugins.font_instrument import SUFFIXES, FontInstrument
from bridge.plugins.loading import load_link, set_parameter
from bridge.settings.effects_table import EffectSpec, Share
from bridge.settings.instrument_table import Instrument, check_plugin
from bridge.system.line_input import LineInput
from bridge.system.notices import notice
from bridge.system.real_time import SWITCH
from bridge.system.signals import SignalWatch
from bridge.system.sound_process import LOAD_SECONDS, SoundProcess
from genaudio_core.errors import GenaudioError, did_you_mean, one_line
from genaudio_core.files import atomic_write
from genaudio_core.processes.child_process import begin
from genaudio_core.processes.child_watch import Heartbeat, die_with_parent

HUNG_SECONDS = 5.0  # in one block of sound, after which the plug-in counts as hung
_DAMPER, _ALL_SOUND_OFF, _ALL_NOTES_OFF = 64, 120, 123


class JackInstrument(JackSoundClient):
    """The JACK client around a loaded plug-in.

    Raises
    ------
    GenaudioError
        If no server runs, or the plug-in does not load, is an effect, or has no such parameter.
    """

    def __init__(self, instrument: Instrument, name: str, on_notice: Callable[[str], None] = notice):
        self.instrument = instrument
        check_plugin(instrument.plugin)
        state = b''
        if instrument.state is not None and instrument.state.is_file():
            try:
                state = instrument.state.read_bytes()
            except OSError as error:
                on_notice(f'The state of the instrument could not be restored: {instrument.state}: {error.strerror}.')
        self.plugin: Any
        if instrument.plugin.suffix.lower() in SUFFIXES:
            self.plugin = FontInstrument(instrument.plugin)
            for parameter, value in instrument.parameters.items():  # it has none
                set_parameter(self.plugin, parameter, value)
        else:
            self.plugin = load_link(
                EffectSpec(path=str(instrument.plugin), parameters=dict(instrument.parameters), state=state), on_notice
            )
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
        self.fault = ''  # why it cannot go on, found in the audio thread
        self.guard = FiniteGuard()
        self._gain = np.float32(10 ** (instrument.gain_db / 20))
        self._sounding: set[tuple[int, int]] = set()  # (channel, note)
        self._turned: deque[tuple[str, float]] = deque()
        self._hush = False
        self._thrown = 0  # samples in a row for which the plug-in threw
        self.rate_changed()

    def rate_changed(self) -> None:
        """Prepare everything for the server's sample rate, and measure the latency."""
        try:
            self.chain = Chain(self.instrument.effects, self.sample_rate) if self.instrument.effects else None
        except EffectFault as fault:
            raise GenaudioError(f'An effect of the instrument does not work. {fault}') from None
        held = self.chain.latency if self.chain else 0
        self._made = np.zeros((2, held), np.float32)  # what the effects have finished and was not played yet
        # Memory is taken now, not while it plays. pedalboard strikes a middle C to see whether a plug-in is awake, and
        # relies on a reset to end it, which not every plug-in heeds.
        ends = [(bytes((0x80 | channel, note, 0)), 0.0) for channel in range(16) for note in range(128)]
        try:
            self.plugin(ends, 0.05, self.sample_rate, num_channels=2, reset=False)
        except Exception as error:
            raise GenaudioError(f'The plug-in {self.instrument.plugin} cannot be played: {one_line(error)}') from None
        self._held, self._reported = held, self._reports()  # a plug-in knows its latency once it has run
        self._sounding.clear()

    def _reports(self) -> int:
        return max(0, int(getattr(self.plugin, 'reported_latency_samples', 0) or 0))

    @property
    def latency(self) -> int:
        """Samples by which it sounds late."""
        return self._held + self._reported

    def has_moved(self) -> bool:
        """Whether the plug-in's own latency has changed since it was asked last. Not in the audio thread."""
        before, self._reported = self._reported, self._reports()
        return before != self._reported

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
        """Fill a block `out` (channels, samples); events are (sample, message). For the thread of the callback."""
        frames = out.shape[1]
        out[:] = 0
        if self.fault:
            return  # the main thread ends the process
        messages = self._messages(events)
        try:
            made = self._two_rows(self.plugin(
                messages, (frames + 1e-3) / self.sample_rate, self.sample_rate, num_channels=2, buffer_size=frames,
                reset=False,
            ))[:, :frames]  # fmt: skip
        except Exception as error:
            # Whether it heard of these keys is not known: all of them are ended as soon as it listens again.
            self._sounding |= {(m[0] & 15, m[1]) for m, _ in messages if m[0] & 0xF0 in (0x80, 0x90)}
            self._hush = True
            self._thrown += frames
            if self._thrown > NO_NUMBERS * self.sample_rate:
                self.fault = f'fails ({one_line(error)})'
            raise
        self._thrown = 0
        made = np.require(made, np.float32, 'W')
        self.guard(made)
        if self.guard.in_a_row > NO_NUMBERS * self.sample_rate:
            self.fault = 'returned nothing but NaN or infinity'
        if self.chain is not None:
            try:
                finished = self.chain.process(made, frames)
            except EffectFault as fault:
                self.fault = f'has an effect that does not work ({fault})'
                return
            self._made = np.concatenate([self._made, finished], axis=1)
            made, self._made = self._made[:, :frames], self._made[:, frames:]
        out[:, : made.shape[1]] = made * self._gain

    @staticmethod
    def _two_rows(made: Any) -> np.ndarray:
        made = np.atleast_2d(np.asarray(made, np.float32))
        if made.ndim != 2 or not made.shape[0]:
            raise ValueError(f'an array of shape {made.shape} instead of sound')
        return np.repeat(made, 2, axis=0) if made.shape[0] == 1 else made[:2]

    def turn(self, on_notice: Callable[[str], None] = notice) -> None:
        """Set what controllers asked for, the newest of each. Not in the audio thread."""
        turned: dict[str, float] = {}
        while self._turned:
            name, share = self._turned.popleft()
            turned[name] = share
        for name, share in turned.items():
            try:
                set_parameter(self.plugin, name, Share(share))
            except GenaudioError as error:
                on_notice(str(error))

    def save(self) -> None:
        """Keep the plug-in's state, if there is a place for it.

        Raises
        ------
        GenaudioError
            If it cannot be kept.
        """
        if self.instrument.state is None:
            return
        try:
            with atomic_write(self.instrument.state) as temporary:
                temporary.write_bytes(self.plugin.raw_state)
        except Exception as error:  # of the disk, or of the plug-in
            raise GenaudioError(f'The state of the instrument could not be saved: {one_line(error)}') from None

    def status(self) -> dict[str, Any]:
        """Figures for a person."""
        silenced = self.guard.blocks + (self.chain.silenced if self.chain else 0)
        return {
            'played': self.played, 'sounding': len(self._sounding), 'xruns': self.xruns, 'faults': self.faults,
            'silenced_blocks': silenced, 'latency_ms': round(1000 * self.latency / self.sample_rate, 2),
        }  # fmt: skip


def _body(instrument: Instrument, name: str, cells: Any, pipe: Connection) -> None:
    """The process: says what a `SoundProcess` says, ('ready', latency in s), and ('fault', what)."""
    heart = begin(cells)
    # The callback must get the interpreter soon, whoever has it (measured: reference/linux-stack.md).
    sys.setswitchinterval(SWITCH)
    ends: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ends.append(number))

    def tell(kind: str, value: Any = None) -> None:
        with contextlib.suppress(OSError):
            pipe.send((kind, value))

    die_with_parent(True)  # a plug-in that hangs while it is loaded hears of nothing
    try:
        player = JackInstrument(instrument, name, lambda line: tell('told', line))
    except Exception as error:
        tell('failed', one_line(error))
        return
    die_with_parent(False)  # from now on there is time to fall silent
    try:
        player.start()
        tell('ready', player.latency / player.sample_rate)
        _play(player, LineInput(None, pipe), heart, tell, lambda: bool(ends))
    except GenaudioError as error:
        tell('told', str(error))
    finally:
        player.close()


def _play(
    player: JackInstrument, lines: LineInput, heart: Heartbeat, tell: Callable[..., None], ended: Callable[[], bool]
) -> None:
    wire_at, silenced, tell_at = 0.0, 0, 0.0
    while True:
        heart.beat()
        now = time.monotonic()
        if player.fault or player.stuck_for > HUNG_SECONDS:
            tell('fault', player.fault or 'hangs')
            os._exit(1)  # the audio thread may never come back: nothing here can be closed
        if (line := player.poll()) is not None:
            tell('told', line)
            if not player.lost:
                tell('ready', player.latency / player.sample_rate)  # the rate may be another
        if not player.lost and now > wire_at:  # the session's ports may come back
            wire_at = now + RETRY
            player.wire()
            if player.has_moved():
                tell('ready', player.latency / player.sample_rate)
        if (count := player.status()['silenced_blocks']) > silenced and now > tell_at:
            silenced, tell_at = count, now + TELL_SECONDS
            tell('told', f'{player.instrument.plugin.name} returned samples that are not numbers; they became silence.')
        player.turn(lambda line: tell('told', line))
        for line in ['quit'] if ended() else lines.wait(0.02):
            if line == 'quit':
                try:
                    player.save()
                except GenaudioError as error:
                    tell('told', str(error))
                tell('status', player.status())
                return
            if line == 'silence':
                player.silence()


class InstrumentProcess(SoundProcess):
    """The instrument beside a session; looked after by `poll`.

    Attributes
    ----------
    latency_s : float
        Seconds by which it sounds late; known once it is ready, and told again when it changes.
    failed : str
        Why it cannot play, or ''.
    """

    consequence = 'The band plays on over its MIDI ports.'

    def __init__(self, instrument: Instrument, name: str = 'genaudio-instrument', *, loading: float = LOAD_SECONDS):
        self.instrument, self.latency_s = instrument, 0.0
        super().__init__(
            _body, (instrument, name), name, what=f'The instrument {instrument.plugin.name}', loading=loading
        )

    def silence(self) -> None:
        """End every note."""
        self.obey('silence')

    def _take(self, kind: str, value: Any) -> list[str]:
        if kind == 'ready':
            self.latency_s = value
        elif kind == 'fault':
            self._hung = value
        return super()._take(kind, value)


def run(
    instrument: Instrument,
    name: str,
    *,
    seconds: float | None = None,
    told: SignalWatch | None = None,
    on_notice: Callable[[str], None] = notice,
) -> dict[str, Any]:
    """Play until `told.ended` or `seconds`; return the final figures. `told` is entered: what signals want of us.

    Raises
    ------
    GenaudioError
        If it cannot play.
    """
    told = told or SignalWatch()
    host = InstrumentProcess(instrument, name)
    until, said = time.monotonic() + seconds if seconds else float('inf'), False
    try:
        while not told.ended and time.monotonic() < until:
            told.look(pause=host.silence)
            for line in host.poll():
                if not host.failed:
                    on_notice(line)
            if host.failed:
                raise GenaudioError(host.failed)
            if host.ready and not said:
                said = True
                late = 1000 * host.latency_s
                on_notice(f'{instrument.plugin.name}: JACK client {name}, {late:.1f} ms late. Ctrl-C ends.')
            time.sleep(0.02)
    finally:
        host.stop()
    return host.status | {'restarts': host.restarts}
