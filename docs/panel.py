"""Pictures of the panel, from real sessions on a JACK server of their own: python docs/panel.py [stems | band]

Needs jackd, Chromium and the extra `dev`. What is played here is made here: a loop of chords for the band; drums, a
bass line and a lead for the stems.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

DOCS = Path(__file__).resolve().parent
NAME = f'genaudio-panel-{os.getpid()}'
RATE = 48000
LOOP = ((48, 60, 64, 67), (45, 57, 60, 64), (41, 57, 60, 65), (43, 55, 59, 62))  # C Am F G, a bar each
MOST = 150_000  # bytes of a picture


@contextlib.contextmanager
def server() -> Iterator[None]:
    """A JACK server without a sound card, for us and our children."""
    folder = tempfile.TemporaryDirectory()  # what somebody has learned here is nobody's business
    os.environ |= {'JACK_DEFAULT_SERVER': NAME, 'JACK_NO_START_SERVER': '1', 'JACK_NO_AUDIO_RESERVATION': '1',
                   'XDG_CONFIG_HOME': folder.name, 'XDG_DATA_HOME': folder.name}  # fmt: skip
    command = ['jackd', '-R', '-n', NAME, '-d', 'dummy', '-r', str(RATE), '-p', '256']
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        subprocess.run(['jack_wait', '-s', NAME, '-w', '-t', '120'], check=True, capture_output=True)
        yield
    finally:
        process.terminate()
        process.wait()
        folder.cleanup()


@contextlib.contextmanager
def session(*command: str) -> Iterator[str]:
    """Run a command of genaudio with a panel; give its link."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'bridge.cli', *command, '--panel'], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        stdin=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r'Panel: (http\S+)', line):
                threading.Thread(target=sys.stderr.writelines, args=(process.stderr,), daemon=True).start()
                yield found[1]
                return
        raise SystemExit(f'{" ".join(command)} opened no panel')
    finally:
        process.terminate()
        process.wait()


class Pianist:
    """A JACK client that plays the loop of chords at 120 BPM."""

    def __init__(self) -> None:
        import jack

        self.client = jack.Client('pianist', no_start_server=True)
        self.port = self.client.midi_outports.register('out')
        self._start = self._bar = 0
        self.client.set_process_callback(self._process)
        self.client.activate()

    def _process(self, frames: int) -> None:
        self.port.clear_buffer()
        now = self.client.last_frame_time
        self._start = self._start or now + RATE
        due = self._start + 2 * RATE * self._bar
        if due < now + frames:
            at = max(due - now, 0)
            for note in LOOP[(self._bar - 1) % 4] if self._bar else ():
                self.port.write_midi_event(at, (0x80, note, 0))
            for note in LOOP[self._bar % 4]:
                self.port.write_midi_event(at, (0x90, note, 84))
            self._bar += 1


class Record:
    """A JACK client that plays a bar of drums, bass and lead, round and round."""

    def __init__(self) -> None:
        import jack

        self.sound, self.at = bar(), 0
        self.client = jack.Client('record', no_start_server=True)
        self.ports = [self.client.outports.register(f'out_{side}') for side in (1, 2)]
        self.client.set_process_callback(self._process)
        self.client.activate()

    def _process(self, frames: int) -> None:
        at = np.arange(self.at, self.at + frames) % self.sound.shape[1]
        for port, row in zip(self.ports, self.sound, strict=True):
            port.get_array()[:] = row[at]
        self.at += frames


def bar() -> np.ndarray:
    """Two seconds of music, (2, n)."""
    rng, n = np.random.default_rng(0), 2 * RATE
    out = np.zeros((2, n))
    t = np.arange(n) / RATE
    for beat in range(8):  # eighths
        at = beat * n // 8
        age = t[: n - at]
        kick = np.sin(2 * np.pi * (50 * age - 4 * np.exp(-30 * age))) * np.exp(-9 * age)
        snare = rng.standard_normal(n - at) * np.exp(-22 * age)
        hat = np.diff(rng.standard_normal(n - at), prepend=0) * np.exp(-70 * age)
        out[:, at:] += 0.5 * kick * (beat % 4 == 0) + 0.22 * snare * (beat % 4 == 2) + 0.08 * hat
        bass = 41.2 * 2 ** ((0, 0, 12, 0, 3, 3, 10, 7)[beat] / 12)
        tone = sum(np.sin(2 * np.pi * bass * k * age) / k for k in range(1, 7))
        out[:, at:] += 0.16 * tone * np.exp(-5 * age)
        lead = 329.6 * 2 ** ((0, 3, 7, 10, 12, 10, 7, 3)[beat] / 12)
        phase = 2 * np.pi * lead * (age + 0.0007 * np.sin(2 * np.pi * 5.5 * age))
        voice = sum(np.sin(k * phase) / k for k in range(1, 9))
        out[:, at:] += np.array([[0.05], [0.07]]) * voice * np.exp(-3 * age) * (1 - np.exp(-200 * age))
    return (0.7 * out).astype(np.float32)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which('chromium'), args=['--no-sandbox'] if os.geteuid() == 0 else []
        )
        yield browser
        browser.close()


def picture(browser: Any, link: str, name: str, width: int, height: int, ready: str, wait: float = 0.0) -> None:
    """Write a picture of the page when what `ready` asks for holds."""
    page = browser.new_page(viewport={'width': width, 'height': height}, color_scheme='dark')
    page.set_default_timeout(120_000)
    page.goto(link)
    page.wait_for_function(ready)
    time.sleep(wait)
    path = DOCS / name
    page.screenshot(path=path)
    page.close()
    shrink(path)


def shrink(path: Path, width: int = 0) -> None:
    """Make a picture small enough for a repository, and `width` pixels wide where it is wider."""
    from PIL import Image

    with Image.open(path) as image:
        if 0 < width < image.width:
            image = image.convert('RGB').resize((width, round(image.height * width / image.width)))
        image.convert('P', palette=Image.Palette.ADAPTIVE, colors=128).save(path, optimize=True)
    print(f'{path.name}: {path.stat().st_size} bytes')
    if path.stat().st_size > MOST:
        raise SystemExit(f'{path} has more than {MOST} bytes')


BAND = ('live', 'band', '--no-view', '--set', 'ports.backend=jack', '--set', 'ports.connect=pianist:')


def band(browser: Any) -> None:
    player = Pianist()
    with session(*BAND, '--set', 'takes=2') as link:
        ready = '() => panel.played.length > 150 && panel.takes.size > 1 && panel.scene.planned.length > 4'
        picture(browser, link, 'panel-band.png', 1280, 860, ready)
    player.client.deactivate()
    player.client.close()


STEMS = ('isolate', '-q', 'drums', '-q', 'bass', '-q', 'lead guitar', '--gain', '0', '--gain', '-3', '--gain',
         '0', '--rest', '-12', '--effect', 'drums=Reverb,room_size=0.3', '--name', 'stems', '--connect',
         'record:out_1=in_1', '--connect', 'record:out_2=in_2')  # fmt: skip


def stems(browser: Any) -> None:
    player = Record()
    with session(*STEMS) as link:
        picture(browser, link, 'panel-stems.png', 1280, 860, '() => panel.levels.length > 0', 12)
    player.client.deactivate()
    player.client.close()


if __name__ == '__main__':
    with server(), chromium() as opened:
        for make in (stems, band):
            if make.__name__ in sys.argv or not {'stems', 'band'} & set(sys.argv):
                make(opened)
