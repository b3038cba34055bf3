"""`genaudio plugin` and `genaudio serve` as a person uses them."""

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest

from bridge import cli
from bridge.daw import building, installing, meeting_place, server
from bridge.system.waiting import wait_until
from genaudio_core.errors import GenaudioError


def test_it_installs_where_hosts_look_and_takes_it_away(bundles, engine, tmp_path, capsys):
    assert cli.main(['plugin', 'install', '--to', str(tmp_path)]) == 0
    there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob('.*/*')}
    assert {
        f'.{kind}/genaudio-{name}.{kind}' for kind in ('vst3', 'clap', 'lv2') for name in ('stems', 'band')
    } <= there
    assert json.loads((engine / 'engine.json').read_text())['python'] == sys.executable
    assert cli.main(['plugin', 'install', '--to', str(tmp_path)]) == 0  # again
    capsys.readouterr()
    assert cli.main(['plugin', 'status', '--to', str(tmp_path)]) == 0
    assert capsys.readouterr().out.count('": "ok"') == 6
    assert cli.main(['plugin', 'uninstall', '--to', str(tmp_path)]) == 0
    assert not list(tmp_path.glob('.*/*')) and not (engine / 'engine.json').exists()
    assert 'genaudio-stems.vst3' in capsys.readouterr().out


def test_without_a_compiler_it_says_what_to_install(engine, monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(GenaudioError, match=r'g\+\+.*apt install g\+\+ dpf-source'):
        building.build()
    monkeypatch.undo()


def test_what_a_wheel_holds_built_needs_no_compiler(bundles, engine, monkeypatch, tmp_path):
    shutil.copytree(bundles, tmp_path / 'built')
    monkeypatch.setattr(building, 'SHIPPED', tmp_path / 'built')
    monkeypatch.setenv('PATH', str(tmp_path))
    made = installing.install(tmp_path / 'home')
    assert len(made) == 6 and not any(map(installing.why_not_loaded, made))


def test_without_dpf_it_says_what_to_install(engine, monkeypatch, tmp_path):
    monkeypatch.setenv('DPF_PATH', str(tmp_path))
    with pytest.raises(GenaudioError, match='apt install g'):
        building.build()


def test_doctor_tells_of_plugins_that_are_not_there_do_not_load_or_find_no_engine(engine, monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert installing.check().startswith('note: no plug-ins')
    (tmp_path / '.clap').mkdir()
    bundle = tmp_path / '.clap' / 'genaudio-band.clap'
    bundle.write_bytes(b'no library')
    assert re.match('FIX: .*genaudio-band.clap does not load .*: genaudio plugin install', installing.check())
    monkeypatch.setattr(installing, 'why_not_loaded', lambda path: '')
    assert installing.check() == 'ok: band: 1 bundles load'
    (engine / 'engine.json').write_text('{"python": "/nowhere/python"}')
    assert installing.check().startswith('FIX: the plug-ins do not find their engine')


@pytest.mark.parametrize('name', building.PLUGINS)
def test_the_lv2_description_names_its_binary_and_the_hosts_freewheel_port(bundles, name):
    folder = bundles / f'genaudio-{name}.lv2'
    (binary,) = re.findall('lv2:binary <(.*)>', (folder / 'manifest.ttl').read_text())
    assert (folder / binary).is_file()
    text = (folder / f'genaudio-{name}.ttl').read_text()
    assert 'lv2:symbol "freewheel" ;\n        lv2:designation lv2:freeWheeling' in text


@pytest.mark.skipif(not shutil.which('lv2_validate'), reason='needs lv2-dev and sordi')
@pytest.mark.parametrize('name', building.PLUGINS)
def test_the_lv2_description_is_valid(bundles, name):
    files = sorted((bundles / f'genaudio-{name}.lv2').glob('*.ttl'))
    done = subprocess.run(['lv2_validate', *files], capture_output=True, text=True, check=False)
    told = done.stdout + done.stderr
    assert done.returncode == 0 and ' 0 errors' in told and 'error:' not in told, told


def test_the_engine_ends_when_it_is_idle_and_there_is_only_one(engine):
    found = {}
    thread = threading.Thread(target=lambda: found.update(server.serve(0.5, on_notice=lambda line: None)))
    thread.start()
    until = time.monotonic() + 20
    while not meeting_place.discovery() and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises(GenaudioError, match='is already running'):
        server.Server(lambda line: None)
    thread.join(30)
    assert found == {'plugins': 0}
    assert meeting_place.discovery() == {} and not list(engine.glob('*.sock'))


def test_a_folder_that_others_may_write_to_is_refused(monkeypatch, tmp_path):
    folder = tmp_path / 'open'
    folder.mkdir(mode=0o700)
    folder.chmod(0o777)
    monkeypatch.setenv('GENAUDIO_RUNTIME', str(folder))
    with pytest.raises(GenaudioError, match='yours alone'):
        meeting_place.runtime_folder()


@pytest.mark.parametrize('line', [b'', b'[]', b'{"a"', b'{"genaudio": "stems"}', b'{"genaudio": 3, "protocol": 1}'])
def test_a_stranger_on_the_socket_does_no_harm(engine, line):
    one = server.Server(lambda line: None)
    try:
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(meeting_place.discovery()['socket'])
            stranger.sendall(line + b'\n')
            until = time.monotonic() + 5
            while time.monotonic() < until and not (one._strangers == [] and time.monotonic() > until - 4.8):
                one.turn(0.01)
        assert one.sessions == [] and one._line == []
    finally:
        one.close()


def test_a_plugin_of_another_protocol_is_refused_with_a_line(engine):
    said = []
    one = server.Server(said.append)
    try:
        with socket.socket(socket.AF_UNIX) as plugin:
            plugin.settimeout(20)
            plugin.connect(meeting_place.discovery()['socket'])
            plugin.sendall(b'{"genaudio": "stems", "protocol": 99}\n')
            assert wait_until(lambda: (one.turn(0.01), said)[1], 20)
            told = meeting_place.parse_line(plugin.recv(65536).strip())
        assert told == {'state': 'refused', 'line': said[0]}
        assert 'protocol 99' in said[0] and 'genaudio plugin install' in said[0]
    finally:
        one.close()


def test_words_for_no_plugin_are_one_line(engine, capsys):
    assert cli.main(['plugin', 'query', 'violin']) == 2
    assert 'open it in a DAW' in capsys.readouterr().err
    assert cli.main(['plugin', 'query']) == 2
    assert 'Say what to listen for' in capsys.readouterr().err


def test_what_is_wrong_for_the_band_is_one_line(engine, capsys, tmp_path):
    (tmp_path / 'bad.toml').write_text('[player]\nmode = "respnd"\n')
    for words, told in (
        (['chords', 'C | Xyz'], 'Xyz'), (['preset'], 'preset file'), (['takes'], 'folder'),
        (['preset', str(tmp_path / 'bad.toml')], "'respond'"), (['chords', 'C | G'], 'open it in a DAW'),
    ):  # fmt: skip
        assert cli.main(['plugin', *words]) == 2
        assert told in capsys.readouterr().err
