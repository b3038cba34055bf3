"""A chaos run: the real daemon on JACK's dummy driver, all that can go wrong at random, a witness at the wire.

Whatever is done to the daemon, two things must hold: no note hangs, no key is struck twice.
"""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge.bench.chaos_faults import Faults
from bridge.bench.chaos_stage import QUIET, Daemon, own_server, using
from genaudio_core.command_line import notice
from genaudio_core.errors import GenaudioError


class Chaos(Faults):
    """One run."""

    def end_daemon(self) -> None:
        """However it ends, nothing sounds afterwards; then another one begins."""
        how = self.rng.choice(('SIGHUP', 'SIGINT', 'SIGTERM', 'SIGKILL', 'SIGQUIT'))
        if how in ('SIGKILL', 'SIGQUIT'):
            self._signal('daemon killed, then another', self.daemon.process.pid, signal.Signals[how])
        else:
            self.say('daemon ended, then another', f'{how} to the group')
            os.killpg(self.daemon.process.pid, signal.Signals[how])
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.daemon.process.wait(timeout=QUIET)
        self.wait(QUIET, lambda: not self.witness.sounding())
        before = len(self.witness.faults)
        self.witness.must_be_quiet()
        if len(self.witness.faults) > before:
            self.tell_hung(how, before)
        self.daemon.close()
        self._write_preset()
        self._kills = ()
        self.daemon = Daemon(self.preset, self.folder, self.osc_port)
        self.start()

    def run(self, seconds: float) -> None:
        """Play and disturb for so long."""
        self.start()
        music = (self.phrase, self.phrase, self.pedal, self.knob, self.type_key)
        faults = (
            self.pull_output, self.pull_keys, self.kill_midi, self.stop_midi, self.halt_midi, self.kill_engine,
            self.stop_engine, self.hangup_children, self.ctrl_z, self.flood_midi, self.flood_osc, self.garbage_midi,
            self.garbage_osc, self.type_garbage, self.reload, self.reload_bad, self.transport, self.end_daemon,
            self.all_keys, self.unwritable_settings, self.no_folder, self.silly_clock, self.odd_peer, self.block_size,
        )  # fmt: skip
        left: list[Callable[[], None]] = []
        end, turn, last = time.monotonic() + seconds, 0, 'the start'
        while time.monotonic() < end:
            for _ in range(self.rng.randrange(1, 4)):
                self.rng.choice(music)()
                self.wait(self.rng.uniform(0.1, 0.6))
            if not left:  # each once, in another order every time
                left = self.rng.sample(faults, len(faults))
            fault = left.pop()
            fault()
            last = fault.__name__
            if self.daemon.process.poll() is not None:
                self.deaths += 1
                notice(f'        The daemon ended by itself after {last}: {self.words()}')
                self.daemon.close()
                self.daemon = Daemon(self.preset, self.folder, self.osc_port)
            self.wait(1.5, lambda: (self.wire(), False)[1])
            self.start()
            turn += 1
            if turn % 4 == 0:
                self.still(last)
        self.still(last)
        self.say('daemon ended', 'SIGHUP to the group')
        os.killpg(self.daemon.process.pid, signal.SIGHUP)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.daemon.process.wait(timeout=QUIET)
        self.wait(QUIET, lambda: not self.witness.sounding())
        self.witness.must_be_quiet()


def run_chaos(minutes: float, seed: int, model: str, server: str | None) -> dict[str, Any]:
    """Run the chaos; see the module. The result says what hung, and how often which fault was made."""
    if os.name == 'nt':
        raise GenaudioError('The chaos run needs signals and terminals of POSIX: it does not run on Windows.')
    with using(server) if server else own_server(), tempfile.TemporaryDirectory(prefix='genaudio-chaos-') as folder:
        chaos = Chaos(Path(folder), seed, model)
        try:
            chaos.run(60 * minutes)
        finally:
            chaos.close()
        text = chaos.daemon.log.read_text(errors='replace')
    witness = chaos.witness
    found = Counter(fault.kind for fault in witness.faults)
    results = [json.loads(line) for line in text.splitlines() if line.startswith('{"heard"')]
    return {
        'hung_notes': found['hung'], 'struck_twice': found['struck twice'], 'faults_made': sum(chaos.done.values()),
        'faults': dict(sorted(chaos.done.items())), 'details': [str(fault) for fault in witness.faults],
        'unsure': witness.unsure, 'witness_gaps': len(witness.gaps), 'messages_heard': witness.heard,
        'daemon_deaths': chaos.deaths, 'tracebacks': text.count('Traceback'),
        'session_faults': text.count('Fault in the session'),
        'port_restarts': sum(result['midi_restarts'] for result in results), 'minutes': minutes, 'seed': seed,
        'exit_code': int(bool(found or chaos.deaths)),
    }  # fmt: skip
