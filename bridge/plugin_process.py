"""Plug-ins and built-in effects on the stems, in a process of their own: a plug-in that crashes takes only itself down.

::

    worker ──> stems ring ──> plug-in process ──> finished ring ──> device callback
                   └───────────── if that is not there in time: the stems without effects ──┘

A chain belongs to one pair of outputs and is a list of links::

    Link(effect='Reverb', parameters={'room_size': 0.4})                 # built into pedalboard
    Link(path='/usr/lib/vst3/Saturator.vst3', parameters={'drive': 6})   # a VST3 or AU plug-in

pedalboard (GPLv3) is imported here only, in the child. What it takes out of a plug-in's latency it hands back late:
the samples stay in place, and the delay is added to the safety margin.

A plug-in file that is missing, does not load, or ends the process while it loads is told and left out; the rest of its
chain plays. One that crashes later is started again with its knobs where they were; meanwhile the stems play dry.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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
    left_out: bool = False  # it could not be loaded; the link is passed over, its number stays taken


@dataclass(frozen=True)
class Share:
    """A value as a share 0..1 of the range that a plug-in tells for its parameter, as a controller gives it."""

    share: float


Chains = dict[int, tuple[Link, ...]]  # number of the output pair, from 0 -> its effects


def check_link(link: Link) -> None:
    """Check what can be checked without loading anything.

    Raises
    ------
    GenaudioError
        If the link names nothing, or a file that is missing.
    """
    check_kind(link)
    if link.path and not Path(link.path).exists():
        raise GenaudioError(f'There is no plug-in {link.path}.')


def check_kind(link: Link) -> None:
    """Check that a link is built in or a file, and not both.

    Raises
    ------
    GenaudioError
        If it is not.
    """
    if bool(link.effect) == bool(link.path):
        raise GenaudioError("An effect is either built in (effect = 'Reverb') or a plug-in (path = 'x.vst3').")


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


class BadParameter(GenaudioError):
    """A parameter that an effect does not have, or a value that it refuses."""


def parameter_names(plugin: Any) -> set[str]:
    """Return the names of what can be set on an effect."""
    parameters = getattr(plugin, 'parameters', None)
    return set(parameters) if parameters is not None else {
        n for n in dir(type(plugin))
        if isinstance(getattr(type(plugin), n), property) and n not in ('is_effect', 'is_instrument')
    }  # fmt: skip


def set_parameter(plugin: Any, name: str, value: float | str | bool | Share, known: set[str] | None = None) -> Any:
    """Set a parameter by name; pedalboard itself accepts any name in silence. Return the value that it has now.

    Raises
    ------
    BadParameter
        If there is none of this name, or the value is out of its range.
    """
    if known is None:
        known = parameter_names(plugin)
    if name not in known:
        raise BadParameter(
            f"{_name(plugin)} has no parameter '{name}'.{did_you_mean(name, known)} "
            f'It has: {", ".join(sorted(known))}.'
        )
    try:
        if isinstance(value, Share):
            plugin.parameters[name].raw_value = value.share
            now = getattr(plugin, name)  # a type of pedalboard's own
            return float(now) if isinstance(now, float) else str(now) if isinstance(now, str) else bool(now)
        setattr(plugin, name, value)
        return value
    except (ValueError, TypeError, AttributeError) as error:
        raise BadParameter(f"{_name(plugin)}: '{name}' cannot be {value}: {error}") from None


def _name(plugin: Any) -> str:
    return getattr(plugin, 'name', None) or type(plugin).__name__


class Chain:
    """The effects of one output pair, block by block."""

    def __init__(
        self, links: Sequence[Link], sample_rate: int,
        on_link: Callable[[int, Link], Any] = lambda index, link: load_link(link),
    ):  # fmt: skip
        import pedalboard as package

        pedalboard: Any = package
        self.plugins = [None if link.left_out else on_link(i, link) for i, link in enumerate(links)]
        self.board = pedalboard.Pedalboard([plugin for plugin in self.plugins if plugin is not None])
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
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def load(pair: int, index: int, link: Link) -> Any:
        pipe.send(('loading', (pair, index)))  # if this is the last that is heard of us, it was this one
        try:
            plugin = load_link(link)
            if link.path and not plugin.is_effect:
                raise GenaudioError(f'The plug-in {link.path} is an instrument; on a stem there is nothing to play it.')
            return plugin
        except GenaudioError as error:
            if link.path and not isinstance(error, BadParameter):
                pipe.send(('left out', (pair, index, str(error))))
                return None
            raise

    try:
        loaded = {
            pair: Chain(links, sample_rate, lambda index, link, pair=pair: load(pair, index, link))
            for pair, links in chains.items()
        }  # fmt: skip
    except GenaudioError as error:
        pipe.send(('failed', str(error)))
        return
    stems, finished = Ring(n_channels, stems_name), Ring(n_channels, finished_name)
    latency = max((chain.latency for chain in loaded.values()), default=0)
    worker = _Stage(loaded, stems, finished)
    with contextlib.suppress(EOFError, OSError):
        pipe.send(('known', {
            pair: [frozenset(parameter_names(plugin)) if plugin else None for plugin in chain.plugins]
            for pair, chain in loaded.items()
        }))  # fmt: skip
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
                        if loaded[pair].plugins[index] is not None:
                            now = set_parameter(loaded[pair].plugins[index], name, number)
                            pipe.send(('set', (pair, index, name, now)))
                    except (GenaudioError, KeyError, IndexError) as error:
                        pipe.send(('told', str(error)))
                elif message == 'state':
                    pipe.send(('state', {
                        pair: [getattr(plugin, 'raw_state', b'') if plugin else b'' for plugin in chain.plugins]
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
                check_kind(link)
        self.host, self.chains, self._first = host, dict(chains), dict(chains)
        self._state: dict[int, list[bytes]] | None = None
        self.known: dict[int, list[frozenset[str] | None]] = {}  # names of parameters; None: it is left out
        self.finished = Ring(host.outbox.n_channels)
        self.restarts, self.latency, self.given_up = 0, 0, False
        self.told: list[str] = []  # lines that `poll` has yet to return
        self._loading: tuple[int, int] | None = None
        self._wake = host._context.Semaphore(0)
        self._extra = 0  # samples that were added to the margin of the host
        self._ready_once = False
        until = time.monotonic() + timeout
        self._launch()
        while not self._ready_once:
            if self._pipe.poll(0.02):
                self._hear(at_start=True)
            elif not self.process.is_alive():
                if not self._leave_out_the_last():
                    self.stop()
                    raise GenaudioError('The plug-in process ended before it had loaded anything.')
                self._pipe.close()
                self._launch()
            elif time.monotonic() > until:
                self.stop()
                raise GenaudioError(f'The plug-ins were not loaded after {timeout:g} s. Leave one out to find it.')

    def _hear(self, *, at_start: bool = False) -> None:
        """Take in what the process says."""
        with contextlib.suppress(EOFError, OSError):
            while self._pipe.poll():
                kind, value = self._pipe.recv()
                if kind == 'loading':
                    self._loading = value
                elif kind == 'left out':
                    pair, index, why = value
                    self._leave_out(pair, index, why)
                elif kind == 'known':
                    self.known = value
                elif kind == 'ready':
                    self._loading = None
                    self._ready(value)
                elif kind == 'told':
                    self.told.append(value)
                elif kind == 'set':
                    self._keep(*value)
                elif kind == 'state':
                    self._state = value
                elif kind == 'failed' and at_start:
                    self.stop()
                    raise GenaudioError(value)
                elif kind == 'failed':
                    self.told.append(value)

    def _leave_out(self, pair: int, index: int, why: str) -> None:
        links = list(self.chains[pair])
        links[index] = replace(links[index], left_out=True)
        self.chains[pair] = tuple(links)
        self._first = {**self._first, pair: tuple(links)}
        self.told.append(f'{why} It is left out.')

    def _keep(self, pair: int, index: int, name: str, value: Any) -> None:
        """A knob was turned: the next process, should this one die, begins with it there."""
        links = list(self.chains[pair])
        links[index] = replace(links[index], parameters={**links[index].parameters, name: value})
        self.chains[pair] = tuple(links)

    def _leave_out_the_last(self) -> bool:
        """The process died while it loaded a plug-in: do without that one; False if it was none."""
        self._hear(at_start=not self._ready_once)
        if self._loading is None:
            return False
        pair, index = self._loading
        self._loading = None
        link = self.chains[pair][index]
        self._leave_out(pair, index, f'The plug-in {link.path or link.effect} crashed while it was loaded.')
        return True

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
        core = self.host.core
        if not self._ready_once or latency != self.latency:
            # A chunk of time to work, what the plug-ins hold back, and their output in whole chunks.
            extra = CHUNK + -(-latency // CHUNK) * CHUNK
            core.set_timing(core.block, core.margin + extra - self._extra)
            self._extra = extra
        self.latency, self._ready_once = latency, True
        core.wake = self._wake_both
        core.finished = self.finished

    def _wake_both(self) -> None:
        self.host._wake.release()
        self._wake.release()

    def poll(self) -> str | None:
        """Look after the process; return a line to tell."""
        self._hear()
        if not self.process.is_alive() and not self.given_up:
            self._revive()
        return self.told.pop(0) if self.told else None

    def _revive(self) -> None:
        self._hear()
        said, at_once = False, time.monotonic() - self._started < 2.0
        if (at_once or self._loading is not None) and self.chains != self._first:
            self.chains, self._loading = dict(self._first), None  # a knob as it was turned may be what it cannot bear
        elif self._loading is not None:
            said = self._leave_out_the_last()
        elif at_once or self.restarts >= 5:
            self.given_up = True
            self.told.append('The plug-ins ended again at once; the stems play without them.')
            return
        self.restarts += 1
        self._pipe.close()
        self._launch()
        if not said:
            self.told.append('A plug-in crashed; starting again. The stems play without effects meanwhile.')

    def set_parameter(self, pair: int, index: int, name: str, value: float | str | bool | Share) -> None:
        """Turn a knob: of the effect `index` of an output pair.

        Raises
        ------
        GenaudioError
            If there is no such effect. A wrong name or value is told later, by `poll`.
        """
        links = self.chains.get(pair, ())
        if not 0 <= index < len(links):
            raise GenaudioError(f'{self.host.output_names[pair]} has {len(links)} effects; there is no {index + 1}.')
        with contextlib.suppress(OSError):
            self._pipe.send(('parameter', (pair, index, name, value)))

    def save_state(self, timeout: float = 5.0) -> dict[int, list[bytes]]:
        """Return the state of every plug-in by output pair, for `Link.state`.

        A knob that was just turned is in it once a block has been played since: plug-ins learn of it with the sound.

        Raises
        ------
        GenaudioError
            If the process does not answer.
        """
        self._state = None
        with contextlib.suppress(OSError):
            self._pipe.send(('state', None))
        until = time.monotonic() + timeout
        while time.monotonic() < until and self.process.is_alive():
            self._pipe.poll(0.05)
            self._hear()
            if self._state is not None:
                return self._state
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
