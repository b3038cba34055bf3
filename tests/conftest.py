"""Shared by all tests: small scores, made here, and hypothesis settings."""

import ctypes
import os
import platform
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from genaudio_core.errors import GenaudioError
from genaudio_core.score.notes import Meter, Note, Score, Tempo, Track

# Triton asks when it is first imported, and torch imports it: without a card its interpreter runs the kernels.
if not Path('/dev/nvidiactl').exists():
    os.environ.setdefault('TRITON_INTERPRET', '1')

# Machines are noisy, so no example has a deadline; CI draws the same examples every time.
settings.register_profile('ours', deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile('ci', parent=settings.get_profile('ours'), derandomize=True)
settings.load_profile('ci' if os.environ.get('CI') else 'ours')


def pytest_configure(config: pytest.Config) -> None:
    """Make a folder for what is made once for the whole run (`small_decoders`), over however many processes."""
    if not hasattr(config, 'workerinput'):  # the process that starts the others, which inherit this
        made = tempfile.TemporaryDirectory(prefix='genaudio-tests-')
        os.environ['GENAUDIO_TESTS'] = made.name
        os.environ['GENAUDIO_TAKES'] = f'{made.name}/takes'  # not among those of who runs the tests
        config.add_cleanup(made.cleanup)


GLIBC = platform.libc_ver()[0] == 'glibc' and platform.machine() == 'x86_64'
DEFAULT = ctypes.c_void_p(-1)  # FE_DFL_ENV of glibc on x86-64


@pytest.fixture(autouse=GLIBC)
def subnormal_numbers_come_back():
    """What is built with -ffast-math (pedalboard, plug-ins) switches them off for the thread that loads it, and for the
    tests that come after: hypothesis refuses to draw floats then."""
    yield
    assert ctypes.CDLL('libm.so.6').fesetenv(DEFAULT) == 0


@pytest.fixture
def phrase() -> Score:
    """Four bars of 4/4 for piano and bass, 64 notes."""
    melody = [Note(i / 2, 0.5, 60 + (0, 2, 4, 5, 7, 5, 4, 2)[i % 8], 70 + i % 16) for i in range(32)]
    chords = [Note(4 * bar, 4.0, note, 60) for bar in range(4) for note in (48, 52, 55, 59)]
    bass = [Note(i, 1.0, 36 + (0, 7)[i % 2], 90) for i in range(16)]
    tracks = [Track(0, notes=sorted(melody + chords)), Track(33, notes=bass)]
    return Score(tracks, [Tempo(0.0, 96.0)], [Meter(0.0, 4, 4)])


@pytest.fixture
def test_font() -> Path:
    """The SoundFont that tests play through; a test is skipped where it or fluidsynth is missing."""
    from genaudio_core.sound.soundfont import find_font
    from genaudio_core.training.sounds.soundfont_clips import TEST_FONT

    pytest.importorskip('fluidsynth')
    try:
        return find_font(TEST_FONT[1], TEST_FONT[0])
    except GenaudioError as error:
        pytest.skip(str(error))
