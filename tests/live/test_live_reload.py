"""A preset that is reloaded while the music plays keeps what its plug-in delays."""

import os
import types

import pytest
from live_band import preset

from bridge.live.live_band import LiveBand, PluginInstrument
from bridge.live.preset_reload import GONE, Reloader
from bridge.settings.band_preset import find_preset, load_preset
from genaudio_core.errors import GenaudioError


def test_the_delay_of_the_instrument_is_still_made_up_for_after_a_reload(monkeypatch):
    sent = []
    instrument = object.__new__(PluginInstrument)
    instrument.latency_s, instrument.ready = 0.040, True
    instrument._supervisor = types.SimpleNamespace(send=lambda **message: sent.append(message))  # type: ignore
    instrument.instrument = types.SimpleNamespace(plugin=types.SimpleNamespace(name='Synth.vst3'))  # type: ignore
    monkeypatch.setattr('bridge.plugins.instrument.InstrumentProcess.poll', lambda self: [])
    wanted = [{'set': 'transport.latency_ms', 'value': 45.0}]
    instrument.preset = preset(transport__latency_ms=5.0)
    assert len(instrument.poll()) == 1 and sent == wanted
    instrument.poll()
    assert sent == wanted  # once is enough
    instrument.preset = preset(transport__latency_ms=5.0, music__temperature=0.7)
    assert instrument.poll() == [] and sent == 2 * wanted  # the person knows already
    instrument.latency_s = 0.0  # its own setting was changed
    assert len(instrument.poll()) == 1 and sent[2:] == [{'set': 'transport.latency_ms', 'value': 5.0}]
    instrument.preset = preset(transport__latency_ms=5.0)
    assert instrument.poll() == [] and len(sent) == 3  # nothing to make up for


class Said:
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='needs pipes with a name')
def test_whatever_becomes_of_the_preset_file_costs_one_line_and_it_is_read_when_it_is_back(tmp_path):
    path, view = tmp_path / 'mine.toml', Said()
    path.write_text('[music]\ndensity = 0.3\n')
    reloader = Reloader(path, {})

    def look():
        found = [reloader.look(view.say) for _ in range(2 * GONE)]  # type: ignore
        lines, view.lines = view.lines, []
        return [preset for preset in found if preset is not None], lines

    assert look() == ([], [])
    path.unlink()
    assert look() == ([], [f'{path} is gone. Playing on with the preset as it was.'])
    for make, words in (
        (path.mkdir, 'directory'), (lambda: os.mkfifo(path), 'pipe'), (lambda: path.write_bytes(b'\xff\0'), 'TOML'),
        (lambda: path.write_text('x = ' + '[' * 100_000), 'brackets'),
    ):  # fmt: skip
        make()
        found, lines = look()
        assert not found and len(lines) == 1 and words in lines[0].lower().replace('toml', 'TOML'), (words, lines)
        path.rmdir() if path.is_dir() else path.unlink()
        look()
    path.write_text('[music]\ndensity = 0.4\n')
    (back,), lines = look()
    assert back['music.density'] == 0.4 and lines == [f'{path} is reloaded.']


def test_a_preset_is_read_when_it_is_written_to_its_end(tmp_path):
    """An editor, or a slow folder, writes it piece by piece: no half of it is played by, and none is complained of."""
    path, view = tmp_path / 'mine.toml', Said()
    path.write_text('[music]\ndensity = 0.3\n')
    reloader = Reloader(path, {})
    found = []
    for number, piece in enumerate(('[mu', 'sic]\nden', 'sity = 0', '.5\n')):
        with open(path, 'a' if number else 'w') as file:
            file.write(piece)
        found.append(reloader.look(view.say))  # type: ignore
    assert found == [None] * 4 and view.lines == []
    reloaded = [preset for _ in range(3) if (preset := reloader.look(view.say)) is not None]  # type: ignore
    assert [preset['music.density'] for preset in reloaded] == [0.5] and view.lines == [f'{path} is reloaded.']


class FakeSupervisor:
    restarts = refused = 0

    def __init__(self, preset, notify, **_):
        self.snapshot, self.sent, self.stopped = {}, [], False

    def send(self, **message):
        self.sent.append(message)

    def poll(self, timeout):
        return True

    def stop(self):
        self.stopped = True


def test_a_live_band_in_ones_own_program_reloads_its_preset_and_answers_osc_as_the_command_does(monkeypatch, tmp_path):
    monkeypatch.setattr('bridge.live.live_band.Supervisor', FakeSupervisor)
    path, said = tmp_path / 'mine.toml', Said()
    path.write_text('[music]\ndensity = 0.3\n')
    with LiveBand(path, {'music.seed': 7}, reload=True, notify=said.say) as band:
        band.take(pad=1, file='hit.wav')
        band.take(command='play')
        path.write_text('[music]\ndensity = 0.75\n')
        for _ in range(3):
            band.look()
    supervisor = band._supervisor
    play, reloaded = supervisor.sent
    assert play == {'command': 'play'}
    assert reloaded['preset']['music.density'] == 0.75 and reloaded['preset']['music.seed'] == 7
    assert any('no pads' in line for line in said.lines) and any('is reloaded' in line for line in said.lines)
    assert supervisor.stopped


def test_what_is_saved_stands_as_it_was_turned_parts_and_controllers_too(monkeypatch, tmp_path):
    monkeypatch.setattr('bridge.live.live_band.Supervisor', FakeSupervisor)
    monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path))
    said = Said()
    with LiveBand({'parts': [{'instrument': 'bass'}, {'instrument': 'drums'}]}, notify=said.say) as band:
        band.take(save='too early')
        band.look()
        assert 'not ready' in said.lines[-1]
        band._supervisor.snapshot = {
            'values': {**band.preset.values, 'music.density': 0.3}, 'controllers': {21: 'low.bass'},
            'part_values': {'low.bass': 40, 'density.drums': 0.9},
        }  # fmt: skip
        band.take(save='low one')
        band.look()
    saved = load_preset(find_preset('low one'))
    assert saved['music.density'] == 0.3 and dict(saved.controllers) == {21: 'low.bass'}
    assert dict(saved.part_values) == {'low.bass': 40, 'density.drums': 0.9}


def test_a_live_band_whose_instrument_cannot_play_leaves_nothing_behind(monkeypatch):
    made = []
    monkeypatch.setattr(
        'bridge.live.live_band.Supervisor', lambda *args, **options: made.append(FakeSupervisor(*args)) or made[0]
    )
    with pytest.raises(GenaudioError, match='needs JACK'):
        LiveBand({'instrument': {'plugin': 'Synth.vst3'}, 'ports': {'backend': 'rtmidi'}})
    assert made[0].stopped
