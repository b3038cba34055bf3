"""The plug-in process itself: effects between the ring of stems and the ring of what is finished.

It is started, watched and started again by `PluginHost` (effects_host.py), and may die at any time.
"""

import contextlib
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from bridge.audio.callback import AudioRegisters
from bridge.audio.shared_ring import Ring
from bridge.plugins.effects import CHUNK, Chain, EffectFault, moves_latency
from bridge.plugins.loading import BadParameter, load_link, parameter_names, set_parameter
from bridge.settings.effects_table import Chains, EffectSpec
from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.processes.child_process import begin, messages
from genaudio_core.processes.child_watch import Heartbeat, die_with_parent

BACKLOG = 0.25  # seconds of stems, beyond two blocks, left unworked before the process jumps to the newest
TELL_SECONDS = 10.0  # between two lines about the same
PAIR = 256  # `Heartbeat.at` is 0, or 1 + pair * PAIR + effect


def run_plugins(
    chains: Chains,
    sample_rate: int,
    n_channels: int,
    stems_name: str,
    finished_name: str,
    registers_name: str,
    wake: Any,
    cells: Any,
    pipe: Connection,
) -> None:
    """Body of the process (`ChildProcess`)."""
    import signal

    heart = begin(cells, grace=0.5)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(True)  # a plug-in that hangs in here hears nothing
    with contextlib.suppress(EOFError, OSError):  # the parent is gone, and so are we
        loaded = _load(chains, sample_rate, heart, pipe)
        if loaded is None:
            return
        stage = _Stage(
            loaded, Ring(n_channels, stems_name), Ring(n_channels, finished_name), AudioRegisters(registers_name),
            sample_rate,
        )  # fmt: skip
        pipe.send(('known', {
            pair: [frozenset(parameter_names(plugin)) if plugin else None for plugin in chain.plugins]
            for pair, chain in loaded.items()
        }))  # fmt: skip
        pipe.send(('ready', stage.latency))
        try:
            _work(stage, heart, wake, pipe)
        except _Fault as fault:
            pipe.send(('fault', (fault.pair, fault.index, str(fault))))


class _Fault(Exception):
    """An effect of a pair misbehaved."""

    def __init__(self, pair: int, error: EffectFault) -> None:
        super().__init__(str(error))
        self.pair, self.index = pair, error.index


def _load(chains: Chains, sample_rate: int, heart: Heartbeat, pipe: Connection) -> dict[int, Chain] | None:
    """Load what can be loaded, and say so; None where an effect of the preset cannot be as it is wanted."""

    def load(pair: int, index: int, link: EffectSpec) -> Any:
        pipe.send(('loading', (pair, index)))  # if this is the last that is heard of us, it was this one
        try:
            plugin = load_link(link, lambda text: pipe.send(('told', text)))
            if link.path and not plugin.is_effect:
                raise GenaudioError(f'The plug-in {link.path} is an instrument; on a stem there is nothing to play it.')
            return plugin
        except Exception as error:
            if link.path and not isinstance(error, BadParameter):
                pipe.send(('left out', (pair, index, one_line(error))))
                return None
            raise

    loaded = {}
    try:
        for pair, links in chains.items():

            def blame(index: int | None, pair: int = pair) -> None:
                heart.at = 0 if index is None else 1 + pair * PAIR + index

            links = list(links)
            while True:
                try:
                    loaded[pair] = Chain(
                        links, sample_rate, lambda index, link, pair=pair: load(pair, index, link), blame
                    )
                    break
                except EffectFault as fault:  # as soon as it was given silence
                    pipe.send(('left out', (pair, fault.index, str(fault))))
                    links[fault.index] = replace(links[fault.index], left_out=True)
    except GenaudioError as error:
        pipe.send(('failed', one_line(error)))
        return None
    return loaded


def _work(stage: '_Stage', heart: Heartbeat, wake, pipe: Connection) -> None:
    """Work until told to quit; raises `_Fault`, and EOFError where the parent is gone."""
    loaded = stage.chains
    looked = silenced_at = behind_at = 0.0
    silenced = skipped = 0
    while True:
        heart.beat()
        wake.acquire(timeout=0.02)
        while wake.acquire(block=False):  # one waking is enough for all that has come
            pass
        stage.work()
        now = time.monotonic()
        if now - looked > 0.5:
            looked = now
            if any(chain.has_moved for chain in loaded.values()):
                stage.measure_again()
                pipe.send(('ready', stage.latency))
            count = sum(chain.silenced for chain in loaded.values())
            if count > silenced and now - silenced_at > TELL_SECONDS:
                silenced_at = now
                pipe.send(('told', 'An effect returned samples that are not numbers; they became silence.'))
            silenced = count
            if stage.skipped > skipped and now - behind_at > TELL_SECONDS:
                behind_at = now
                pipe.send(('told', 'The effects are too slow for this machine: in part the stems play without them.'))
            skipped = stage.skipped
        for message, value in messages(pipe):
            if message == 'quit':
                return
            if message == 'parameter':
                pair, index, name, number = value
                try:
                    plugin = loaded[pair].plugins[index]
                    if plugin is None:
                        continue
                    heart.at = 1 + pair * PAIR + index
                    now_is = set_parameter(plugin, name, number)
                    heart.at = 0
                    pipe.send(('set', (pair, index, name, now_is)))
                    if moves_latency(name):
                        stage.measure_again()
                        pipe.send(('ready', stage.latency))
                except (GenaudioError, KeyError, IndexError) as error:
                    heart.at = 0
                    pipe.send(('told', str(error)))
            elif message == 'state':
                pipe.send(('state', {
                    pair: [_state(plugin) for plugin in chain.plugins] for pair, chain in loaded.items()
                }))  # fmt: skip


def _state(plugin: Any) -> bytes:
    try:
        return getattr(plugin, 'raw_state', b'') if plugin else b''
    except Exception:  # of the plug-in: it has none, then
        return b''


class _Stage:
    """Between the two rings: pairs with a chain go through it, the others are copied."""

    def __init__(
        self, chains: dict[int, Chain], stems: Ring, finished: Ring, registers: AudioRegisters, sample_rate: int
    ):
        self.chains, self.stems, self.finished, self.registers = chains, stems, finished, registers
        self.at = max(stems.end, finished.end)  # position of the next chunk in
        self.skipped = 0  # times that it could not keep up
        self._patience = round(BACKLOG * sample_rate)  # samples
        self._pending: dict[int, np.ndarray] = {}
        self._block = np.empty((stems.n_channels, CHUNK), np.float32)
        self._restart()

    @property
    def latency(self) -> int:
        """Samples that the slowest chain holds back."""
        return max((chain.latency for chain in self.chains.values()), default=0)

    def measure_again(self) -> None:
        """After a change of what a chain holds back."""
        for pair, chain in self.chains.items():
            try:
                chain.assemble()
            except EffectFault as error:
                raise _Fault(pair, error) from None
        self.at = max(self.at, self.finished.end)
        self._restart()

    def _restart(self) -> None:
        for chain in self.chains.values():
            chain.reset()
        self._out_at = self.at
        self.finished.skip(self.at)  # what is under way is lost, and a bounce need not wait for it
        self._plain = np.zeros((self.stems.n_channels, 0), np.float32)
        self._pending = {pair: np.zeros((2, 0), np.float32) for pair in self.chains}

    def work(self, most: int = 32) -> None:
        """Work off what is there, `most` chunks at a time: who asks must be heard as well."""
        for _ in range(most):
            behind = self.stems.end - self.at
            if behind < CHUNK:
                return
            # A gap (results of the worker were late), or all that is wanted has long been played without us.
            # A block of stems comes at once, and the next may just have come.
            late = behind > self._patience + 2 * int(self.registers.words[AudioRegisters.BLOCK])
            if late or not self.stems.read_into(self._block, self.at):
                newest = self.stems.end - CHUNK if late else self.at + CHUNK
                self.skipped += late
                self.at = max(self.stems.begin, self.finished.end, newest)
                self._restart()
                continue
            self.at += CHUNK
            self._plain = np.concatenate([self._plain, self._block], -1)
            for pair, chain in self.chains.items():
                try:
                    made = chain.process(self._block[2 * pair : 2 * pair + 2])
                except EffectFault as error:
                    raise _Fault(pair, error) from None
                self._pending[pair] = np.concatenate([self._pending[pair], made], -1)
            n = min([self._plain.shape[1], *(p.shape[1] for p in self._pending.values())])
            if not n:
                continue
            out = self._plain[:, :n].copy()
            self._plain = self._plain[:, n:]
            for pair in self.chains:
                out[2 * pair : 2 * pair + 2] = self._pending[pair][:, :n]
                self._pending[pair] = self._pending[pair][:, n:]
            if self._out_at >= self.finished.end:
                self.finished.write(out, self._out_at)
            self._out_at += n
