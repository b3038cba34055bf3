"""What a person sees on the page: figures, colours, buttons that show how things stand. Told by the page's own store,
in a real browser; `test_panel_page.py` has what is done on it."""

import json

import pytest
from panel_stage import BROWSER
from panel_stage import browser as browser  # a fixture
from test_panel_page import page as page  # a fixture
from test_panel_page import said, shows

pytestmark = pytest.mark.skipif(BROWSER is None, reason='needs Chromium')
# Pixels of a colour of the style sheet on a canvas, exactly as it is there.
AREA = """(canvas, name) => {
    const probe = document.createElement('canvas').getContext('2d');
    probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    probe.fillRect(0, 0, 1, 1);
    const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let n = 0;
    for (let i = 0; i < data.length; i += 4) n += data[i] === r && data[i + 1] === g && data[i + 2] === b;
    return n;
}"""


def text(page, selector: str) -> str:
    return page.evaluate(f'() => document.querySelector({json.dumps(selector)}).textContent')


def tell(page, what: str, **state) -> None:
    """Have the store say that something is new."""
    page.evaluate(f'(state) => {{ Object.assign(panel.state, state); panel.tell({what!r}); }}', state)


def test_the_header_says_where_and_how_fast_we_are_and_what_chord_it_is(band, page):
    place = """() => { const beat = panel.beat(); return document.querySelector('.place').textContent
        === `${Math.floor(beat / 4 + 1e-6) + 1}.${Math.floor(beat % 4 + 1e-6) + 1}`; }"""
    page.wait_for_function(place)
    before = page.evaluate('() => panel.beat()')
    page.wait_for_function(f'() => panel.beat() > {before}')
    assert text(page, '.tempo') == '120 BPM' and text(page, '.leader') == band.session.transport.leader.name
    assert text(page, '.doing') == f'accompany: {band.session.mode.state}'
    page.evaluate("""() => panel.take({type: 'news', scene: {age: 0, beat: 9, bar: 4, tempo: 92.5, rolling: false,
        held: [], planned: [], chords: [[8, 'Dm', 'heard'], [12, 'G7', 'loop']]}})""")
    assert text(page, 'chord-now strong') == 'Dm' and text(page, 'chord-now .next') == '→ G7'
    assert text(page, 'chord-now .why') == 'your loop'
    page.wait_for_function("() => document.querySelector('.tempo').textContent === '92.5 BPM'")
    tell(page, 'state', rolling=False)
    assert text(page, '.leader').startswith('stopped')


def test_what_is_played_is_solid_what_is_planned_an_outline_and_now_is_a_line(page):
    def area(colour, **notes):
        drawn = {'heard': [], 'played': [], 'held': [], 'planned': [], **notes}
        page.evaluate("""({heard, played, held, planned}) => {
            Object.assign(panel, {heard, played});
            panel._follow({age: 0, beat: 8, bar: 4, tempo: 120, rolling: false, held, planned, chords: []});
            document.querySelector('piano-roll').draw();
        }""", drawn)  # fmt: skip
        return page.locator('piano-roll canvas').evaluate(AREA, f'--{colour}')

    note = [6, 2, 64, 80, 0, 0]
    assert area('heard') == area('part-0') == 0 and area('now') > 0
    solid = area('part-0', played=[note])
    assert solid > 400 and area('heard', heard=[note]) == area('heard', held=[note]) == solid
    assert 0 < area('part-0', planned=[note]) < solid / 2
    drums = [6, 0.2, 36, 100, 1, 0]
    assert area('part-1', played=[drums]) > 50 and area('heard', heard=[drums]) > 50
    alone = area('part-0', played=[note])
    assert 0 < area('part-0', played=[[*note[:5], 1]]) < alone  # by rule
    page.evaluate("() => { panel.scene.chords = [[8, 'Am', 'heard']]; document.querySelector('piano-roll').draw(); }")
    assert page.locator('piano-roll canvas').evaluate(AREA, '--heard') > 0


def test_what_an_answer_leans_on_has_rings(band, page):
    page.get_by_role('button', name='Leans on').click()
    assert said(band, page, {'set': 'engine.leaning', 'value': True})
    assert band.session.preset['engine.leaning']
    band.session.set('engine.leaning', False)

    def ringed(on, *leans):
        page.evaluate("""([on, leans]) => {
            panel.state.values['engine.leaning'] = on;
            Object.assign(panel, {heard: [], played: [], state: {...panel.state, leans}});
            panel._follow({age: 0, beat: 8, bar: 4, tempo: 120, rolling: false, held: [], planned: [], chords: []});
            panel.tell('state');
            document.querySelector('piano-roll').draw();
            document.querySelector('piano-roll').describe();
        }""", [on, leans])  # fmt: skip
        return page.locator('piano-roll canvas').evaluate(AREA, '--text')

    note, drum, little = [6, 64, False, 0.7], [7, 36, True, 0.25], [5, 60, False, 0.05]
    none, one = ringed(True), ringed(True, note)
    assert ringed(False, note) == none < one < ringed(True, note, drum) == ringed(True, note, drum, little)
    assert 'leans most on E4 in bar 2' in page.locator('piano-roll canvas').get_attribute('aria-label')
    assert page.get_by_role('button', name='Leans on').get_attribute('aria-pressed') == 'true'


def test_a_missed_deadline_is_red(page):
    strip = page.locator('deadline-strip canvas')
    page.evaluate('() => { panel.margins = [[0, 1], [4, 0.5]]; }')
    tell(page, 'margins', missed=0, units=2, late=0, ready_ms=250.2, handover_ms=4.25, engine='ready')
    assert strip.evaluate(AREA, '--danger') == 0 and strip.evaluate(AREA, '--good') > 0
    assert text(page, 'deadline-strip p') == 'ready 250 ms ahead · missed 0 of 2 · answer after 4.3 ms'
    page.evaluate('() => panel.margins.push([8, null])')
    tell(page, 'margins', missed=1, units=3, late=2, engine='starting')
    assert strip.evaluate(AREA, '--danger') > 0
    assert 'missed 1 of 3' in text(page, 'deadline-strip p') and '2 notes late' in text(page, 'deadline-strip p')
    assert 'the model is starting' in text(page, 'deadline-strip p')


def test_a_knob_is_not_pulled_out_of_the_hand_and_shows_what_moves_it(band, page):
    knob, button = page.locator('#knob-music-density'), page.locator('[data-name="music.density"] .learn')
    band.messages.clear()
    page.evaluate("""() => {
        const knob = document.querySelector('#knob-music-density');
        for (let i = 1; i <= 30; i += 1) {
            knob.value = String(i / 100);
            knob.dispatchEvent(new Event('input'));
        }
        panel.state.values['music.density'] = 0.9;
        panel.tell('state');
        window.after = knob.value;
    }""")
    assert page.evaluate('() => window.after') == '0.3'
    page.wait_for_function("() => document.querySelector('#knob-music-density').value === '0.9'")
    assert said(band, page, {'set': 'music.density', 'value': 0.3})
    assert [one['value'] for one in band.messages] == [0.01, 0.3]  # the first and the newest, not each
    assert knob.get_attribute('aria-valuetext') == '0.9'
    tell(page, 'state', learning='music.density')
    assert button.text_content() == 'Move it …' and 'waits' in button.get_attribute('class')
    tell(page, 'state', learning=None, controllers={'21': 'music.density'})
    assert button.text_content() == 'CC 21' and 'now 21' in button.get_attribute('aria-label')
    page.get_by_role('switch', name='yields').click()
    assert said(band, page, {'set': 'player.yields', 'value': False})
    page.get_by_label('groove', exact=True).select_option('swing')
    assert said(band, page, {'set': 'music.groove', 'value': 'swing'})
    for name in ('density', 'yields', 'groove'):
        full = {'density': 'music.density', 'yields': 'player.yields', 'groove': 'music.groove'}[name]
        band.session.set(full, {'density': 0.5, 'yields': True, 'groove': 'auto'}[name])


def test_buttons_do_what_they_say_and_show_how_it_stands(band, page):
    page.get_by_role('button', name='solo bass').click()
    assert said(band, page, {'set': 'solo.bass', 'value': True})
    band.draw()
    shows(
        band, page, "() => document.querySelector('[aria-label=\"solo bass\"]').getAttribute('aria-pressed') === 'true'"
    )
    page.get_by_role('button', name='solo bass').click()
    assert said(band, page, {'set': 'solo.bass', 'value': False})
    page.get_by_role('button', name='Follow me').click()
    assert said(band, page, {'set': 'music.chords', 'value': ''})
    hush = page.get_by_role('button', name='Hush')
    before = band.messages.count({'command': 'hush'})
    hush.focus()
    hush.press('Space')  # the button, and no answer
    assert band.until(lambda: band.messages.count({'command': 'hush'}) > before, rest=lambda: page.wait_for_timeout(20))
    assert {'command': 'play'} not in band.messages
    page.get_by_text('The last fifty answers').click()
    page.evaluate("""() => {
        const take = (answer, number, n) => ({answer, number, of: 2, chosen: 1, start: 4 * answer, end: 4 * answer + 4,
            bar: 4, parts: ['bass'], notes: Array.from({length: n}, (_, i) => [4 * answer + i, 0.2, 40, 80, 0, 0])});
        for (let answer = 1000; answer < 1060; answer += 1)
            panel.take({type: 'news', takes: [take(answer, 0, 3), take(answer, 1, 5)]});
        panel.take({type: 'news', played: Array.from({length: 2000}, (_, i) => [i, 1, 60, 80, 0, 0])});
    }""")
    assert page.evaluate('() => [panel.answers.size, panel.played.length]') == [50, 1500]
    rows = page.locator('answer-list li')
    assert rows.count() == 50 and rows.first.text_content() == 'bar 1060, 5 notesMIDI'  # the newest, as it was chosen
    pressed = page.locator('take-list button').evaluate_all(
        "(all) => all.map((one) => one.getAttribute('aria-pressed'))"
    )
    assert pressed == ['false', 'true']


def test_what_is_said_is_seen_from_anywhere_and_a_lost_line_is_told(band, page):
    band.panel.say('Something <b>new</b>')
    shows(
        band, page, "() => document.querySelector('person-lines li:last-child')?.textContent === 'Something <b>new</b>'"
    )
    newest = page.locator('.newest')
    page.evaluate('() => scrollTo(0, 0)')
    assert newest.text_content() == 'Something <b>new</b>'
    page.wait_for_function("() => document.querySelector('.newest').hidden")
    page.evaluate("""() => {
        panel.answers.set(99999, new Map());
        panel.connect = () => {};
        panel.socket.close();
    }""")
    trouble = page.get_by_role('alert')
    shows(band, page, "() => !document.querySelector('#trouble').hidden")
    assert 'No connection' in trouble.text_content()
    page.evaluate('() => { delete panel.connect; panel.connect(); }')
    shows(band, page, "() => panel.connected && document.querySelector('#trouble').hidden && !panel.answers.has(99999)")
    assert not newest.is_visible()  # what was said before we came is no news
    page.evaluate('() => panel.socket.close()')  # and by itself
    shows(band, page, '() => !panel.connected')
    shows(band, page, '() => panel.connected')
