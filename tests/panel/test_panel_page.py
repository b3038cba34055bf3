"""The page in a real browser: what it shows is what the session has, and what is done on it is a message."""

import os
import signal

import pytest
from panel_stage import BROWSER, new_page
from panel_stage import browser as browser  # a fixture

pytestmark = pytest.mark.skipif(BROWSER is None, reason='needs Chromium')
PHONE = {'width': 390, 'height': 844}


@pytest.fixture
def page(band, browser):
    band.messages.clear()
    opened = new_page(browser, viewport={'width': 1280, 'height': 800})
    opened.goto(band.panel.link)
    opened.wait_for_selector('knob-board setting-knob')
    shows(band, opened, '() => panel.heard.length > 0 && panel.played.length > 0')
    yield opened
    assert opened.faults == []
    opened.close()


def shows(band, page, holds: str) -> None:
    assert band.until(lambda: page.evaluate(holds), rest=lambda: page.wait_for_timeout(20)), page.evaluate(
        '() => JSON.stringify([panel.state, panel.scene]).slice(0, 3000)'
    )


def said(band, page, message: dict) -> bool:
    return band.until(lambda: message in band.messages, rest=lambda: page.wait_for_timeout(20))


def test_the_roll_has_the_notes_that_were_heard_and_played(band, page):
    heard = {(round(note.beat, 2), note.note) for note in band.session.heard if not note.held}
    played = {(output_note, part) for output_note, part in ((m[3], m[2]) for m in band.stage.notes())}
    channels = [voice.channel for voice in band.session.voices]
    on_page = page.evaluate('() => ({heard: panel.heard, played: panel.played, chords: panel.scene.chords})')
    assert {(round(note[0], 2), note[2]) for note in on_page['heard']} == heard
    assert {(note[2], channels[note[4]]) for note in on_page['played']} == played
    assert len(on_page['played']) == band.session.scheduler.played
    assert {'C', 'Am', 'F', 'G'} & {name for _, name, source in on_page['chords'] if source == 'heard'}


def test_what_is_planned_is_drawn_and_told(band, page):
    band.play(1)
    shows(band, page, '() => panel.scene.planned.length > 0')
    page.evaluate("() => document.querySelector('piano-roll').describe()")
    assert 'planned' in page.get_by_role('img').first.get_attribute('aria-label')
    assert page.evaluate("() => document.querySelector('piano-roll').frames") > 0


def test_a_knob_turned_by_keyboard_changes_the_parameter(band, page):
    knob = page.get_by_role('slider', name='density')
    knob.focus()
    before = band.session.preset['music.density']
    knob.press('ArrowRight')
    assert band.until(lambda: band.session.preset['music.density'] == pytest.approx(before + 0.01),
                      rest=lambda: page.wait_for_timeout(20))  # fmt: skip
    band.session.set('density', 0.25)
    band.draw()
    shows(band, page, "() => document.querySelector('#knob-music-density').value === '0.25'")


def test_every_live_parameter_has_a_control_with_a_name(band, page):
    from bridge.settings.parameters import PARAMETERS

    wanted = {name for name, one in PARAMETERS.items() if one.live} - {'music.chords'}
    assert (
        set(page.evaluate("() => [...document.querySelectorAll('knob-board setting-knob')].map((k) => k.dataset.name)"))
        == wanted
    )
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, summary')].filter(
            (e) => !(e.getAttribute('aria-label') || e.textContent.trim() || (e.labels && e.labels.length))
        ).map((e) => e.outerHTML)"""
    )
    assert nameless == []


def test_buttons_and_keys_are_commands(band, page):
    page.get_by_role('button', name='Hush').click()
    assert said(band, page, {'command': 'hush'})
    page.locator('body').press('t')
    assert said(band, page, {'command': 'tap'})
    page.get_by_label('Chord chart').press('p')  # typed into a field it is a letter
    page.get_by_role('button', name='Panic').click()
    assert said(band, page, {'command': 'panic'})
    assert band.messages.count({'command': 'panic'}) == 1
    assert band.session.scheduler.planned() == []


def test_a_chart_is_typed_and_a_controller_learned(band, page):
    page.get_by_label('Chord chart').fill('C | Am D7 | G')
    page.get_by_role('button', name='Play over these').click()
    assert said(band, page, {'set': 'music.chords', 'value': 'C | Am D7 | G'})
    assert band.session.preset['music.chords'] == 'C | Am D7 | G'
    page.get_by_role('button', name='Learn a controller for temperature').click()
    assert said(band, page, {'learn': 'music.temperature'})
    band.session.set('music.chords', '')


def test_presets_are_looked_at_and_what_plays_is_saved_as_one(band, page):
    band.presets = {
        **band.presets,
        'mine': {'title': 'My own', 'text': 'for rain', 'own': True, 'mode': 'free', 'parts': ['piano']},
    }
    band.draw()
    shows(band, page, "() => document.querySelector('#preset optgroup[label=Yours] option')?.textContent === 'My own'")
    page.locator('#preset').select_option('mine')
    assert page.locator('#preset-is').text_content() == 'for rain (free: piano)'
    page.get_by_label('Save as it stands now').fill('wet night')
    page.get_by_role('button', name='Save', exact=True).click()
    assert said(band, page, {'save': 'wet night'})


def test_a_take_is_chosen(band, page):
    band.play(2)
    for _ in range(3):  # each scene has one of the takes
        band.draw()
    answer = band.session.takes.current.request.id
    shows(band, page, f'() => [...panel.takes.values()].filter((take) => take.answer === {answer}).length === 2')
    page.get_by_role('button', name='Take 2,').click()
    assert said(band, page, {'take': 2})
    band.draw()
    shows(band, page, '() => [...panel.takes.values()].some((take) => take.chosen === 1)')


def test_a_part_is_muted_and_a_take_is_taken_along(band, page):
    page.get_by_role('button', name='mute bass').click()
    assert said(band, page, {'set': 'mute.bass', 'value': True})
    band.draw()
    shows(band, page, "() => panel.state.switches['mute.bass']")
    assert page.get_by_role('button', name='mute bass').get_attribute('aria-pressed') == 'true'
    page.get_by_role('button', name='mute bass').click()
    assert said(band, page, {'set': 'mute.bass', 'value': False})
    page.get_by_text('The last fifty answers').click()
    page.wait_for_function(
        "() => panel.answers.size > 1 && document.querySelectorAll('answer-list li').length === panel.answers.size"
    )
    link = page.locator('answer-list .midi').first
    answer = page.evaluate('() => [...panel.answers.keys()].at(-1)')
    link.focus()
    assert f'answer={answer}&' in link.get_attribute('href')
    told = page.evaluate(
        """() => {
            const carried = new DataTransfer();
            const link = document.querySelector('take-list .midi');
            link.dispatchEvent(new DragEvent('dragstart', {dataTransfer: carried}));
            return carried.getData('DownloadURL');
        }"""
    )
    assert told.startswith(f'audio/midi:genaudio-{answer}-take1.mid:http://')
    with page.expect_download() as file:
        link.click()
    assert file.value.suggested_filename.endswith('.mid')


def test_a_part_has_its_own_density_and_range(band, page):
    page.locator('.part').filter(has_text='bass').locator('summary').click()
    page.get_by_role('slider', name='low of bass').press('ArrowRight')
    low = page.evaluate("() => panel.state.part_knobs['low.bass'].default") + 1
    assert said(band, page, {'set': 'low.bass', 'value': low})
    page.get_by_role('slider', name='density of bass').press('End')
    assert said(band, page, {'set': 'density.bass', 'value': 1})
    band.draw()
    shows(band, page, f"() => panel.state.part_values['low.bass'] === {low} && panel.valueOf('density.bass') === 1")
    name = f'{("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")[low % 12]}{low // 12 - 1}'
    shown = "() => document.querySelector('#knob-low-bass').getAttribute('aria-valuetext')"
    shows(band, page, f"{shown} === '{name}'")
    page.locator('.part').filter(has_text='drums').locator('summary').click()
    assert page.locator('.part').filter(has_text='drums').locator('setting-knob').count() == 1
    for name in ('low.bass', 'density.bass'):
        band.session.set(name, page.evaluate(f"() => panel.state.part_knobs['{name}'].default"))
    assert band.session.preset.part_values == {}


def test_a_part_and_a_bar_are_composed_again(band, page):
    band.play(1)
    shows(band, page, "() => document.querySelectorAll('#again-bar option').length > 1")
    bar = page.locator('#again-bar option').last.get_attribute('value')
    page.locator('#again-bar').select_option(bar)
    page.get_by_role('button', name='compose bass again').click()
    assert said(band, page, {'again': 'bass', 'bar': int(bar)})
    assert f'bass, bar {bar}' in band.stage.said[-1]
    page.locator('#again-bar').select_option('')
    page.get_by_role('button', name='compose all again').click()
    assert said(band, page, {'again': 'all'})
    page.locator('body').press('r')
    assert said(band, page, {'command': 'again'})


def test_two_pages_and_two_hundred_clicks(band, page, browser):
    other = new_page(browser)
    other.goto(band.panel.link)
    other.wait_for_selector('knob-board setting-knob')
    for one in (page, other):
        one.evaluate("() => { for (let i = 0; i < 100; i += 1) document.querySelector('[data-command=tap]').click(); }")
    assert band.until(lambda: band.messages.count({'command': 'tap'}) == 200, rest=lambda: page.wait_for_timeout(20))
    assert other.faults == []
    other.close()


@pytest.mark.parametrize('scheme', ['dark', 'light'])
def test_it_fits_a_phone(band, browser, scheme):
    phone = new_page(browser, viewport=PHONE, color_scheme=scheme)
    phone.goto(band.panel.link)
    phone.wait_for_selector('knob-board setting-knob')
    assert phone.evaluate('() => document.documentElement.scrollWidth') <= PHONE['width']
    box = phone.get_by_role('button', name='Panic').bounding_box()
    assert box['x'] >= 0 and box['x'] + box['width'] <= PHONE['width'] and box['y'] < 200 and box['height'] >= 44
    assert phone.faults == []
    phone.close()


def test_a_panel_that_is_killed_comes_back_and_the_page_goes_on(band, page):
    before = band.panel.pid
    os.kill(before, signal.SIGKILL)
    assert band.until(lambda: band.panel.pid != before, rest=lambda: page.wait_for_timeout(20))
    assert any('starts again' in line for line in band.lines)
    shows(band, page, '() => panel.connected')
    page.get_by_role('button', name='Keep').click()
    assert said(band, page, {'command': 'keep'})
    page.faults.clear()  # the browser has said that the connection was refused meanwhile
