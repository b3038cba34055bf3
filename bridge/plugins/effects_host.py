"""Plug-ins and built-in effects on the stems, in a process of their own: a plug-in that crashes takes only itself down.

::

    worker ──> stems ring ──> plug-in process ──> finished ring ──> device callback
                   └───────────── if that is not there in time: the stems without effects ──┘

A chain belongs to one pair of outputs and is a list of links::

    EffectSpec(effect='Reverb', parameters={'room_size': 0.4})                 # built into pedalboard
    EffectSpec(path='/usr/lib/vst3/Saturator.vst3', parameters={'drive': 6})   # a VST3 or AU plug-in

pedalboard (GPLv3) is imported here only, in the child. What it takes out of a plug-in's latency it hands back late:
the samples stay in place, and the delay is added to the safety margin.

A plug-in file that is missing, does not load, ends the process while it loads or takes too long for it is told and left
out; the rest of its chain plays. One that crashes, hangs, throws or returns no numbers later is started again with its
knobs where they were; meanwhile the stems play dry. One that does so again and again is left out.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bridge.audio.shared_ring import Ring
from bridge.plugins.effects import CHUNK
from bridge.plugins.effects_worker import PAIR, run_plugins
from bridge.settings.effects_table import Chains, Share, check_kind
from genaudio_core.errors import GenaudioError
from genaudio_core.processes.child_process import ChildProcess
from genaudio_core.processes.child_watch import RestartLimit

LOAD_SECONDS = 60.0  # that one effect may take to load
STUCK_SECONDS = 8.0  # without a sign of life, after which the process counts as hung
AT_ONCE = 2.0  # seconds after it was ready within which a death is put down to what is new
FAULTS = 3  # of one effect within a minute, before it is left out
MAX_STARTS = 3  # of a process that ends before it has said anything


class PluginHost:
    """Owns the plug-in process beside an `AudioHost`. Call `poll` with the host's, from the same thread.

    Nothing in here waits for longer than it says: a plug-in that does not come, hangs or dies is left out.

    Parameters
    ----------
    host
        Started; its core reads the finished ring from now on.
    chains
        Effects by number of the output pair.
    timeout
        Seconds that one effect may take to load.
    ended
        Asked while the effects are loaded: True gives up at once (Ctrl-C, SIGTERM), and the stems play without them.

    Raises
    ------
    GenaudioError
        If an effect of the preset cannot be as it is wanted, or the process cannot be started at all.
    """

    def __init__(
        self, host: Any, chains: Chains, *, timeout: float = LOAD_SECONDS, ended: Callable[[], bool] = lambda: False
    ):
        for pair, links in chains.items():
            if not 0 <= pair < len(host.output_names):
                raise GenaudioError(f'There are {len(host.output_names)} output pairs, numbered from 0; not {pair}.')
            for link in links:
                check_kind(link)
        self.host, self.chains, self._first = host, dict(chains), dict(chains)
        self._state: dict[int, list[bytes]] | None = None
        self.known: dict[int, list[frozenset[str] | None]] = {}  # names of parameters; None: it is left out
        self.finished = Ring(host.outbox.n_channels, capacity=host.outbox.capacity)
        self.restarts, self.latency, self.given_up = 0, 0, False
        self.told: list[str] = []  # lines that `poll` has yet to return
        self._loading: tuple[int, int] | None = None
        self._blamed: tuple[int, int] | None = None
        self._why = ''  # of the fault of an effect that was found out
        self._faults: dict[tuple[int, int], RestartLimit] = {}
        self._limit = RestartLimit()
        self._wake = host.plugins_wake
        self._timeout = timeout
        self._extra = 0  # samples that were added to the margin of the host
        self._ready_once = self._ready_now = self._stopped = False
        self._launch()
        try:
            self._wait_until_ready(ended)
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self, ended: Callable[[], bool]) -> None:
        starts = 1
        while not self._ready_once and not self.given_up:
            if ended():
                self._give_up('')
                return
            self._look()
            if self.process.is_alive():
                self.process.wait(0.02)
                continue
            self._hear()  # its last words
            if self._ready_once:
                return
            if not self._leave_out_blamed('crashed while it was loaded'):
                if starts >= MAX_STARTS:
                    raise GenaudioError('The plug-in process ended before it had loaded anything.')
                starts += 1
            self.process.close(0.0)
            self._launch()

    def _hear(self) -> None:
        """Take in what the process says."""
        for kind, value in self.process.receive():
            if kind == 'loading':
                self._loading = value
                self.process.renew()
            elif kind == 'left out':
                self._leave_out(*value)
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
            elif kind == 'fault':
                self._blamed, self._why = value[:2], value[2]
            elif kind == 'failed' and not self._ready_once:
                raise GenaudioError(value)
            elif kind == 'failed':
                self.told.append(value)

    def _leave_out(self, pair: int, index: int, why: str) -> None:
        for chains in (self.chains, self._first):
            links = list(chains[pair])
            links[index] = replace(links[index], left_out=True)
            chains[pair] = tuple(links)
        self.told.append(f'{why} It is left out.')

    def _keep(self, pair: int, index: int, name: str, value: Any) -> None:
        """A knob was turned: the next process, should this one die, begins with it there."""
        links = list(self.chains[pair])
        links[index] = replace(links[index], parameters={**links[index].parameters, name: value})
        self.chains[pair] = tuple(links)

    def _who(self) -> tuple[int, int] | None:
        """Return which effect the process was at when it ended or stood still; None if it was none."""
        at = self.process.at
        blamed = self._blamed or (divmod(at - 1, PAIR) if at else None) or self._loading
        if blamed is None or not 0 <= blamed[1] < len(self.chains.get(blamed[0], ())):
            return None
        return blamed

    def _name(self, which: tuple[int, int] | None) -> str:
        if which is None:
            return 'A plug-in'
        link = self.chains[which[0]][which[1]]
        return f'The plug-in {link.path}' if link.path else f"The effect '{link.effect}'"

    def _leave_out_blamed(self, what: str) -> bool:
        """Do without the effect that the process was at; False if it was none."""
        which = self._who()
        if which is None:
            return False
        self._leave_out(*which, self._why or f'{self._name(which)} {what}.')
        return True

    def _launch(self) -> None:
        self._loading = self._blamed = None
        self._why, self._hung, self._ready_now = '', False, False
        while self._wake.acquire(block=False):
            pass
        self.process = ChildProcess(
            run_plugins,
            (
                self.chains, self.host.core.sample_rate, self.finished.n_channels, self.host.outbox.name,
                self.finished.name, self.host.registers.name, self._wake,
            ), name='genaudio-plugins', loading=self._timeout, stuck=STUCK_SECONDS,
        )  # fmt: skip
        self._started = time.monotonic()

    def _ready(self, latency: int) -> None:
        core = self.host.core
        if not self._ready_once or latency != self.latency:
            # A chunk of time to work, what the plug-ins hold back, and their output in whole chunks.
            extra = CHUNK + -(-latency // CHUNK) * CHUNK
            core.margin_samples += extra - self._extra
            self._extra = self.host.plugin_delay = extra
            if self._ready_once:
                self.told.append(f'The effects now hold back {latency} samples; the delay is adjusted.')
        if not self._ready_now:
            self._started = time.monotonic()  # however long a busy machine took until here
        self.latency, self._ready_once, self._ready_now = latency, True, True
        core.finished = self.finished

    def poll(self) -> str | None:
        """Look after the process; return a line to tell."""
        if not self.given_up and not self._stopped:
            self._look()
            if not self.process.is_alive():
                self._revive()
        return self.told.pop(0) if self.told else None

    def _look(self) -> None:
        """Hear the process, and end it where it hangs."""
        self._hear()
        if not self.process.is_alive():
            return
        if self.process.is_hung():
            what = 'hangs' if self._ready_now else f'was not loaded after {self._timeout:g} s'
            self._blamed = self._who()
            self._why, self._hung = f'{self._name(self._blamed)} {what}.', True
            self.process.kill()

    def _revive(self) -> None:
        self._hear()
        loading, at_once = not self._ready_now, time.monotonic() - self._started < AT_ONCE
        which, crashed = self._who(), self._why or f'{self._name(self._who())} crashed.'
        if not self._limit.allows():
            self._give_up('The plug-ins ended again and again; the stems play without them.')
            return
        left_out = False
        if which and not loading and not self._faults.setdefault(which, RestartLimit(FAULTS - 1)).allows():
            left_out = self._leave_out_blamed('crashed again and again')
        elif (at_once or loading or self._hung) and self.chains != self._first:
            self.chains = dict(self._first)  # a knob as it was turned may be what it cannot bear
        elif loading:
            left_out = self._leave_out_blamed('crashed while it was loaded')
        self.restarts += 1
        self.process.close(0.0)
        self._launch()
        if not left_out:
            self.told.append(f'{crashed} It is started again; the stems play without effects meanwhile.')

    def _give_up(self, why: str) -> None:
        self.given_up = True
        self.process.kill()
        self._disconnect()
        if why:
            self.told.append(why)

    def _disconnect(self) -> None:
        """Let the callback play the stems as they come from the worker; nobody waits for effects any more."""
        core = self.host.core
        if core.finished is self.finished:
            core.finished = None

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
        self.process.send('parameter', (pair, index, name, value))

    def save_state(self, timeout: float = 5.0) -> dict[int, list[bytes]]:
        """Return the state of every plug-in by output pair, for `EffectSpec.state`.

        A knob that was just turned is in it once a block has been played since: plug-ins learn of it with the sound.

        Raises
        ------
        GenaudioError
            If the process does not answer.
        """
        self._state = None
        until = time.monotonic() + timeout
        if self.process.send('state'):
            while time.monotonic() < until and self.process.is_alive():
                self.process.wait(0.05)
                self._hear()
                if self._state is not None:
                    return self._state
        raise GenaudioError('The plug-ins did not report their state.')

    def stop(self) -> None:
        """End the process; the stems play without effects. A second time does nothing."""
        if self._stopped:
            return
        self._stopped = True
        self._disconnect()
        self.process.close(2.0 if self._ready_now else 0.0)
        self.finished.close()
