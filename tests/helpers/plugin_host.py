"""Real VST3 plug-ins, and a host with effects on its stems. Two are built here by DPF, others are Debian's zam-plugins
where installed."""

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from stream_models import random_model

from bridge.audio import callback
from bridge.stems.audio_host import AudioHost
from genaudio_core.separation.streaming import MaskNetwork

RATE = 48000
can_build = pytest.mark.skipif(
    not Path('/usr/share/dpf').is_dir() or not shutil.which('g++') or not shutil.which('make'),
    reason='needs dpf-source, g++ and make to build a plug-in: apt-get install dpf-source g++ make',
)
ZAM = Path('/usr/lib/vst3')
zam_plugins = pytest.mark.skipif(
    not (ZAM / 'ZaMaximX2.vst3').exists(), reason='zam-plugins is not installed: apt-get install zam-plugins'
)


@functools.cache
def built(name: str) -> Path:
    """Build tests/NAME_plugin (some seconds, once per test run); return the .vst3."""
    folder = Path(tempfile.mkdtemp(prefix='genaudio-vst3-')) / name
    shutil.copytree(Path(__file__).parents[1] / f'{name}_plugin', folder)
    subprocess.run(['make', '-C', str(folder), 'vst3'], check=True, capture_output=True)
    return folder / 'bin' / f'{name}.vst3'


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setattr(callback, 'BOUNCE_WAIT', 60.0)  # a busy machine lets nobody run for seconds
    path = random_model()
    words = MaskNetwork.load(path).words('drums', 'bass')
    with AudioHost(str(path), words, sample_rate=RATE, block=256, margin_ms=0, realtime=False, standby=False) as made:
        made.core.waits = True
        yield made
