"""The audio callback without a device, and the memory through which other processes steer and watch it.

`AudioCore.process` copies, compares two numbers and, where a result is missing, fades to the delayed dry signal. It
takes no lock, logs nothing, and allocates nothing but once when the blocks become larger.

Nothing is asked of it inside samples. What is set from outside is a word of `AudioRegisters`, each with one writer,
and is read once a block: margin and hop (host), the block size (device), bypass, plug-ins, the end. That a jump must
be smoothed is a plain switch that only the callback sees.

Samples are finite on the way in and on the way out, whatever device, model and plug-ins do (`FiniteGuard`).
"""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bridge.audio.finite_guard import FiniteGuard
from bridge.audio.shared_ring import Ring
from bridge.system.shared_memory import Shared

FADE = 0.01  # seconds from dry to wet, once results are there again
DECLICK = 0.004  # seconds over which a jump that cannot be avoided is spread
MARGINS = 16  # hops of margin that are told apart in what blocks needed
BOUNCE_WAIT = 2.0  # seconds that a bounce waits for one result


def total_latency(block: int, hop: int, margin_samples: int = 0) -> int:
    """Return the samples from input to output through callback, worker and back.

    The callback hands over a block and at once reads what belongs to the block ``latency`` samples before. By then
    the worker has seen the blocks before this one: at worst ``hop - gcd(block, hop)`` of their samples wait for a
    whole hop, and the newest hop taken completes the one before it. The worker has one block of time to do it, and
    the margin more. Blocks of 256 with a hop of 256: 256 + 2 * 256 - 256 = 512 samples.

    Parameters
    ----------
    block, hop, margin_samples
        Samples.
    """
    return block + 2 * hop - math.gcd(block, hop) + margin_samples


class AudioRegisters:
    """Words of 8 bytes between the processes of the audio side, each written by one of them.

    Parameters
    ----------
    name
        Of an existing one, to attach to it.
    shared
        False: in this process only.
    """

    # Written by the host, and read by the callback once a block.
    MARGIN, BYPASS, PLUGINS, ENDING, RESTARTS, HOP = range(6)
    # Written by the process of the callback.
    BLOCK, BLOCKS, UNDERRUNS, FADES, XRUNS, LOSSES, BAD_IN, BAD_RESULTS, FAULTS, NEEDED = range(8, 18)
    _SIZE = NEEDED + MARGINS + 1

    def __init__(self, name: str | None = None, *, shared: bool = True):
        self._shared = Shared(self._SIZE * 8 if name is None else 0, name) if shared or name else None
        self.words = np.zeros(self._SIZE, np.int64) if self._shared is None else (
            self._shared.array(np.int64, self._SIZE)
        )  # fmt: skip

    @property
    def name(self) -> str:
        """For the process that attaches."""
        assert self._shared is not None
        return self._shared.name

    def close(self) -> None:
        """Let go; the last figures can still be read in this process."""
        self.words = self.words.copy()
        if self._shared is not None:
            self._shared.close()
            self._shared = None


def _word(index: int, doc: str) -> Any:
    def get(self: Any) -> int:
        return int(self._registers.words[index])

    def put(self: Any, value: int) -> None:
        self._registers.words[index] = value

    return property(get, put, doc=doc)


class Counts:
    """Counts of faults since the start; may be read in any process."""

    def __init__(self, registers: AudioRegisters | None = None):
        self._registers = registers or AudioRegisters(shared=False)

    blocks = _word(AudioRegisters.BLOCKS, 'Blocks that were played.')
    underruns = _word(AudioRegisters.UNDERRUNS, 'Blocks that wanted a result and had none.')
    fades = _word(AudioRegisters.FADES, 'Times that wet became dry.')
    device_xruns = _word(AudioRegisters.XRUNS, 'Xruns that the device told.')
    device_losses = _word(AudioRegisters.LOSSES, 'Times that the device went away.')
    restarts = _word(AudioRegisters.RESTARTS, 'Times that the inference process was started again.')
    bad_input = _word(AudioRegisters.BAD_IN, 'Samples of the input, of either channel, that were NaN or infinite.')
    faults = _word(AudioRegisters.FAULTS, 'Blocks of silence because the callback failed.')
    bad_results = _word(AudioRegisters.BAD_RESULTS, 'Blocks whose result or output was not finite.')


class AudioCore:
    """The callback. Its settings and counts may be used from any thread and, over `registers`, from another process.

    Parameters
    ----------
    inbox, outbox
        Rings to and from the worker; `outbox` has the channels that `process` fills.
    sample_rate, block, hop, margin_samples
        Hz and samples.
    wake
        Called after every block.
    registers
        Shared with others; without it there is one for this process alone.
    finished
        Ring of the stems after plug-ins (effects_host.py), preferred while it is in time.
    """

    def __init__(
        self, inbox: Ring, outbox: Ring, *, sample_rate: int, block: int, hop: int, margin_samples: int,
        wake: Callable[[], None], registers: AudioRegisters | None = None, finished: Ring | None = None,
    ):  # fmt: skip
        self.inbox, self.outbox, self.wake = inbox, outbox, wake
        self.sample_rate = sample_rate
        self._registers = registers or AudioRegisters(shared=False)
        self.registers = self._registers
        self.hop = hop
        self.set_timing(block, margin_samples)
        self.counts = Counts(self._registers)
        self._finished = finished
        self._through_plugins = False
        self.waits = False  # in freewheel (a bounce) there is time, and every result is waited for
        self._wet = False  # what plays
        self._begun = False  # results have been there once
        self._ramp_at = 0
        self._ramp = np.linspace(0, 1, max(1, round(FADE * sample_rate)) + 1, dtype=np.float32)[1:]
        n = max(1, round(DECLICK * sample_rate))
        self._fall = (0.5 + 0.5 * np.cos(np.pi * np.arange(1, n + 1) / n)).astype(np.float32)
        self._fall_at = n
        self._level = 1.0  # 0 once it has ended
        self._jump_wanted = False  # set and cleared by `process` and what it calls, nowhere else
        self._timing = (block, hop, margin_samples)  # as the last block had it
        self._latency = total_latency(block, hop, margin_samples)
        self._step = np.zeros((outbox.n_channels, 1), np.float32)
        self._last = np.zeros((outbox.n_channels, 1), np.float32)
        self._guard_in, self._guard_out = FiniteGuard(2, n), FiniteGuard(outbox.n_channels, n)
        self._make_room(max(block, 1024))

    # --- set from outside ---------------------------------------------------------------------------------------

    block = _word(AudioRegisters.BLOCK, 'Samples per callback.')
    margin_samples = _word(AudioRegisters.MARGIN, 'Samples of delay for safety.')
    hop = _word(AudioRegisters.HOP, 'Samples that the worker takes at once.')
    bypass = property(
        lambda self: bool(self._registers.words[AudioRegisters.BYPASS]),
        lambda self, on: self._registers.words.__setitem__(AudioRegisters.BYPASS, int(on)),
        doc='The delayed input plays, whatever results there are.',
    )
    ending = property(
        lambda self: bool(self._registers.words[AudioRegisters.ENDING]),
        lambda self, on: self._registers.words.__setitem__(AudioRegisters.ENDING, int(on)),
        doc='Fade out, and be silent from then on.',
    )

    @property
    def finished(self) -> Ring | None:
        """The ring of the stems after plug-ins while it is in use."""
        return self._finished if self._registers.words[AudioRegisters.PLUGINS] else None

    @finished.setter
    def finished(self, ring: Ring | None) -> None:
        if ring is not None:
            self._finished = ring
        self._registers.words[AudioRegisters.PLUGINS] = ring is not None

    @property
    def needed(self) -> np.ndarray:
        """Blocks, (n,), by the whole hops of margin with which their result would have been in time; the last: more."""
        return self._registers.words[AudioRegisters.NEEDED :]

    @property
    def latency(self) -> int:
        """Samples from input to output, from the next block on."""
        return total_latency(self.block, self.hop, self.margin_samples)

    def set_timing(self, block: int, margin_samples: int) -> None:
        """Use another block size or margin from the next block on: the delay changes, the jump is smoothed.

        From any thread or process. Each is one word; the callback sees it whole, and takes it up at a block's start.
        """
        if self.block != block:
            self.block = block
        self.margin_samples = margin_samples

    # --- the callback -------------------------------------------------------------------------------------------

    def _jump(self) -> None:
        self._jump_wanted = True  # measured in `_blend`, where the new signal is known

    def _make_room(self, n: int) -> None:
        self._given = np.zeros((2, n), np.float32)
        self._dry = np.zeros((2, n), np.float32)
        self._results = np.zeros((self.outbox.n_channels, n), np.float32)
        self._good = np.ones((self.outbox.n_channels, n), bool)

    @np.errstate(all='ignore')  # the guards deal with what huge samples become, and a warning costs time
    def process(self, indata: np.ndarray, outdata: np.ndarray) -> None:
        """Take a block (2, n_samples), fill `outdata` (channels, n_samples). In the audio thread only."""
        n = indata.shape[-1]
        words, counts = self._registers.words, self.counts
        if n > words[AudioRegisters.BLOCK]:  # the device's word for it may come later than the block
            words[AudioRegisters.BLOCK] = n
        if n > self._dry.shape[1]:
            self._make_room(n)
        timing = (int(words[AudioRegisters.BLOCK]), int(words[AudioRegisters.HOP]), int(words[AudioRegisters.MARGIN]))
        bypass = bool(words[AudioRegisters.BYPASS])
        finished = self.finished
        if timing != self._timing:
            before, self._timing = self._latency, timing
            self._latency = total_latency(*timing)
            if self._latency != before:
                self._jump()
        latency = self._latency
        given, dry, results = self._given[:, :n], self._dry[:, :n], self._results[:, :n]
        given[:] = indata
        if bad := self._guard_in(given):
            counts.bad_input += bad
        position = self.inbox.end - latency
        self.inbox.write(given)
        self.wake()
        behind = self.inbox.end - self.outbox.end - latency + timing[2]
        if position + n <= 0 or not self.inbox.read_into(dry, position):
            self._read_start(dry, position)
        # Plug-ins first; without their result the stems as they are; without those the dry signal.
        through = finished is not None and self._read(finished, results, position)
        ready = through or self._read(self.outbox, results, position)
        if self.waits and not bypass and not (ready if finished is None else through):
            through, ready = self._wait(finished, results, position)
        if ready and through != self._through_plugins:
            self._through_plugins = through
            if self._wet:
                self._jump()
        counts.blocks += 1
        if not ready and self._begun and not bypass:
            counts.underruns += 1
        self._begun |= ready
        if self._begun:
            words[AudioRegisters.NEEDED + min(max(-(-behind // timing[1]), 0), MARGINS)] += 1
        self._blend(dry, results, ready and not bypass, outdata)

    def _read(self, ring: Ring, results: np.ndarray, position: int) -> bool:
        """Read results; what is there and not finite counts as not there."""
        if not ring.read_into(results, position):
            return False
        if np.isfinite(results, out=self._good[:, : results.shape[1]]).all():
            return True
        self.counts.bad_results += 1
        return False

    def _read_start(self, dry: np.ndarray, position: int) -> None:
        """The stream is younger than the delay: silence, then its beginning."""
        dry[:] = 0
        first = max(0, -position)
        if first < dry.shape[-1] and not self.inbox.read_into(dry[:, first:], position + first):
            dry[:] = 0

    def _wait(self, finished: Ring | None, results: np.ndarray, position: int) -> tuple[bool, bool]:
        """Wait for a result, in a bounce; return whether it came through plug-ins, and whether it came."""
        # There are none of what was before the stream.
        until = time.monotonic() + (BOUNCE_WAIT if position >= 0 else 0.0)
        wanted = finished or self.outbox
        while time.monotonic() < until:
            closed = wanted.closed_before
            if wanted.read_into(results, position):
                return wanted is finished, self._read(wanted, results, position)
            # Who makes it has skipped it; but blocks that come as fast as a file is read are skipped for ever, unless
            # the network gets the time for this one.
            if position < closed and self.outbox.end >= position + results.shape[-1]:
                break
            time.sleep(0.0002)
        return False, self._read(self.outbox, results, position)

    def _blend(self, dry: np.ndarray, results: np.ndarray, wanted: bool, out: np.ndarray) -> None:
        n = out.shape[-1]
        if self._wet and not wanted:
            self._wet = False
            self.counts.fades += 1
            self._jump()
        elif not self._wet and wanted:
            self._wet, self._ramp_at = True, 0
        # Every output has the dry signal underneath: left on even channels, right on odd ones.
        out[0::2], out[1::2] = dry[0], dry[1]
        if self._wet:
            if self._ramp_at < len(self._ramp):
                ramp = np.ones(n, np.float32)
                part = self._ramp[self._ramp_at : self._ramp_at + n]
                ramp[: len(part)] = part
                self._ramp_at += n
                out += ramp * (results - out)
            else:
                out[:] = results
        if self._jump_wanted:
            # The signal steps from what was heard last to what is known now; the step is taken back slowly.
            self._jump_wanted = False
            self._step[:] = self._last - out[:, :1]
            self._fall_at = 0
        if self._fall_at < len(self._fall):
            part = self._fall[self._fall_at : self._fall_at + n]
            out[:, : len(part)] += self._step * part
            self._fall_at += n
        if self.ending or self._level < 1:
            self._fade_out(out)
        if self._guard_out(out):  # numbers near the largest there are may have become infinite on the way
            self.counts.bad_results += 1
        self._last[:] = out[:, -1:]

    def _fade_out(self, out: np.ndarray) -> None:
        step = (-1 if self.ending else 1) / (FADE * self.sample_rate)
        levels = np.clip(self._level + step * np.arange(1, out.shape[-1] + 1), 0, 1)
        out *= levels.astype(np.float32)
        self._level = float(levels[-1])

    @property
    def silent(self) -> bool:
        """Whether the fade of `ending` is over."""
        return self.ending and self._level <= 0

    def fade_out(self, patience: float = 0.5) -> None:
        """Let what plays end softly, and wait until that was played, so many seconds at most. Not in the callback."""
        self.ending = True
        until, seen = time.monotonic() + patience, -1
        while time.monotonic() < until:
            if self.silent:
                seen = self.counts.blocks if seen < 0 else seen
                if self.counts.blocks > seen:  # a whole block of silence has left
                    return
            time.sleep(0.002)
