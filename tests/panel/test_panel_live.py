"""The panel of a real ``genaudio live`` on a JACK server, in a real browser: it shows, plays and disturbs nothing."""

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from jack_server import Desk, available, server
from live_daemon import Daemon
from panel_stage import BROWSER, new_page
from panel_stage import browser as browser  # a fixture

from bridge.settings.band_preset import load_preset
from bridge.system.waiting import wait_until

pytestmark = [pytest.mark.jack, pytest.mark.skipif(not available, reason='needs jackd'),
              pytest.mark.skipif(BROWSER is None, reason='needs Chromium')]  # fmt: skip


@pytest.fixture(scope='module')
def daemon(tmp_path_factory):
    with server(256), Desk('desk', ('in',), ('out',)) as desk:
        home = tmp_path_factory.mktemp('home')
        running = Daemon(tmp_path_factory.mktemp('live'), desk, '--panel', XDG_CONFIG_HOME=str(home))
        running.own = home / 'genaudio' / 'presets'
        try:
            running.play()
            yield running
        finally:
            running.close()


@pytest.fixture
def page(daemon, browser):
    opened = new_page(browser, viewport={'width': 1000, 'height': 700})
    opened.goto(link_of(daemon))
    opened.wait_for_selector('knob-board setting-knob')
    opened.evaluate(
        "() => { window.cuts = 0; panel.addEventListener('connection', () => { window.cuts += !panel.connected; }); }"
    )
    yield opened
    opened.close()


def link_of(daemon) -> str:
    assert daemon.said('Panel: http')
    return re.search(r'Panel: (http\S+)', daemon.log.read_text())[1]


def played(desk) -> int:
    return sum(message[0] & 0xF0 == 0x90 and message[2] > 0 for _, _, message in list(desk.heard))


def goes_on(daemon) -> bool:
    before = played(daemon.desk)
    return wait_until(lambda: played(daemon.desk) > before + 3, 30)


def panel_of(daemon) -> int:
    """The process that listens, and that the daemon itself has started."""
    listens = subprocess.run(['ss', '-tlnp'], capture_output=True, text=True).stdout
    for pid in daemon.children():
        with contextlib.suppress(FileNotFoundError):
            parent = int(Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[1])
            if parent == daemon.process.pid and f'pid={pid},' in listens:
                return pid
    return 0


def until(daemon, page, act, holds):
    """Do something on the page, and wait until it has come true. A page that loses its line, as it may on a busy
    machine, loses what is done meanwhile: only then it is done again."""
    for _ in range(20):
        cuts = page.evaluate('() => window.cuts')
        act()
        try:
            page.wait_for_function(f'() => {holds} || (window.cuts > {cuts} && panel.connected)')
        except Exception as error:
            raise AssertionError(daemon.log.read_text()) from error
        if page.evaluate(f'() => {holds}'):
            return
    raise AssertionError('no line for long enough')


def density_is(daemon, page, key, value):
    slider, other = page.get_by_role('slider', name='density'), {'Home': 'End', 'End': 'Home'}[key]
    # One after the other: a starved page draws an older value between two quick keys, and the second changes nothing.
    for one, wanted in ((other, 1 - value), (key, value)):
        until(daemon, page, lambda one=one: slider.press(one), f"panel.values['music.density'] === {wanted}")


def test_a_performer_sees_and_plays_the_band(daemon, page):
    page.wait_for_function('() => panel.played.length > 8 && panel.heard.length > 0 && panel.scene.rolling')
    on_page = {note[2] for note in page.evaluate('() => panel.played')}
    assert on_page <= {message[1] for _, _, message in list(daemon.desk.heard) if message[0] & 0xF0 == 0x90}
    density_is(daemon, page, 'End', 1)
    page.get_by_role('button', name='Learn a controller for temperature').click()
    page.wait_for_function("() => panel.lines.some((line) => line.includes('Move a controller'))")
    daemon.desk.send('out', [(daemon.desk.frame() + 2000, bytes([0xB0, 30, 127]))])
    page.wait_for_function("() => panel.state.controllers['30'] === 'music.temperature'")
    page.get_by_role('button', name='Stop').click()
    page.wait_for_function('() => !panel.scene.rolling')
    assert daemon.quiet()
    page.get_by_role('button', name='Start').click()
    assert wait_until(lambda: len(daemon.sounding()) > 0, 30)
    page.get_by_role('button', name='Panic').click()
    assert wait_until(lambda: not daemon.sounding(), 30)
    page.locator('#preset').select_option('duet')
    until(daemon, page, page.get_by_role('button', name='Play it').click, "panel.state.preset === 'duet'")
    mode = page.get_by_label('mode', exact=True)
    until(daemon, page, lambda: mode.select_option('free'), "panel.state.mode === 'free'")
    assert page.faults == []


def test_what_plays_is_saved_and_played_again(daemon, page):
    density_is(daemon, page, 'Home', 0)
    page.get_by_label('Save as it stands now').fill('quiet night')
    until(daemon, page, page.get_by_role('button', name='Save', exact=True).click, "panel.state.presets['quiet night']")
    density_is(daemon, page, 'End', 1)
    page.locator('#preset').select_option('quiet night')
    played = "panel.state.preset === 'quiet night' && panel.values['music.density'] === 0"
    until(daemon, page, page.get_by_role('button', name='Play it').click, played)
    voices = load_preset(daemon.own / 'quiet night.toml').voices
    assert [voice.instrument for voice in voices] == page.evaluate('() => panel.parts')
    for name, why in (('Quiet Night', 'already'), ('../elsewhere', 'cannot be called'), ('duet', 'already')):
        daemon.type(f'save {name}')
        assert daemon.said(why)
    daemon.type('save of a line')
    assert wait_until(lambda: {path.stem for path in daemon.own.iterdir()} == {'quiet night', 'of a line'}, 30)
    assert page.faults == []


def test_a_browser_that_goes_and_a_panel_that_is_killed_or_hangs_disturb_nothing(daemon, browser):
    link = link_of(daemon)
    if not daemon.sounding():
        daemon.play()
    pages = [new_page(browser) for _ in range(2)]
    for page in pages:
        page.goto(link)
        page.wait_for_selector('knob-board setting-knob')
    assert goes_on(daemon)
    for page in pages:
        page.close()
    assert goes_on(daemon)  # without a browser
    for number in (signal.SIGKILL, signal.SIGSTOP):
        before = panel_of(daemon)
        assert before
        os.kill(before, number)
        assert goes_on(daemon)
        assert wait_until(lambda gone=before: gone not in daemon.children(), 60)
        assert wait_until(lambda gone=before: panel_of(daemon) not in (0, gone), 60)
        assert goes_on(daemon)
    log = daemon.log.read_text()
    assert 'Fault' not in log and 'MIDI process' not in log
