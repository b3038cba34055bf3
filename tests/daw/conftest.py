"""For all tests of the plug-ins: they are built once, and meet an engine in a folder of the test's own."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ardour_sessions import Ardour, build_probe
from engines import an_engine

from bridge.daw import building
from genaudio_core.errors import GenaudioError
from genaudio_core.sound.audio_files import read_audio, write_audio


@pytest.fixture(scope='session')
def bundles() -> Path:
    """The folder of the built plug-ins; skips where there is nothing to build them with."""
    try:
        building.find_dpf()
    except GenaudioError as error:
        pytest.skip(str(error))
    return building.build()


@pytest.fixture
def engine():
    """An engine of this test's own."""
    with an_engine() as folder:
        yield folder


@pytest.fixture(scope='session')
def host_program(bundles) -> Path:
    return build_host(bundles)


def build_host(bundles: Path) -> Path:
    """The small CLAP host, built beside the plug-ins."""
    source = Path(__file__).parent / 'host' / 'clap_host.cpp'
    program = bundles / f'clap_host-{hash_of(source)}'
    if not program.exists():
        made = program.with_name(f'{program.name}.{os.getpid()}')
        include = building.find_dpf() / 'distrho' / 'src'
        command = [
            'g++',
            '-std=gnu++17',
            '-O1',
            '-rdynamic',
            f'-I{include}',
            str(source),
            '-o',
            str(made),
            '-ldl',
            '-pthread',
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        made.rename(program)
    return program


def hash_of(path: Path) -> str:
    from export.up_to_date import file_hash

    return file_hash(path)[:12]


class ClapHost:
    """The host's process. Each method is one line to it."""

    def __init__(self, program: Path, folder: Path):
        self.folder = folder
        self.errors = open(folder / 'host.err', 'w')  # noqa: SIM115
        self.process = subprocess.Popen(
            [str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )

    def __call__(self, *words) -> str:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(' '.join(map(str, words)) + '\n')
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    @property
    def said(self) -> str:
        """What the plug-in wrote for the person."""
        return (self.folder / 'host.err').read_text()

    def parameters(self) -> dict[str, int]:
        return {
            name: int(number) for number, _, name in (one.partition('=') for one in self('parameters').split(';')[:-1])
        }

    def texts(self, number: int) -> list[str]:
        """What the values of a parameter are called."""
        return self('texts', number).split(';')[:-1]

    @property
    def missed(self) -> int:
        """Blocks for which there was nothing from the engine."""
        return round(float(self('get', self.parameters()['Missed blocks'])))

    def feed(self, sound: np.ndarray) -> None:
        np.ascontiguousarray(sound, np.float32).tofile(self.folder / 'in.raw')
        assert int(self('input', self.folder / 'in.raw')) == sound.shape[1]

    def heard(self) -> np.ndarray:
        """Return all channels (c, n) since the last time."""
        n = int(self('output', self.folder / 'out.raw'))
        return np.fromfile(self.folder / 'out.raw', np.float32).reshape(-1, n)

    def wait_for_engine(self, seconds: float = 60) -> None:
        number, until = self.parameters()['Engine'], time.monotonic() + seconds
        while float(self('get', number)) == 0 and time.monotonic() < until:
            time.sleep(0.02)
        assert float(self('get', number)) == 1, self.said

    def wait_until_said(self, text: str, seconds: float = 20) -> None:
        until = time.monotonic() + seconds
        while text not in self.said and time.monotonic() < until:
            time.sleep(0.02)
        assert text in self.said

    @property
    def position(self) -> int:
        """Frames since the host began."""
        return int(self('steady'))

    def notes(self) -> list[tuple[int, bytes]]:
        """What was played since the last time: (frame since the host began, message)."""
        found = [one.split() for one in self('notes').split(';')[:-1]]
        return [(int(frame), bytes(map(int, data))) for frame, *data in found]

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()
        self.process.wait(20)
        self.errors.close()


@pytest.fixture
def clap_host(host_program, engine, tmp_path):
    """A CLAP host that runs."""
    hosts = []

    def start(name: str = '') -> ClapHost:
        folder = tmp_path / f'host{len(hosts)}'
        folder.mkdir()
        hosts.append(ClapHost(host_program, folder))
        return hosts[-1]

    yield start
    for host in hosts:
        host.close()


@pytest.fixture
def ardour(engine, tmp_path) -> Ardour:
    """Ardour without a window, which plays and exports the session `mix`."""
    if not shutil.which('ardour7-export'):
        pytest.skip('needs Ardour 7')
    return Ardour(tmp_path)


@pytest.fixture
def probe(ardour) -> str:
    """Begin of the names of two plug-ins for Ardour that write down all that reaches them (see `host/probe.cpp`)."""
    build_probe(Path(__file__).parent / 'host' / 'probe.cpp', ardour.home / 'lv2' / 'probe.lv2')
    return 'urn:genaudio:probe'


@pytest.fixture
def stems_session(ardour, bundles):
    """Makes a session with a sound of two seconds and the stems on its track, the first alone; returns the sound."""

    def make(kind: str, silence: int = 0) -> np.ndarray:
        sys.path.insert(0, str(Path(__file__).parents[1] / 'script'))
        from script_sounds import noise_makers

        from genaudio_core.script.ardour_session import write_session
        from genaudio_core.script.composition import compose
        from genaudio_core.script.mixing import MixSettings
        from genaudio_core.script.table import EFFECT, FOREGROUND, Row, Script

        row = Row(1, EFFECT, FOREGROUND, 'bang', -10, seconds=2.0)
        made = compose(Script((row,)), noise_makers(), MixSettings(channels=2), seed=3)
        write_session(ardour.session, 'mix', made)
        uid = ardour.install(bundles, 'stems')
        told = ardour.add('urn:genaudio:stems' if kind == 'LV2' else uid, kind, 'Stem 1 solo')
        assert 'latency 2048\nset true' in told
        if not silence:
            return made.mixdown.audio
        (path,) = ardour.session.glob('interchange/*/audiofiles/*.wav')
        sound = np.pad(read_audio(path), ((0, 0), (silence, 0)))[:, :-silence]
        write_audio(path, sound, 44100)
        return sound

    return make


@pytest.fixture
def music():
    """A second and a half of a made-up song: (rate) -> (2, n) float32."""

    def make(rate: int, seconds: float = 1.5, seed: int = 1) -> np.ndarray:
        rng = np.random.default_rng(seed)
        t = np.arange(round(rate * seconds)) / rate
        kick = np.sin(2 * np.pi * 60 * t) * np.exp(-20 * (t % 0.5))
        tone = sum(np.sin(2 * np.pi * f * t) for f in (220, 277, 330)) * 0.1
        sound = np.stack([kick * 0.4 + tone, kick * 0.4 + 0.7 * tone]) + rng.standard_normal((2, len(t))) * 0.02
        return (sound * 0.5).astype(np.float32)

    return make
