"""Real VST3 plug-ins for the tests: two are built here by DPF, others are Debian's zam-plugins where installed."""

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

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
