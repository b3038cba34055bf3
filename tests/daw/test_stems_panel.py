"""The panel of stems in a DAW: what each was understood as, what it sounds like, and words typed on the page."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from engines import engine_that_hangs
from host_blocks import memory
from panel_stage import BROWSER, new_page
from panel_stage import browser as browser  # a fixture
from test_band_panel import Looked, links
from test_band_panel import engine as engine  # a fixture

from bridge.daw.meeting_place import Meeting, PluginSound
from bridge.daw.stems_session import StemsPage, StemsSession, load_network
from bridge.panel.meters import FLOOR, Meters
from bridge.system.waiting import wait_until

WORDS = ['own words', 'drums', 'bass', 'vocals', 'guitar']


def test_meters_hear_each_stem_what_is_left_and_the_input():
    descriptor = memory(channels=(2, 8))
    meeting = Meeting(os.dup(descriptor))
    meters = Meters(PluginSound(f'/proc/{os.getpid()}/fd/{descriptor}', 48000))
    heard = np.random.default_rng(0).standard_normal((2, 8192)).astype(np.float32) * 0.1
    stems = np.zeros((4, 2, 8192), np.float32)
    stems[0], stems[1], stems[3] = 0.5 * heard, 0.25 * heard, 0.125 * heard
    for part in np.split(np.arange(8192), 4):
        meeting.inbox.write(heard[:, part])
        meeting.outbox.write(stems.reshape(8, -1)[:, part])
        levels, columns = meters.read()
    os.close(descriptor)
    peak, loud = np.array(levels).T
    assert len(levels) == 6 and columns
    assert loud[2] < FLOOR and loud[:2] - loud[5] == pytest.approx([-6.02, -12.04], abs=0.15)
    assert loud[3:5] - loud[5] == pytest.approx([-18.06, -18.06], abs=0.15) and peak[5] > peak[0] > peak[1]
    with pytest.raises(OSError):  # the plug-in is gone
        Meters(PluginSound(f'/proc/{os.getpid()}/fd/{descriptor}', 48000))


@pytest.fixture(scope='module')
def network():
    return load_network()[1]


@pytest.fixture
def page(network):
    session = StemsSession(Meeting(memory(channels=(2, 8), ahead=2048)), network, WORDS)
    one = SimpleNamespace(session=session, shown=Looked(), sent=[])
    one.page = StemsPage(session, one.shown, one.sent.append)
    return one


def state(one):
    one.page.look()
    return [value for kind, value in one.shown.told if kind == 'state'][-1]


def said(one, **message):
    one.shown.messages.append(message)
    one.page.look()
    return [value for kind, value in one.shown.told if kind == 'line']


def test_it_shows_what_each_stem_is_and_what_was_missed(page):
    found = state(page)
    assert found['outputs'] == [*WORDS[1:], 'rest'] and found['latency_ms'] == 42.7
    assert found['stems'][0]['near'][0] == ('drums', 1.0) and not found['stems'][0]['all_but']
    page.session.meeting.words[Meeting.MISSED], page.session.meeting.words[Meeting.SKIPPED] = 3, 7
    assert state(page)['figures'] == {'underruns': 3, 'left_out': 7}


def test_words_go_to_the_plugin_and_are_heard_where_it_has_own_words(page):
    lines = said(page, query='  violin  bass ', stem=2)
    assert page.sent == [{'set_texts': 1, 'text2': 'violin bass'}]
    assert "'bass' in your DAW" in lines[-1] and "'own words'" in lines[-1]
    asked = page.session.asked
    asked.hear_texts({'texts': 1, 'text2': 'drums but not bass'})
    asked._wanted[1] = (0, 1)
    assert asked.is_known()
    told = state(page)['stems'][1]
    assert told['query'] == 'drums but not bass' and len(said(page, query='x', stem=2)) == 1
    asked.hear_texts({'texts': 2, 'text2': ''})
    asked._wanted[1] = (0, 2)
    assert asked.is_known() and state(page)['stems'][1]['near'] == []


@pytest.mark.parametrize(('message', 'why'), [
    ({'set': 'gain.drums', 'value': -3}, 'turn them there'), ({'command': 'panic'}, 'turn them there'),
    ({'query': 'drums', 'stem': 5}, 'no stem 5'), ({'query': 'drums', 'stem': 0}, 'no stem 0'),
])  # fmt: skip
def test_what_it_cannot_do_costs_a_line(page, message, why):
    assert why in said(page, **message)[-1] and page.sent == []


def test_stems_in_a_clap_host_are_seen_in_a_browser(engine, clap_host, bundles, music, request):
    host = clap_host()
    before = len(links(engine))
    assert host('create', bundles / 'genaudio-stems.clap') == 'genaudio.stems 6'
    assert host('activate', 48000, 512) == 'ok'
    host.wait_for_engine(150)
    assert wait_until(lambda: len(links(engine)) > before, 120), engine.read_text()
    if BROWSER is None:
        pytest.skip('needs Chromium')
    page = new_page(request.getfixturevalue('browser'))
    page.goto(links(engine)[-1])
    page.wait_for_function("() => document.querySelectorAll('stem-strip').length === 6")
    assert (
        page.locator('#query-0').input_value() == 'drums'
        and 'drums 1.00' in page.locator('#query-0-near').text_content()
    )
    assert page.get_by_role('slider').count() == 0 and page.get_by_role('button', name='Dry').count() == 0
    assert page.get_by_text('turn them in your DAW').count() == 1
    host.feed(music(48000, 1.0))
    peak = 20 * np.log10(np.abs(music(48000, 1.0)).max())

    def seen():
        host('rewind')
        host('run', 24000, 512, 1)
        page.wait_for_timeout(50)
        return (
            page.evaluate('() => panel.levels.length === 6 && Math.max(...panel.levels.map((one) => one[0]))')
            > peak - 6
        )

    assert wait_until(seen, 120)
    number = host.parameters()['Stem 2 query']
    host('set', number, 0)
    host('run', 4800, 512, 1)
    box = page.get_by_label('Stem 2')
    box.fill('violin')
    box.press('Enter')
    near = "() => panel.state.stems[1].query === 'violin' && panel.state.stems[1].near[0][0] === 'violin'"
    assert wait_until(lambda: [host('run', 4800, 512, 1), page.wait_for_timeout(20)] and page.evaluate(near), 120)
    with engine_that_hangs(2):
        host('run', 9600, 512, 1)
    missed = host.missed
    assert missed > 5
    page.wait_for_function(f'() => panel.state.figures.underruns === {missed}')
    assert page.faults == []
    page.close()
