"""The panel of a real `genaudio isolate` on a JACK server, in a real browser: what is done on it is heard, and nothing
that becomes of page, browser or panel is."""

import contextlib
import os
import re
import signal
import subprocess

import numpy as np
import pytest
from isolate_program import Isolate, children_of, until
from jack_server import available, running
from panel_stage import BROWSER, new_page
from panel_stage import browser as browser  # a fixture

pytestmark = [pytest.mark.jack, pytest.mark.skipif(not available, reason='needs jackd'),
              pytest.mark.skipif(BROWSER is None, reason='needs Chromium')]  # fmt: skip
jack = pytest.importorskip('jack')
CHANNELS = ('monitor_1', 'drums_1', 'bass_1')


class Desk:
    """Plays noise into the stems, for ever, and hears how loud they are."""

    def __init__(self):
        self.client = jack.Client('desk', no_start_server=True)
        self.out = [self.client.outports.register(f'out_{side}') for side in (1, 2)]
        self.ins = [self.client.inports.register(name) for name in CHANNELS]
        self.keys = self.client.midi_outports.register('keys')
        self.waiting, self.peaks, self.blocks = [], np.zeros((3, 0)), 0
        self.noise = np.random.default_rng(0).standard_normal(1 << 15).astype(np.float32) * 0.2
        self.client.set_process_callback(self._process)
        self.client.activate()

    def _process(self, frames):
        at = self.blocks * frames % (len(self.noise) - frames)
        for port in self.out:
            port.get_array()[:] = self.noise[at : at + frames]
        self.keys.clear_buffer()
        while self.waiting:
            self.keys.write_midi_event(0, self.waiting.pop(0))
        peaks = np.array([np.abs(port.get_array()).max() for port in self.ins])
        self.peaks = np.column_stack([self.peaks[:, -200:], peaks])
        self.blocks += 1

    def level(self, name, blocks=20):
        """The peak of the next blocks."""
        since = self.blocks
        until(lambda: self.blocks > since + blocks + 2, 20)
        return self.peaks[CHANNELS.index(name), -blocks:].max()

    def never_silent(self, seconds=1.0):
        """Whether each moment from now on, for so long, has sound."""
        since, n = self.blocks, round(seconds * 48000 / 256)
        until(lambda: self.blocks > since + n, 60)
        return self.peaks[1, -min(n, 200) :].min() > 0

    def close(self):
        with contextlib.suppress(Exception):
            self.client.deactivate()
            self.client.close()


@pytest.fixture(scope='module')
def stems(tmp_path_factory):
    with running(), pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CONFIG_HOME', str(tmp_path_factory.mktemp('config')))  # what is learned here stays here
        desk = Desk()
        with Isolate('--panel', '--effect', 'drums=Gain,gain_db=0', '--connect', 'desk:out_1=in_1',
                     '--connect', 'desk:out_2=in_2', '--connect', 'desk:keys=midi_in') as one:  # fmt: skip
            one.desk = desk
            try:
                one.plays()
                for name in CHANNELS:
                    desk.client.connect(f'genaudio-stems:{name}', f'desk:{name}')
                one.killed = False
                one.link = re.search(r'Panel: (http\S+)', ''.join(one.lines))[1]
                yield one
            finally:
                desk.close()


@pytest.fixture
def page(stems, browser):
    opened = new_page(browser, viewport={'width': 1280, 'height': 900})
    opened.goto(stems.link)
    shows(opened, '() => panel.levels.length === 5 && document.querySelectorAll("stem-strip").length === 5')
    yield opened
    assert stems.process.poll() is None, stems.lines
    assert not [line for line in stems.lines if 'The panel' in line] or stems.killed
    assert opened.faults == []
    opened.close()


def shows(page, holds):
    """Wait until something holds on a page."""
    try:
        page.wait_for_function(holds)
    except Exception as error:
        told = page.evaluate('() => JSON.stringify([panel.connected, panel.state, panel.lines])')
        raise AssertionError(f'{holds}: {told}') from error


def panel_of(one):
    """The process that listens."""
    listens = subprocess.run(['ss', '-tlnp'], capture_output=True, text=True).stdout
    return next((pid for pid in children_of(one.pid) if f'pid={pid},' in listens), 0)


def test_faders_mutes_and_the_dry_switch_are_heard(stems, page):
    desk = stems.desk
    full = desk.level('monitor_1')
    assert full > 0.01
    for name in ('drums', 'bass'):
        page.get_by_role('slider', name=f'Level of {name}').press('Home')
        shows(page, f"() => panel.values['gain.{name}'] === '-inf'")
    until(lambda: desk.level('monitor_1') < 1e-4)
    assert desk.level('drums_1') > 0.01  # an output of its own
    page.get_by_role('slider', name='Level of bass').press('End')
    until(lambda: desk.level('monitor_1') > 0.01)
    page.get_by_role('button', name='mute bass').click()
    until(lambda: desk.level('monitor_1') < 1e-4)
    page.locator('body').press('2')  # the key for the same
    until(lambda: desk.level('monitor_1') > 0.01)
    page.get_by_role('button', name='solo drums').click()
    until(lambda: desk.level('monitor_1') < 1e-4)
    page.get_by_role('button', name='solo drums').click()
    page.get_by_role('button', name='Dry').click()
    shows(page, '() => panel.values.bypass')
    until(lambda: desk.level('drums_1') == pytest.approx(np.abs(desk.noise).max(), rel=0.2))
    page.get_by_role('button', name='Dry').click()
    for name in ('drums', 'bass'):
        page.get_by_role('slider', name=f'Level of {name}').fill('0')
    until(lambda: desk.level('monitor_1') == pytest.approx(full, rel=0.5))


def test_levels_move_with_the_sound_and_pictures_are_drawn(stems, page):
    peak = 20 * np.log10(stems.desk.level('drums_1'))
    shows(page, f'() => Math.abs(panel.levels[0][0] - {peak}) < 6 && panel.levels[4][1] > -40')
    drawn = """() => [...document.querySelectorAll('.picture')].every((canvas) =>
        canvas.getContext('2d').getImageData(350, 0, 10, 48).data.some((byte, i) => i % 4 < 3 && byte > 100))"""
    page.get_by_role('slider', name='Level of rest').fill('0')  # else the rest is not in the monitor, but it is shown
    shows(page, drawn)
    meter = page.get_by_role('meter', name='Peak of drums')  # written now and then: nobody listens faster
    until(lambda: meter.get_attribute('aria-valuenow'))


def test_a_query_is_typed_and_what_it_is_near_is_shown(stems, page):
    box = page.get_by_label('Stem 2')
    box.fill('piano')
    box.press('Enter')
    shows(page, "() => panel.state.stems[1].query === 'piano' && panel.state.outputs[1] === 'piano'")
    assert page.evaluate('() => panel.state.stems[1].near[0]') == ['piano', 1]
    assert 'piano 1.00' in page.locator('#query-1-near').text_content()
    page.get_by_role('slider', name='Level of piano').press('ArrowLeft')  # under its new name
    shows(page, "() => panel.values['gain.piano'] < 0")
    box.fill('!!')
    box.press('Enter')
    shows(page, "() => panel.lines.some((line) => line.includes('!!'))")
    assert page.evaluate('() => panel.state.stems[1].query') == 'piano'
    box.fill('bass')
    box.press('Enter')
    shows(page, "() => panel.state.outputs[1] === 'bass'")


def test_an_effect_is_turned_and_a_controller_learned(stems, page):
    before = stems.desk.level('drums_1')
    page.get_by_text('Gain', exact=True).click()
    page.get_by_role('slider', name='gain db').press('Home')
    until(lambda: stems.desk.level('drums_1') < before / 20)
    page.get_by_role('slider', name='gain db').fill('0')
    until(lambda: stems.desk.level('drums_1') > before / 2)
    page.get_by_role('button', name='Learn a controller for the level of bass').click()
    shows(page, "() => panel.lines.some((line) => line.includes('will move gain.bass'))")
    stems.desk.waiting.append(bytes([0xB0, 21, 0]))
    shows(page, "() => panel.state.controllers['21'] === 'gain.bass' && panel.values['gain.bass'] === '-inf'")
    page.get_by_role('slider', name='Level of bass').fill('0')


def test_low_latency_is_switched_while_it_plays(stems, page):
    before = page.evaluate('() => panel.state.latency_ms')
    page.get_by_role('switch', name='low latency').click()
    shows(page, f'() => panel.state.latency_ms < {before} - 2 && panel.state.engine === "ready"')
    assert stems.desk.never_silent()
    wet = page.evaluate('() => panel.state.blocks')
    page.get_by_role('switch', name='low latency').click()
    shows(page, f'() => panel.state.latency_ms === {before} && panel.state.blocks >= {wet}')
    assert stems.desk.level('drums_1') > 0.01
    assert 'inference process' not in ''.join(stems.lines)


def test_what_is_for_a_band_costs_a_line(stems, page):
    for message, told in {
        '{command: "panic"}': 'is for a band', '{query: "x", stem: 99}': "There is no stem '99'",
        '{set: "gain.tuba", value: 1}': 'is not something that can be set',
    }.items():  # fmt: skip
        page.evaluate(f'() => panel.send({message})')
        shows(page, f'() => panel.lines.some((line) => line.includes("{told}"))')
    assert stems.desk.never_silent()


def test_two_hundred_clicks_and_two_pages(stems, browser, page):
    other = new_page(browser)
    other.goto(stems.link)
    other.wait_for_selector('stem-strip')
    for one in (page, other):
        one.evaluate("() => { for (let i = 0; i < 100; i += 1) document.querySelector('[data-knob=mute]').click(); }")
    # Clicks of the other page may still be on their way when the last word of this one is heard: it is said again.
    until(
        lambda: (
            page.evaluate("() => { panel.send({set: 'mute.drums', value: false}); }")
            or other.evaluate("() => panel.values['mute.drums'] === false")
        )
    )
    assert stems.desk.never_silent() and other.faults == []
    other.close()


def test_it_fits_a_phone(stems, browser):
    phone = new_page(browser, viewport={'width': 390, 'height': 844})
    phone.goto(stems.link)
    phone.wait_for_selector('stem-strip')
    assert phone.evaluate('() => document.documentElement.scrollWidth') <= 390
    box = phone.get_by_role('button', name='Dry').bounding_box()
    assert box['x'] + box['width'] <= 390 and box['y'] < 200 and box['height'] >= 44
    nameless = phone.evaluate(
        """() => [...document.querySelectorAll('button, input, select, summary')].filter(
            (e) => !(e.getAttribute('aria-label') || e.textContent.trim() || (e.labels && e.labels.length))
        ).map((e) => e.outerHTML)"""
    )
    assert nameless == []
    phone.close()


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGSTOP])
def test_a_panel_that_is_killed_or_hangs_is_not_heard_and_comes_back(stems, page, number):
    before, stems.killed = panel_of(stems), True
    os.kill(before, number)
    assert stems.desk.never_silent(2)
    until(lambda: panel_of(stems) not in (0, before))
    shows(page, '() => panel.connected')
    page.get_by_role('button', name='mute drums').click()
    shows(page, "() => panel.values['mute.drums']")
    page.get_by_role('button', name='mute drums').click()
    shows(page, "() => !panel.values['mute.drums'] && panel.levels[0][0] > -60")
    page.faults.clear()  # the browser has said that the connection was refused meanwhile


@pytest.mark.parametrize('number', [None, signal.SIGSTOP, signal.SIGKILL])
def test_a_page_that_is_closed_killed_or_hangs_is_not_heard(stems, browser, number):
    before = set(_chromium())
    root = ['--no-sandbox'] if os.geteuid() == 0 else []
    another = browser.browser_type.launch(executable_path=BROWSER, args=root, timeout=120_000)
    page = new_page(another)
    page.goto(stems.link)
    page.wait_for_selector('stem-strip')
    ours = set(_chromium()) - before
    assert ours
    tell(ours, number)
    assert stems.desk.never_silent(2)
    tell(ours, number and signal.SIGCONT)
    if number != signal.SIGKILL:
        another.close()
    assert stems.desk.never_silent() and stems.process.poll() is None


def tell(pids, number):
    for pid in pids if number else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _chromium():
    """Processes of browsers that this test's process has started."""
    listed = subprocess.run(['pgrep', '-f', 'chromium.*--headless'], capture_output=True, text=True).stdout
    return [int(pid) for pid in listed.split() if _is_ours(int(pid))]


def _is_ours(pid):
    with contextlib.suppress(OSError, IndexError, ValueError):
        while pid > 1:
            if pid == os.getpid():
                return True
            with open(f'/proc/{pid}/stat') as stat:
                pid = int(stat.read().rsplit(')', 1)[1].split()[1])
    return False
