"""The stage of a chaos run: a JACK server, the real daemon in a terminal, keys that play and a witness at the wire."""

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
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from bridge.bench.chaos_desk import DeskKeys, Witness
from bridge.midi.messages import note_off, note_on
from bridge.midi.sender import Key
from bridge.midi.sounding_notes import Sounding
from genaudio_core.command_line import notice
from genaudio_core.errors import GenaudioError

INPUTS = {'out': 'in', 'clock': 'clock in'}  # output of the keys -> input of the band
OUTPUTS = ('out one', 'out two')
LONGEST = 30.0  # seconds that a note may sound: far more than any of ours
QUIET = 20.0  # seconds in which all must be still, a restart of the port process included
PRESET = """[ports]
backend = "jack"
inputs = ["in", "clock in"]
outputs = ["out one", "out two"]
[transport]
tempo = {tempo}
[player]
mode = "{mode}"
thru = {thru}
[music]
model = {model}
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
                   '--folder', str(folder / 'takes'), '--name', 'chaos-band', '--json']  # fmt: skip
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


class Stage:
    """Daemon, keys, witness and what they do when nothing is wrong. Everything is drawn from the seed."""

    def __init__(self, folder: Path, seed: int, model: str) -> None:
        self.rng, self.folder, self.model = random.Random(seed), folder, model
        self.preset = folder / 'chaos.toml'
        self.done: Counter[str] = Counter()
        self.deaths = 0  # of the daemon, that nobody asked for
        (folder / 'takes').mkdir(exist_ok=True)
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
        """Count a fault, and tell it with the seconds since the beginning."""
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
            thru=pick(('true', 'false')), model=json.dumps(self.model), density=round(self.rng.random(), 2),
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
        inputs = [(name, own) for name in bands for own in self.keys.ports if name.endswith(f':{INPUTS[own]}')]
        done = (
            {own for _, own in inputs} == set(INPUTS)
            and all(outputs)
            and self.witness.wire(outputs, lambda number: self.witness.ports[number])
        )
        for name, own in inputs:
            with contextlib.suppress(Exception):
                ours = self.keys.ports[own].name
                if ours not in {port.name for port in client.get_all_connections(name)}:
                    client.connect(ours, name)
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

        def ended() -> bool:
            return self.daemon.process.poll() is not None

        # Not wired again to be sure: ports of the daemon before this one may have gone just now.
        if not self.wait(60, lambda: self.wire() or ended()) or ended():
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
            self.tell_hung(why, before)

    def tell_hung(self, why: str, before: int) -> None:
        """Tell the notes that the witness has found hanging since its fault number `before`."""
        found = self.witness.faults[before:]
        more = f' and {len(found) - 4} more' if len(found) > 4 else ''
        notice(f'        HUNG after {why}: {"; ".join(map(str, found[:4]))}{more}')

    # --- what happens

    def phrase(self) -> None:
        """Up to nine notes on the keyboard; one in ten is held until the next rest."""
        at = 0.05
        for _ in range(self.rng.randrange(1, 10)):
            channel, note = self.rng.choice((0, 0, 1)), self.rng.randrange(36, 84)
            self.keys.send(at, note_on(channel, note, self.rng.randrange(1, 128)))
            if self.rng.random() < 0.9:
                self.keys.send(at + self.rng.uniform(0.05, 1.0), note_off(channel, note))
            self.keys.down.add(('out', channel, note))
            at += self.rng.uniform(0.0, 0.3)

    def pedal(self) -> None:
        """The sustain pedal, down for a second and a half or only up."""
        self.keys.send(0.02, bytes((0xB0, 64, self.rng.choice((0, 127)))))
        self.keys.send(1.5, bytes((0xB0, 64, 0)))

    def knob(self) -> None:
        """A controller that the preset binds, or one that ends notes."""
        self.keys.send(0.02, bytes((0xB0, self.rng.choice((20, 21, 22, 23, 120, 123)), self.rng.randrange(128))))

    def type_key(self) -> None:
        """A key of the terminal view."""
        with contextlib.suppress(OSError):
            key = self.rng.choice((b' ', b'h', b'n', b'u', b'k', b't', b'p', b'+', b'\x1b[A', b'2'))
            os.write(self.daemon.keyboard, key)

    def close(self) -> None:
        """Leave nothing behind."""
        self.daemon.close()
        self.keys.close()
        self.witness.close()
        self.udp.close()
