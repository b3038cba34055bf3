"""A chaos run: the real daemon on JACK's dummy driver, all that can go wrong at random, a witness at the wire.

Whatever is done to the daemon, two things must hold: no note hangs, no key is struck twice.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bridge.bench.chaos_desk import DeskKeys, Witness
from bridge.midi.messages import note_off, note_on
from bridge.midi.sender import Key
from bridge.midi.sounding_notes import Sounding
from genaudio_core.command_line import notice
from genaudio_core.errors import GenaudioError

OUTPUTS = ('out one', 'out two')
LONGEST = 30.0  # seconds that a note may sound: far more than any of ours
QUIET = 20.0  # seconds in which all must be still, a restart of the port process included
KILLS = 3  # deaths of the port process within 30 s that are no more than a daemon forgives
PRESET = """[ports]
backend = "jack"
inputs = ["in"]
outputs = ["out one", "out two"]
[transport]
tempo = {tempo}
[player]
mode = "{mode}"
thru = {thru}
[music]
model = "{model}"
density = {density}
[[parts]]
instrument = "strings"
[[parts]]
instrument = "bass"
output = 2
[[parts]]
instrument = "drums"
[cc]
20 = "temperature"
21 = "panic"
22 = "thru"
23 = "play"
"""
BAD_PRESETS = (
    b'', b'[player\n', b'\xff\xfe\x00', b'[player]\nmoed = "free"\n', b'[music]\ndensity = nan\n', b'x = ' * 1000,
    b'[ports]\nbackend = "jack"\noutputs = ["one", "two", "three"]\n[[parts]]\ninstrument = "piano"\noutput = 3\n',
    b'[[parts]]\ninstrument = "kazoo of doom"\n',
)  # fmt: skip


@contextlib.contextmanager
def own_server() -> Iterator[str]:
    """Run jackd with its dummy driver under a name of its own.

    Raises
    ------
    GenaudioError
        If there is no jackd, or it does not start.
    """
    if shutil.which('jackd') is None:
        raise GenaudioError(
            'The chaos run needs jackd (Debian: apt install jackd2), or a running server: --server NAME.'
        )
    name = f'genaudio-chaos-{os.getpid()}'
    process = subprocess.Popen(
        # Synchronous: it waits for a client that is late on a busy machine, so that nothing is lost on the way to the
        # witness; up to half a second, for the clients that are made to hang.
        ['jackd', '-R', '-S', '-t', '500', '-n', name, '-d', 'dummy', '-r', '48000', '-p', '256'],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        with using(name):
            waited = subprocess.run(['jack_wait', '-s', name, '-w', '-t', '10'], capture_output=True)
            if waited.returncode or process.poll() is not None:
                raise GenaudioError('jackd does not start with its dummy driver here.')
            yield name
    finally:
        process.terminate()
        process.wait(timeout=10)


@contextlib.contextmanager
def using(name: str) -> Iterator[None]:
    """Have the clients of this process, and of those that it starts, use the server of that name."""
    wanted = {'JACK_DEFAULT_SERVER': name, 'JACK_NO_START_SERVER': '1', 'JACK_NO_AUDIO_RESERVATION': '1'}
    before = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


class Daemon:
    """``genaudio live`` in a terminal of its own."""

    def __init__(self, preset: Path, folder: Path, port: int) -> None:
        import pty

        self.log = folder / 'live.log'
        self.keyboard, theirs = pty.openpty()
        command = [sys.executable, '-m', 'bridge.cli', 'live', str(preset), '--no-view', '--osc', str(port),
                   '--folder', str(folder), '--name', 'chaos-band', '--json']  # fmt: skip
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(
                command, stdin=theirs, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, 'XDG_CONFIG_HOME': str(folder), 'TMPDIR': str(folder)},
            )  # fmt: skip
        os.close(theirs)
        os.set_blocking(self.keyboard, False)

    def child(self, of: int) -> int | None:
        """The first child that multiprocessing spawned."""
        listed = subprocess.run(['pgrep', '-P', str(of)], capture_output=True, text=True).stdout.split()
        for pid in map(int, listed):
            with contextlib.suppress(OSError):
                if b'spawn_main' in Path(f'/proc/{pid}/cmdline').read_bytes():
                    return pid
        return None

    @property
    def midi(self) -> int | None:
        """Process id of the port process."""
        return self.child(self.process.pid)

    @property
    def engine(self) -> int | None:
        """Process id of the music engine."""
        midi = self.midi
        return None if midi is None else self.child(midi)

    def close(self) -> None:
        """Make sure that nothing of it is left."""
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        with contextlib.suppress(OSError):
            os.close(self.keyboard)


class Chaos:
    """One run. Everything that is done is drawn from the seed."""

    def __init__(self, folder: Path, seed: int, model: str) -> None:
        self.rng, self.folder, self.model = random.Random(seed), folder, model
        self.preset = folder / 'chaos.toml'
        self.done: Counter[str] = Counter()
        self.deaths = 0  # of the daemon, that nobody asked for
        self._kills: list[float] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
            found.bind(('127.0.0.1', 0))
            self.osc_port = found.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.witness = Witness('chaos-witness', len(OUTPUTS), self._believes)
        self.keys = DeskKeys('chaos-keys')
        self._began = time.monotonic()
        self._write_preset()
        self.daemon = Daemon(self.preset, folder, self.osc_port)

    # --- help

    def say(self, fault: str, text: str = '') -> None:
        self.done[fault] += 1
        notice(f'{time.monotonic() - self._began:6.1f} s  {fault}{": " if text else ""}{text}')

    def _believes(self, key: Key) -> bool:
        """Whether the daemon itself takes the key to be on: it lies in the table that its processes share."""
        for path in self.folder.glob('genaudio-sounding-*'):
            with contextlib.suppress(OSError, ValueError):
                if Sounding.shared(path).is_on(*key):
                    return True
        return False

    def _write_preset(self) -> None:
        pick = self.rng.choice
        self.preset.write_text(PRESET.format(
            tempo=pick((70, 120, 180)), mode=pick(('free', 'free', 'arrange', 'accompany', 'respond', 'take_over')),
            thru=pick(('true', 'false')), model=self.model, density=round(self.rng.random(), 2),
        ))  # fmt: skip

    def osc(self, address: str, *values: float | str) -> None:
        """Send one OSC message."""

        def padded(text: bytes) -> bytes:
            return text + b'\0' * (4 - len(text) % 4)

        kinds = ',' + ''.join('s' if isinstance(v, str) else 'f' for v in values)
        data = padded(address.encode()) + padded(kinds.encode())
        data += b''.join(padded(v.encode()) if isinstance(v, str) else struct.pack('>f', v) for v in values)
        self.udp.sendto(data, ('127.0.0.1', self.osc_port))

    def wire(self) -> bool:
        """Connect the daemon with keys and witness, as far as it is there."""
        client = self.witness.client
        names = {port.name for port in client.get_ports(is_midi=True)}
        bands = sorted(name for name in names if name.startswith('chaos-band'))
        outputs = [next((n for n in bands if n.endswith(f':{out}')), '') for out in OUTPUTS]
        inputs = [name for name in bands if name.endswith(':in')]
        done = bool(inputs) and all(outputs) and self.witness.wire(outputs, lambda number: self.witness.ports[number])
        for name in inputs:
            with contextlib.suppress(Exception):
                if self.keys.name not in {port.name for port in client.get_all_connections(name)}:
                    client.connect(self.keys.name, name)
        return done

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let the music go on; whether `until` came true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.witness.none_longer_than(LONGEST)
            if until():
                return True
            time.sleep(0.02)
        return until()

    def start(self) -> None:
        """Wait until the daemon is there and wired."""
        if not self.wait(60, lambda: self.wire() or self.daemon.process.poll() is not None) or not self.wire():
            raise GenaudioError(f'genaudio live does not come up: {self.words()}')

    def words(self) -> str:
        """The last words of the daemon."""
        return ' / '.join(self.daemon.log.read_text(errors='replace').splitlines()[-3:])

    def still(self, why: str) -> None:
        """Stop everything; then nothing may sound."""
        end = time.monotonic() + QUIET
        while time.monotonic() < end:
            self.keys.lift_all()
            self.witness.client.transport_stop()
            self.osc('/genaudio/command/stop')
            self.osc('/genaudio/command/hush')
            if self.wait(2.0, lambda: not self.witness.sounding()) and not self.wait(
                0.7, lambda: bool(self.witness.sounding())
            ):
                break
        before = len(self.witness.faults)
        self.witness.must_be_quiet()
        if len(self.witness.faults) > before:
            notice(f'        HUNG after {why}: {"; ".join(map(str, self.witness.faults[before:]))}')

    # --- what happens

    def phrase(self) -> None:
        at = 0.05
        for _ in range(self.rng.randrange(1, 10)):
            channel, note = self.rng.choice((0, 0, 1)), self.rng.randrange(36, 84)
            self.keys.send(at, note_on(channel, note, self.rng.randrange(1, 128)))
            if self.rng.random() < 0.9:
                self.keys.send(at + self.rng.uniform(0.05, 1.0), note_off(channel, note))
            self.keys.down[channel, note] = 1
            at += self.rng.uniform(0.0, 0.3)

    def pedal(self) -> None:
        self.keys.send(0.02, bytes((0xB0, 64, self.rng.choice((0, 127)))))
        self.keys.send(1.5, bytes((0xB0, 64, 0)))

    def knob(self) -> None:
        self.keys.send(0.02, bytes((0xB0, self.rng.choice((20, 21, 22, 23, 120, 123)), self.rng.randrange(128))))

    def pull_output(self) -> None:
        number = self.rng.randrange(len(OUTPUTS))
        port = self.witness.ports[number]
        self.say('output pulled and put back', OUTPUTS[number])
        for peer in self.witness.client.get_all_connections(port):
            with contextlib.suppress(Exception):
                self.witness.client.disconnect(peer, port)
        time.sleep(0.05)
        self.witness.pulled(number)
        self.wait(self.rng.uniform(0.1, 3.0))

    def pull_keys(self) -> None:
        self.say('keyboard vanishes and comes back')
        self.keys.close()
        self.wait(self.rng.uniform(0.1, 2.0))
        self.keys = DeskKeys('chaos-keys')

    def _may_kill(self) -> bool:
        now = time.monotonic()
        self._kills = [at for at in self._kills if now - at < 31]
        if len(self._kills) >= KILLS:
            return False
        self._kills.append(now)
        return True

    def _signal(self, fault: str, pid: int | None, number: signal.Signals) -> bool:
        if pid is None:
            return False
        self.say(fault, number.name)
        with contextlib.suppress(OSError):
            os.kill(pid, number)
        return True

    def kill_midi(self) -> None:
        if self._may_kill():
            number = self.rng.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV))
            self._signal('port process killed', self.daemon.midi, number)

    def stop_midi(self) -> None:
        if self._may_kill():
            self._signal('port process hangs', self.daemon.midi, signal.SIGSTOP)
            self.wait(7.0)

    def halt_midi(self) -> None:
        pid = self.daemon.midi
        if self._signal('port process halts for a moment', pid, signal.SIGSTOP):
            self.wait(self.rng.uniform(0.1, 1.0))
            with contextlib.suppress(OSError):
                os.kill(pid or 0, signal.SIGCONT)

    def kill_engine(self) -> None:
        self._signal('engine killed', self.daemon.engine, signal.SIGKILL)

    def stop_engine(self) -> None:
        self._signal('engine hangs', self.daemon.engine, signal.SIGSTOP)

    def hangup_children(self) -> None:
        for pid in (self.daemon.midi, self.daemon.engine):
            number = self.rng.choice((signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP))
            self._signal('signal to a child', pid, number)

    def ctrl_z(self) -> None:
        self.say('Ctrl-Z, then continued')
        os.killpg(self.daemon.process.pid, signal.SIGTSTP)
        self.wait(self.rng.uniform(0.3, 3.0))
        os.killpg(self.daemon.process.pid, signal.SIGCONT)

    def flood_midi(self) -> None:
        self.say('flood of notes')
        for i in range(3000):
            self.keys.send(0.02 + i / 3000, note_on(3, i % 128, 1 + i % 127))
        for note in range(128):
            self.keys.send(1.05, note_off(3, note))

    def flood_osc(self) -> None:
        self.say('flood of OSC')
        for i in range(5000):
            self.osc('/genaudio/set/density', i / 5000)

    def garbage_midi(self) -> None:
        self.say('garbage on the MIDI input')
        for i in range(100):
            size = self.rng.randrange(1, 12)
            status = self.rng.choice(b'\xb2\xc0\xd0\xe0\xf0\xf1\xf3\xf4\xf5\xf7\xfe\xff\x00\x45')
            rest = bytes(self.rng.randrange(128) for _ in range(size - 1))
            self.keys.send(0.02 + i / 200, bytes((status, *rest)))

    def garbage_osc(self) -> None:
        self.say('garbage by OSC')
        for _ in range(50):
            data = bytes(self.rng.randrange(256) for _ in range(self.rng.randrange(1, 80)))
            self.udp.sendto(self.rng.choice((b'', b'#bundle\0', b'/genaudio/')) + data, ('127.0.0.1', self.osc_port))
        self.osc('/genaudio/learn', 'nonsense')
        self.osc('/genaudio/set/ports.outputs', 'one, two, three')
        self.osc('/genaudio/set/temperature', float('nan'))
        self.osc('/genaudio/command/explode')

    def type_garbage(self) -> None:
        self.say('garbage on the keyboard')
        drawn = (self.rng.randrange(256) for _ in range(200))
        typed = bytes(byte for byte in drawn if byte not in b'q\x03\x1a\x1c\x04')
        with contextlib.suppress(OSError):
            os.write(self.daemon.keyboard, typed)

    def type_key(self) -> None:
        with contextlib.suppress(OSError):
            key = self.rng.choice((b' ', b'h', b'n', b'u', b'k', b't', b'p', b'+', b'\x1b[A', b'2'))
            os.write(self.daemon.keyboard, key)

    def reload(self) -> None:
        self.say('preset reloaded')
        self._write_preset()

    def reload_bad(self) -> None:
        self.say('broken preset')
        self.preset.write_bytes(self.rng.choice(BAD_PRESETS))
        self.wait(0.3)
        if self.rng.random() < 0.3:
            self.preset.unlink()
            self.wait(0.3)
        self._write_preset()

    def transport(self) -> None:
        self.say('JACK transport')
        client = self.witness.client
        with contextlib.suppress(Exception):
            client.transport_locate(self.rng.randrange(48000 * 60))
            (client.transport_start if self.rng.random() < 0.6 else client.transport_stop)()

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
            notice(f'        HUNG after {how}: {"; ".join(map(str, self.witness.faults[before:]))}')
        self.daemon.close()
        self._write_preset()
        self._kills.clear()
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

    def close(self) -> None:
        """Leave nothing behind."""
        self.daemon.close()
        self.keys.close()
        self.witness.close()
        self.udp.close()


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
