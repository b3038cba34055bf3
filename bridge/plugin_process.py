"""Plug-ins and built-in effects on the stems, in a process of their own: a plug-in that crashes takes only itself down.

::

    worker ──> stems ring ──> plug-in process ──> finished ring ──> device callback
                   └───────────── if that is not there in time: the stems without effects ──┘

A chain belongs to one pair of outputs and is a list of links::

    Link(effect='Reverb', parameters={'room_size': 0.4})                 # built into pedalboard
    Link(path='/usr/lib/vst3/Saturator.vst3', parameters={'drive': 6})   # a VST3 or AU plug-in

pedalboard (GPLv3) is imported here only, in the child. What it takes out of a plug-in's latency it hands back late:
the samples stay in place, and the delay is added to the safety margin.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from bridge.rings import Ring
from genaudio_core.errors import GenaudioError, did_you_mean

CHUNK = 256  # samples at a time
MEASURED = 1 << 15  # samples of silence that tell a chain's latency
_NOT_EFFECTS = {
    'Plugin', 'PluginContainer', 'Pedalboard', 'Chain', 'Mix', 'ExternalPlugin', 'VST3Plugin', 'AudioUnitPlugin',
}  # fmt: skip


@dataclass(frozen=True)
class Link:
    """One effect of a chain: built-in (`effect`) or a plug-in file (`path`)."""

    effect: str = ''
    path: str = ''
    parameters: dict[str, float | str | bool] = field(default_factory=dict)
    state: bytes = b''  # of a plug-in, as `save_state` returned it


Chains = dict[int, tuple[Link, ...]]  # number of the output pair, from 0 -> its effects


def check_link(link: Link) -> None:
    """Check what can be checked without loading anything.

    Raises
    ------
    GenaudioError
        If the link names nothing, or a file that is missing.
    """
    if bool(link.effect) == bool(link.path):
        raise GenaudioError("An effect is either built in (effect = 'Reverb') or a plug-in (path = 'x.vst3').")
    if link.path and not Path(link.path).exists():
        raise GenaudioError(f'There is no plug-in {link.path}.')


def load_link(link: Link) -> Any:
    """Return the loaded effect with its parameters set. In the process's main thread only.

    Raises
    ------
    GenaudioError
        If it cannot be loaded or has no such parameter.
    """
    import pedalboard as package

    pedalboard: Any = package  # its stubs name neither `load_plugin` nor what a plug-in has
    check_link(link)
    if link.effect:
        built_in = {
            name: value for name, value in vars(pedalboard).items()
            if isinstance(value, type) and issubclass(value, pedalboard.Plugin) and name not in _NOT_EFFECTS
        }  # fmt: skip
        if link.effect not in built_in:
            names = ', '.join(sorted(built_in))
            raise GenaudioError(f"No effect '{link.effect}'.{did_you_mean(link.effect, built_in)} There are: {names}.")
        plugin = built_in[link.effect]()
        known = None
    else:
        from pedalboard import _pedalboard as internals

        # DPF instruments expose 2,080 MIDI-CC parameters, which take 20 s to look at.
        patterns = getattr(internals, 'PARAMETER_NAME_REGEXES_TO_IGNORE', None)
        if isinstance(patterns, set):
            import re

            patterns.add(re.compile(r'MIDI Ch\. '))
        try:
            plugin = pedalboard.load_plugin(link.path)
        except (ImportError, ValueError, OSError, RuntimeError) as error:
            raise GenaudioError(f'The plug-in {link.path} does not load: {" ".join(str(error).split())}') from None
        if link.state:
            plugin.raw_state = link.state
        known = set(plugin.parameters)
    for name, value in link.parameters.items():
        set_parameter(plugin, name, value, known)
    return plugin


def set_parameter(plugin: Any, name: str, value: float | str | bool, known: set[str] | None = None) -> None:
    """Set a parameter by name; pedalboard itself accepts any name in silence.

    Raises
    ------
    GenaudioError
        If there is none of this name, or the value is out of its range.
    """
    if known is None:
        parameters = getattr(plugin, 'parameters', None)
        known = set(parameters) if parameters is not None else {
            n for n in dir(type(plugin))
            if isinstance(getattr(type(plugin), n), property) and n not in ('is_effect', 'is_instrument')
        }  # fmt: skip
    if name not in known:
        raise GenaudioError(
            f"{type(plugin).__name__} has no parameter '{name}'.{did_you_mean(name, known)} "
            f'It has: {", ".join(sorted(known))}.'
        )
    try:
        setattr(plugin, name, value)
    except (ValueError, TypeError, AttributeError) as error:
        raise GenaudioError(f"{type(plugin).__name__}: '{name}' cannot be {value}: {error}") from None


class Chain:
    """The effects of one output pair, block by block."""

    def __init__(self, links: Sequence[Link], sample_rate: int):
        import pedalboard as package

        pedalboard: Any = package
        self.plugins = [load_link(link) for link in links]
        self.board = pedalboard.Pedalboard(self.plugins)
        self.sample_rate = sample_rate
        silence = np.zeros((2, MEASURED), np.float32)
        self.latency = MEASURED - self.board(silence, sample_rate, buffer_size=CHUNK, reset=True).shape[1]
        self.latency = max(self.latency, self._blockwise_latency())
        self.board.reset()

    def _blockwise_latency(self) -> int:
        self.board.reset()
        given = sum(
            self.board(np.zeros((2, CHUNK), np.float32), self.sample_rate, buffer_size=CHUNK, reset=False).shape[1]
            for _ in range(MEASURED // CHUNK)
        )
        return MEASURED - given

    def process(self, block: np.ndarray) -> np.ndarray:
        """Take `CHUNK` samples (2, CHUNK); return the samples that are finished, fewer at first."""
        return self.board(np.ascontiguousarray(block), self.sample_rate, buffer_size=CHUNK, reset=False)


def run_plugins(
    chains: Chains, sample_rate: int, n_channels: int, stems_name: str, finished_name: str, wake, pipe: Connection
) -> None:
    """Body of the process."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        loaded = {pair: Chain(links, sample_rate) for pair, links in chains.items()}
    except GenaudioError as error:
        pipe.send(('failed', str(error)))
        return
    stems, finished = Ring(n_channels, stems_name), Ring(n_channels, finished_name)
    latency = max((chain.latency for chain in loaded.values()), default=0)
    worker = _Stage(loaded, stems, finished)
    with contextlib.suppress(EOFError, OSError):
        pipe.send(('ready', latency))
        while True:
            wake.acquire(timeout=0.02)
            worker.work()
            while pipe.poll():
                message, value = pipe.recv()
                if message == 'quit':
                    return
                if message == 'parameter':
                    pair, index, name, number = value
                    try:
                        set_parameter(loaded[pair].plugins[index], name, number)
                    except (GenaudioError, KeyError, IndexError) as error:
                        pipe.send(('told', str(error)))
                elif message == 'state':
                    pipe.send(('state', {
                        pair: [getattr(plugin, 'raw_state', b'') for plugin in chain.plugins]
                        for pair, chain in loaded.items()
                    }))  # fmt: skip


class _Stage:
    """Between the two rings: pairs with a chain go through it, the others are copied."""

    def __init__(self, chains: dict[int, Chain], stems: Ring, finished: Ring):
        self.chains, self.stems, self.finished = chains, stems, finished
        self.at = max(stems.end, finished.end)  # position of the next chunk in
        self._pending: dict[int, np.ndarray] = {}
        self._block = np.empty((stems.n_channels, CHUNK), np.float32)
        self._restart()

    def _restart(self) -> None:
        for chain in self.chains.values():
            chain.board.reset()
        self._out_at = self.at
        self._plain = np.zeros((self.stems.n_channels, 0), np.float32)
        self._pending = {pair: np.zeros((2, 0), np.float32) for pair in self.chains}

    def work(self) -> None:
        """Work off what is there."""
        while self.stems.end - self.at >= CHUNK:
            if not self.stems.read_into(self._block, self.at):  # a gap: results were late
                self.at = max(self.stems.begin, self.finished.end, self.at + CHUNK)
                self._restart()
                continue
            self.at += CHUNK
            self._plain = np.concatenate([self._plain, self._block], -1)
            for pair, chain in self.chains.items():
                made = chain.process(self._block[2 * pair : 2 * pair + 2])
                self._pending[pair] = np.concatenate([self._pending[pair], made], -1)
            n = min([self._plain.shape[1], *(p.shape[1] for p in self._pending.values())])
            if not n:
                continue
            out = self._plain[:, :n].copy()
            self._plain = self._plain[:, n:]
            for pair in self.chains:
                out[2 * pair : 2 * pair + 2] = self._pending[pair][:, :n]
                self._pending[pair] = self._pending[pair][:, n:]
            if not np.isfinite(out).all():
                out = np.nan_to_num(out, nan=0.0, posinf=0.0, neginf=0.0)
            if self._out_at >= self.finished.end:
                self.finished.write(out, self._out_at)
            self._out_at += n


class PluginHost:
    """Owns the plug-in process beside an `AudioHost`. Call `poll` with the host's.

    Parameters
    ----------
    host
        Started; its core reads the finished ring from now on.
    chains
        Effects by number of the output pair.
    """

    def __init__(self, host: Any, chains: Chains, *, timeout: float = 60.0):
        for pair, links in chains.items():
            if not 0 <= pair < len(host.output_names):
                raise GenaudioError(f'There are {len(host.output_names)} output pairs, numbered from 0; not {pair}.')
            for link in links:
                check_link(link)
        self.host, self.chains = host, chains
        self.finished = Ring(host.outbox.n_channels)
        self.restarts, self.latency, self.given_up = 0, 0, False
        self._wake = host._context.Semaphore(0)
        self._margin = host.core.margin
        self._launch()
        until = time.monotonic() + timeout
        while not self._pipe.poll(0.02):
            if not self.process.is_alive() or time.monotonic() > until:
                self.stop()
                raise GenaudioError('The plug-in process ended while it loaded the plug-ins. Leave one out to find it.')
        kind, value = self._pipe.recv()
        if kind == 'failed':
            self.stop()
            raise GenaudioError(value)
        self._ready(value)

    def _launch(self) -> None:
        self._pipe, theirs = self.host._context.Pipe()
        self.process = self.host._context.Process(
            target=run_plugins, name='genaudio-plugins', daemon=True,
            args=(
                self.chains, self.host.core.sample_rate, self.finished.n_channels, self.host.outbox.name,
                self.finished.name, self._wake, theirs,
            ),
        )  # fmt: skip
        self.process.start()
        theirs.close()
        self._started = time.monotonic()

    def _ready(self, latency: int) -> None:
        self.latency = latency
        core = self.host.core
        # A chunk of time to work, what the plug-ins hold back, and their output in whole chunks.
        core.set_timing(core.block, self._margin + CHUNK + -(-latency // CHUNK) * CHUNK)
        core.wake = self._wake_both
        core.finished = self.finished

    def _wake_both(self) -> None:
        self.host._wake.release()
        self._wake.release()

    def poll(self) -> str | None:
        """Look after the process; return a line to tell."""
        told = None
        with contextlib.suppress(EOFError, OSError):
            while self._pipe.poll():
                kind, value = self._pipe.recv()
                if kind == 'ready':
                    self.latency = value
                elif kind in ('told', 'failed'):
                    told = value
        if self.process.is_alive() or self.given_up:
            return told
        if self.restarts >= 5 or time.monotonic() - self._started < 2.0:
            self.given_up = True
            return told or 'The plug-ins ended again at once; the stems play without them.'
        self.restarts += 1
        self._pipe.close()
        self._launch()
        return 'A plug-in crashed; starting again. The stems play without effects meanwhile.'

    def set_parameter(self, pair: int, index: int, name: str, value: float | str | bool) -> None:
        """Turn a knob: of the effect `index` of an output pair."""
        with contextlib.suppress(OSError):
            self._pipe.send(('parameter', (pair, index, name, value)))

    def save_state(self, timeout: float = 5.0) -> dict[int, list[bytes]]:
        """Return the state of every plug-in by output pair, for `Link.state`.

        Raises
        ------
        GenaudioError
            If the process does not answer.
        """
        self._pipe.send(('state', None))
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            if self._pipe.poll(0.05):
                kind, value = self._pipe.recv()
                if kind == 'state':
                    return value
        raise GenaudioError('The plug-ins did not tell their state.')

    def stop(self) -> None:
        """End the process; the stems play without effects."""
        core = self.host.core
        if core.finished is not None:
            core.finished = None
            core.wake = self.host._wake.release
        with contextlib.suppress(OSError):
            self._pipe.send(('quit', None))
        self.process.join(2.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(2.0)
        self._pipe.close()
        self.finished.close()
