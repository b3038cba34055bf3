"""*genaudio stems* (LV2) in Ardour without a sound card: what is exported, twice."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bridge.stems.isolate import model_path
from genaudio_core.script.ardour_session import write_session
from genaudio_core.script.composition import compose
from genaudio_core.script.mixing import MixSettings
from genaudio_core.script.table import EFFECT, FOREGROUND, Row, Script
from genaudio_core.separation.streaming import MaskNetwork, StreamingSeparator
from genaudio_core.sound.audio_files import read_audio

sys.path.insert(0, str(Path(__file__).parents[1] / 'script'))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which('ardour7-export'), reason='needs Ardour 7'),
]


def test_two_exports_are_alike_and_are_the_streaming_engines_stem(bundles, engine, tmp_path):
    from script_sounds import noise_makers

    row = Row(1, EFFECT, FOREGROUND, 'bang', -10, seconds=2.0)
    made = compose(Script((row,)), noise_makers(), MixSettings(channels=2), seed=3)
    write_session(tmp_path / 'session', 'mix', made)
    shutil.copytree(bundles / 'genaudio-stems.lv2', tmp_path / 'lv2' / 'genaudio-stems.lv2')
    # With AVX-512, Ardour 7.3 mixes the last three samples of a region wrongly or crashes: plain code for it.
    settings = os.environ | {'HOME': str(tmp_path), 'ARDOUR_FPU_FLAGS': '0', 'LV2_PATH': str(tmp_path / 'lv2')}

    def ardour(*command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=settings, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    lua = Path(__file__).with_name('add_plugin.lua')
    told = ardour('ardour7-lua', lua, tmp_path / 'session', 'mix', 'urn:genaudio:stems', 'LV2', 'Stem 1 solo')
    assert 'latency 2048\nset true' in told
    for name in ('one', 'two'):
        ardour('ardour7-export', '-b', 'float', '-o', tmp_path / f'{name}.wav', tmp_path / 'session', 'mix')
    one, two = (read_audio(tmp_path / f'{name}.wav') for name in ('one', 'two'))
    assert np.array_equal(one, two)
    sound, network = made.mixdown.audio, MaskNetwork.load(model_path(None))
    separator = StreamingSeparator(network, network.words('drums', 'bass', 'vocals', 'guitar'), 44100)
    padded = np.concatenate([sound, np.zeros((2, separator.latency), np.float32)], -1)
    assert np.abs(one - separator.separate(padded)[0][:, separator.latency :]).max() < 1e-6
