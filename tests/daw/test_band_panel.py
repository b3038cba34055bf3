"""The panel of a band in a DAW: it shows what the plug-in plays, and what is turned there is the host's to keep."""

import json
import os
import re
import signal
import subprocess
import sys
from collections import deque
from typing import Any
from urllib.parse import unquote

import pytest
from engines import ROOT, an_engine
from host_blocks import HostBlocks
from panel_stage import BROWSER, new_page
from panel_stage import browser as browser  # a fixture
from test_band_plugin import BEAT, play_phrase, turn
from test_band_plugin import band as band  # a fixture
from test_band_session import phrase

from bridge.commands.assistant.sessions import Joined
from bridge.daw import band_state
from bridge.daw.band_state import BandState
from bridge.system.waiting import wait_until


class Looked:
    """A `Shown` with somebody who looks."""

    def __init__(self):
        self.messages, self.told = deque(), []

    def is_due(self):
        return True

    def tell(self, kind, value):
        self.told.append((kind, value))
        return True


class LookedAt(HostBlocks):
    def __post_init__(self):
        super().__post_init__()
        self.shown: Any = Looked()


@pytest.fixture
def one():
    host = LookedAt()
    host.play()
    host.run(512)
    host.band.show(host.shown)
    host.run(9 * BEAT - 512, 512, [(max(at - 512, 0), data) for at, data in phrase()])
    yield host
    host.close()


def say(host, **message):
    host.shown.messages.append(message)
    host.band.show(host.shown)
    host.run(512)


def test_what_is_heard_and_played_is_shown(one):
    say(one, command='tap')
    state, scene = dict(one.shown.told)['state'], dict(one.shown.told)['scene']
    assert state['rolling'] and state['played'] == one.band.session.scheduler.played > 0
    assert scene['beat'] == pytest.approx(9.0, abs=0.1) and scene['heard'] and scene['played']


def test_what_is_turned_stays_until_the_host_turns_it(one):
    say(one, set='density', value=0.9)
    say(one, set='music.chords', value='C | F')
    say(one, set='low.piano', value=50)
    preset = one.band.session.preset
    assert (preset['music.density'], preset['music.chords']) == (0.9, 'C | F')
    again = BandState({'presets': ['own text', 'duet'], 'values': [0, 1, 0, 1], 'session': one.state.as_text()}, print)
    assert again.preset((4, 4))['music.density'] == 0.9 and again.chords == 'C | F'
    one.set(band_state.DENSITY, 0.0)  # said once more, and not moved
    one.run(512)
    assert one.band.session.preset['music.density'] == 0.9
    one.set(band_state.DENSITY, 0.25)
    one.run(512)
    assert one.band.session.preset['music.density'] == pytest.approx(0.75)
    assert one.band.session.preset.part_values == {'low.piano': 50}
    one.set(band_state.PRESET, 6.0)
    one.run(512)
    assert one.state.turned == {} and one.band.session.preset.part_values == {}


@pytest.mark.parametrize(('message', 'why'), [
    ({'set': 'densty', 'value': 1}, 'density'), ({'set': 'density', 'value': 9}, 'density'),
    ({'preset': 'duet'}, 'In a DAW'), ({'learn': 'density'}, 'In a DAW'), ({'take': 7}, 'no take 7'),
    ({'again': 'tuba'}, "no part 'tuba'"), ({'set': 'leader', 'value': 'jack'}, 'leader'),
])  # fmt: skip
def test_what_is_wrong_costs_a_line(one, message, why):
    say(one, **message)
    assert why in one.lines[-1] and one.band.faults == 0
    assert one.state.turned == {}


def test_a_mute_and_the_end_of_all_notes(one):
    say(one, set='mute.piano', value=True)
    assert one.band.session.switches.values['mute.piano']
    say(one, command='panic')
    assert not one.down


# --- in a host


@pytest.fixture(scope='module')
def engine(tmp_path_factory):
    """One that was started with its panel."""
    log = tmp_path_factory.mktemp('engine') / 'log'
    with an_engine() as folder, log.open('w') as lines:
        command = [sys.executable, '-m', 'bridge.cli', 'serve', '--panel', '--idle', '600']
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
        served = subprocess.Popen(command, stderr=lines, env={**os.environ, 'PYTHONPATH': path})
        assert wait_until(lambda: (folder / 'serve.json').exists(), 120), log.read_text()
        yield log
        served.send_signal(signal.SIGTERM)
        served.wait(60)


def links(log):
    return re.findall(r'Panel: (http\S+)', log.read_text())


def test_two_bands_in_a_clap_host_have_a_panel_each(engine, band, request):
    first = band(offline=False)
    second = band('free', offline=False)
    assert wait_until(lambda: len(links(engine)) == 2, 120), engine.read_text()
    pages = [Joined(link) for link in links(engine)]
    try:
        play_phrase(first)
        turn(first, 12 * BEAT, '512', 1.0)
        assert wait_until(lambda: pages[0].state().get('played', 0) > 0, 120), pages[0].state()
        assert wait_until(lambda: all(len(page.state().get('instances', ())) == 2 for page in pages), 120)
        assert [page.state()['mode'] for page in pages] == ['respond', 'free']
        assert (
            {page.state()['instance'] for page in pages} == set(pages[0].state()['instances']) == {'band 1', 'band 2'}
        )
        pages[0].send({'set': 'temperature', 'value': 0.5})
        assert wait_until(lambda: pages[0].state()['values']['music.temperature'] == 0.5, 60)
        assert pages[1].state()['values']['music.temperature'] != 0.5
        assert first('save', first.folder / 'saved') == 'ok'
        saved = (first.folder / 'saved').read_bytes().decode('latin-1').split('\0')
        assert json.loads(unquote(saved[saved.index('session') + 1]))['turned'] == {'music.temperature': 0.5}
        if BROWSER is not None:
            page = new_page(request.getfixturevalue('browser'))
            page.goto(links(engine)[0])
            page.get_by_label('Plug-in').select_option('band 2')
            page.wait_for_url(links(engine)[1])
            page.wait_for_function("() => panel.state.instance === 'band 2' && panel.state.mode === 'free'")
            assert page.faults == []
            page.close()
        second.close()
        assert wait_until(lambda: list(pages[0].state()['instances']) == ['band 1'], 60)
        assert wait_until(lambda: bool(pages[1].over), 60)
        assert not pages[0].over
    finally:
        for page in pages:
            page.close()
