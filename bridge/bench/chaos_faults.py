"""The faults of a chaos run: each one a method, drawn from the seed like all else."""

import contextlib
import os
import signal
import time
from pathlib import Path

from bridge.bench.chaos_desk import DeskKeys
from bridge.bench.chaos_stage import INPUTS, OUTPUTS, Stage
from bridge.midi.messages import CLOCK, CONTINUE, SONG_POSITION, START, STOP, note_on
from genaudio_core.errors import GenaudioError

KILLS = 3  # deaths of the port process within 30 s that are no more than a daemon forgives
BAD_PRESETS = (
    b'', b'[player\n', b'\xff\xfe\x00', b'[player]\nmoed = "free"\n', b'[music]\ndensity = nan\n', b'x = ' * 1000,
    b'[ports]\nbackend = "jack"\noutputs = ["one", "two", "three"]\n[[parts]]\ninstrument = "piano"\noutput = 3\n',
    b'[[parts]]\ninstrument = "kazoo of doom"\n',
)  # fmt: skip


class Faults(Stage):
    """A stage on which things go wrong. A fault says itself what it does, and leaves the stage as it should be."""

    _kills: tuple[float, ...] = ()  # times at which the port process was killed

    def pull_output(self) -> None:
        """Cut an output's cables, as a reader that goes away does; the witness plugs itself in again."""
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
        """The keyboard leaves JACK, and comes back."""
        self.say('keyboard vanishes and comes back')
        self.keys.close()
        self.wait(self.rng.uniform(0.1, 2.0))
        self.keys = DeskKeys('chaos-keys')

    def _may_kill(self) -> bool:
        now = time.monotonic()
        self._kills = tuple(at for at in self._kills if now - at < 31)
        if len(self._kills) >= KILLS:
            return False
        self._kills += (now,)
        return True

    def _signal(self, fault: str, pid: int | None, number: signal.Signals) -> bool:
        if pid is None:
            return False
        self.say(fault, number.name)
        with contextlib.suppress(OSError):
            os.kill(pid, number)
        return True

    def kill_midi(self) -> None:
        """End the port process by a signal, as often as the supervisor allows."""
        if self._may_kill():
            number = self.rng.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV))
            self._signal('port process killed', self.daemon.midi, number)

    def stop_midi(self) -> None:
        """Let the port process hang until the supervisor notices."""
        if self._may_kill():
            self._signal('port process hangs', self.daemon.midi, signal.SIGSTOP)
            self.wait(7.0)

    def halt_midi(self) -> None:
        """Let the port process hang for less than a second, and go on."""
        pid = self.daemon.midi
        if self._signal('port process halts for a moment', pid, signal.SIGSTOP):
            self.wait(self.rng.uniform(0.1, 1.0))
            with contextlib.suppress(OSError):
                os.kill(pid or 0, signal.SIGCONT)

    def kill_engine(self) -> None:
        """End the music engine."""
        self._signal('engine killed', self.daemon.engine, signal.SIGKILL)

    def stop_engine(self) -> None:
        """Let the music engine hang until the port process notices."""
        self._signal('engine hangs', self.daemon.engine, signal.SIGSTOP)

    def hangup_children(self) -> None:
        """Signals that are meant for the parent reach the children."""
        for pid in (self.daemon.midi, self.daemon.engine):
            number = self.rng.choice((signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP))
            self._signal('signal to a child', pid, number)

    def ctrl_z(self) -> None:
        """Ctrl-Z, and `fg` some seconds later."""
        self.say('Ctrl-Z, then continued')
        os.killpg(self.daemon.process.pid, signal.SIGTSTP)
        self.wait(self.rng.uniform(0.3, 3.0))
        os.killpg(self.daemon.process.pid, signal.SIGCONT)

    def flood_midi(self) -> None:
        """Thousands of note-ons a second on both inputs."""
        a_second = self.rng.choice((3000, 20_000))
        self.say('flood of notes', f'{a_second} a second on both inputs')
        for output in self.keys.ports:
            for i in range(a_second):
                self.keys.send(0.02 + i / a_second, note_on(3, i % 128, 1 + i % 127), output)
            for note in range(128):
                self.keys.lift(3, note, 1.05, output)

    def all_keys(self) -> None:
        """Every note of every channel at once, on one input."""
        self.say('every key of every channel at once')
        for channel in range(16):
            for note in range(128):
                self.keys.send(0.02, note_on(channel, note, 100))
                self.keys.lift(channel, note, 0.5)

    def flood_osc(self) -> None:
        """Thousands of OSC messages a second, garbage among them."""
        self.say('flood of OSC', '10,000 messages a second')
        for i in range(20):
            for k in range(1000):
                self.osc('/genaudio/set/density', k / 1000)
            if i % 4 == 0:
                self.garbage_datagrams()
            self.wait(0.1)

    def garbage_midi(self) -> None:
        """Cut, wrong and unknown messages on an input."""
        self.say('garbage on the MIDI input')
        for i in range(100):
            size = self.rng.randrange(1, 12)
            status = self.rng.choice(b'\xb2\xc0\xd0\xe0\xf0\xf1\xf3\xf4\xf5\xf7\xfe\xff\x00\x45')
            rest = bytes(self.rng.randrange(128) for _ in range(size - 1))
            self.keys.send(0.02 + i / 200, bytes((status, *rest)))

    def garbage_osc(self) -> None:
        """Datagrams that are no OSC, and messages with wrong names and values."""
        self.say('garbage by OSC')
        self.garbage_datagrams()
        self.osc('/genaudio/learn', 'nonsense')
        self.osc('/genaudio/set/ports.outputs', 'one, two, three')
        self.osc('/genaudio/set/temperature', float('nan'))
        self.osc('/genaudio/command/explode')

    def garbage_datagrams(self) -> None:
        """Random bytes to the OSC port."""
        for _ in range(50):
            data = bytes(self.rng.randrange(256) for _ in range(self.rng.randrange(1, 80)))
            self.udp.sendto(self.rng.choice((b'', b'#bundle\0', b'/genaudio/')) + data, ('127.0.0.1', self.osc_port))

    def type_garbage(self) -> None:
        """Random keys in the terminal, but none that ends the program."""
        self.say('garbage on the keyboard')
        drawn = (self.rng.randrange(256) for _ in range(200))
        typed = bytes(byte for byte in drawn if byte not in b'q\x03\x1a\x1c\x04')
        with contextlib.suppress(OSError):
            os.write(self.daemon.keyboard, typed)

    def reload(self) -> None:
        """The preset is written again, as it was or with other values."""
        self.say('preset reloaded')
        self._write_preset()

    def reload_bad(self) -> None:
        """The preset is broken, huge, a pipe, a folder or gone for a second."""
        kind = self.rng.choice(('garbage', 'garbage', 'half', 'huge', 'pipe', 'folder', 'gone'))
        self.say('broken preset', kind)
        good = self.preset.read_bytes()
        self.preset.unlink()
        if kind == 'pipe':
            os.mkfifo(self.preset)
        elif kind == 'folder':
            self.preset.mkdir()
        elif kind != 'gone':
            size = self.rng.randrange(1, len(good))
            broken = {'half': good[:size], 'huge': b'# ' * (1 << 24) + good}
            self.preset.write_bytes(broken.get(kind) or self.rng.choice(BAD_PRESETS))
        self.wait(self.rng.uniform(0.3, 1.5))
        self._clear(self.preset)
        self._write_preset()

    @staticmethod
    def _clear(path: Path) -> None:
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)

    def unwritable_settings(self) -> None:
        """A folder stands where learned controllers are to be written."""
        self.say('learned controllers cannot be written')
        file = self.folder / 'genaudio' / 'controllers.json'
        file.parent.mkdir(exist_ok=True)
        self._clear(file)
        file.mkdir()
        self.osc('/genaudio/learn', 'density')
        self.wait(0.2)
        self.keys.send(0.02, bytes((0xB0, self.rng.randrange(40, 60), 64)))
        self.wait(0.5)
        self._clear(file)

    def no_folder(self) -> None:
        """The folder of kept takes is gone while takes are kept."""
        kind = self.rng.choice(('gone', 'a file', 'a broken link'))
        self.say('folder of the takes is lost', kind)
        takes, aside = self.folder / 'takes', self.folder / 'aside'
        takes.rename(aside)
        if kind == 'a file':
            takes.touch()
        elif kind == 'a broken link':
            takes.symlink_to('/proc/none')
        for _ in range(3):
            self.osc('/genaudio/command/keep')
            self.wait(0.2)
        takes.unlink(missing_ok=True)
        aside.rename(takes)

    def silly_clock(self) -> None:
        """Two MIDI clocks at odd tempos, with starts, stops and positions between."""
        tempos = (0.5, 4.0, 33.0, 120.0, 299.0, 700.0, 6000.0, 1e5)
        self.say('MIDI clock', ' and '.join(
            f'{self._tick(output, tempo):g} BPM at {INPUTS[output]}'
            for output, tempo in zip(self.keys.ports, self.rng.sample(tempos, 2), strict=True)
        ))  # fmt: skip
        self.wait(3.0)

    def _tick(self, output: str, tempo: float, seconds: float = 2.5) -> float:
        """Send a start, a clock, wrong positions, and perhaps a stop."""
        self.keys.send(0.02, bytes((self.rng.choice((START, CONTINUE)),)), output)
        period = 60 / 24 / tempo
        for i in range(min(int(seconds / period), 20_000)):
            self.keys.send(0.03 + i * period * self.rng.uniform(1.0, 1.2), bytes((CLOCK,)), output)
        where = self.rng.randrange(1 << 14)
        self.keys.send(seconds / 2, bytes((SONG_POSITION, where & 127, where >> 7)), output)
        if self.rng.random() < 0.5:
            self.keys.send(seconds + 0.1, bytes((STOP,)), output)
        return tempo

    def odd_peer(self) -> None:
        """A client with an odd name connects, holds a key and the pedal, and leaves."""
        name = self.rng.choice(('\x1b[2J\x07"\'', 'a/b%s{}', 'é\u202e\u0301', ' ', 'Ardour ' * 8))
        self.say('a client with an odd name comes and goes', ascii(name))
        with contextlib.suppress(GenaudioError):  # JACK takes no such name
            peer = DeskKeys(name)
            with contextlib.suppress(Exception):
                for port in self.witness.client.get_ports('chaos-band', is_midi=True, is_input=True):
                    self.witness.client.connect(peer.name, port)
            peer.send(0.02, note_on(5, 61, 90))
            peer.send(0.02, bytes((0xB5, 64, 127)))
            self.wait(1.0)
            peer.close()  # with the key and the pedal down

    def block_size(self) -> None:
        """Another block size of JACK for two seconds."""
        size = self.rng.choice((64, 128, 1024, 4096))
        self.say('another block size', str(size))
        for frames in (size, 256):
            with contextlib.suppress(Exception):
                self.witness.client.blocksize = frames
            self.wait(2.0)

    def transport(self) -> None:
        """JACK's transport jumps, and starts or stops."""
        self.say('JACK transport')
        client = self.witness.client
        with contextlib.suppress(Exception):
            client.transport_locate(self.rng.randrange(48000 * 60))
            (client.transport_start if self.rng.random() < 0.6 else client.transport_stop)()
