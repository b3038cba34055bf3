"""Every TOML file of settings is read in one way: preset, isolation preset, pads, manifest."""

import os
import sys

import pytest

from bridge.commands.pads import read_pads
from bridge.settings import stems_preset
from bridge.settings.band_preset import load_preset
from export.manifest import read_manifest
from genaudio_core.errors import GenaudioError
from genaudio_core.files import read_toml

READERS = {
    'preset': load_preset, 'isolate': lambda path: stems_preset.load(str(path)), 'pads': read_pads,
    'manifest': read_manifest,
}  # fmt: skip
DAMAGED = {
    'no text': b'\xff\xfe\0\0', 'brackets': b'a = ' + b'[' * 5000 + b']' * 5000, 'digits': b'a = ' + b'9' * 5000,
    'large': b'#' * (2 << 20), 'no toml': b'[[',
}  # fmt: skip


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('damage', DAMAGED)
def test_what_is_no_table_is_one_line_of_every_reader(tmp_path, reader, damage):
    path = tmp_path / 'x.toml'
    path.write_bytes(DAMAGED[damage])
    with pytest.raises(GenaudioError) as caught:
        READERS[reader](path)
    assert '\n' not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.skipif(sys.platform == 'win32', reason='no pipes with names')
@pytest.mark.parametrize('reader', READERS)
def test_a_pipe_or_a_folder_is_one_line_of_every_reader(tmp_path, reader):
    os.mkfifo(tmp_path / 'pipe.toml')
    (tmp_path / 'folder.toml').mkdir()
    for name in ('pipe.toml', 'folder.toml', 'missing.toml'):
        with pytest.raises(GenaudioError) as caught:
            READERS[reader](tmp_path / name)
        assert '\n' not in str(caught.value) and name in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_the_table(tmp_path):
    (tmp_path / 'x.toml').write_bytes(b'\xef\xbb\xbf[music]\r\nseed = 1\r\n')
    assert read_toml(tmp_path / 'x.toml', 'preset') == {'music': {'seed': 1}}
    assert load_preset(tmp_path / 'x.toml')['music.seed'] == 1
