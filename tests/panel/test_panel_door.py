"""Who may come in at the panel, and what comes of what is sent there."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import urllib.parse
import urllib.request
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from bridge.panel import server
from bridge.panel.board import Board
from bridge.panel.notes import packed, unpacked
from bridge.panel.panel import Panel, PanelAddress
from bridge.settings.control_messages import checked
from bridge.system.waiting import wait_until
from genaudio_core.errors import GenaudioError
from genaudio_core.score.reading import read_midi

SCHEMA = json.loads((server.PAGE.parent / 'socket.schema.json').read_text())


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({'$ref': f'#/$defs/{name}', '$defs': SCHEMA['$defs']})


@pytest.fixture
def place(band):
    band.messages.clear()
    band.lines.clear()
    return urllib.parse.urlsplit(band.panel.link)


def get(place, path: str, **headers: str) -> http.client.HTTPResponse:
    with contextlib.closing(http.client.HTTPConnection(place.hostname, place.port, timeout=60)) as connection:
        connection.putrequest('GET', path, skip_host='Host' in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        answer.read()
        return answer


def socket(place, **options):
    return connect(f'ws://{place.netloc}/socket?{place.query}', open_timeout=60, **options)


def test_the_page_has_its_token_and_loads_nothing_from_elsewhere(place):
    answer = get(place, f'/?{place.query}')
    assert answer.status == 200
    policy = answer.headers['Content-Security-Policy']
    assert "default-src 'none'" in policy and 'unsafe' not in policy and 'http' not in policy.replace("'self'", '')
    for path in server.PAGE.iterdir():
        text = path.read_text()
        assert not re.search(r'innerHTML|eval\(|https?://(?!www\.w3\.org/2000/svg)', text), path


@pytest.mark.parametrize(
    'path', ['/', '/?token=', '/?token=x', '/?token=%ff', '/nothing.js', '/..%2fserver.py', '/panel.py']
)
def test_without_the_token_or_a_name_of_a_page_there_is_nothing(place, path):
    assert get(place, path).status in (403, 404)


@pytest.mark.parametrize(
    'host', ['evil.example', 'evil.example:{port}', '127.0.0.1', '127.0.0.1:1', '10.0.0.1:{port}', '']
)
def test_a_name_that_leads_here_is_not_us(place, host):
    host = host.format(port=place.port)
    assert get(place, f'/?{place.query}', Host=host).status in (400, 403)
    assert get(place, '/panel.js', Host=host).status in (400, 403)


@pytest.mark.parametrize('name', ['localhost', '127.0.0.1', '[::1]', '127.0.0.2'])
def test_this_machine_has_several_names(place, name):
    assert get(place, f'/?{place.query}', Host=f'{name}:{place.port}').status == 200


def test_a_foreign_page_opens_no_socket(place):
    for origin in ('http://evil.example', 'null', f'http://127.0.0.1:{place.port + 1}', f'https://{place.netloc}'):
        with pytest.raises(InvalidStatus), socket(place, origin=origin):
            pass
    with pytest.raises(InvalidStatus), connect(f'ws://{place.netloc}/socket?token=x', open_timeout=60):
        pass
    with socket(place, origin=f'http://{place.netloc}') as ours:
        assert json.loads(ours.recv(60))['type'] == 'hello'


def test_what_comes_and_goes_is_as_the_schema_says(band, place):
    with socket(place) as ours:
        hello = json.loads(ours.recv(60))
        validator('from_genaudio').validate(hello)
        assert hello['kind'] == 'band' and hello['state'] and hello['heard'] and hello['played'] and hello['margins']
        assert hello['takes'] and hello['facts']['parameters']['music.density']['high'] == 1
        band.play(1)
        told = {}
        while not {'state', 'scene', 'played'} <= set(told):
            news = json.loads(ours.recv(60))
            validator('from_genaudio').validate(news)
            told |= news
        for message in ({'command': 'hush'}, {'set': 'density', 'value': 0.5}, {'learn': 'density'}, {'take': 1}):
            validator('to_genaudio').validate(message)
            ours.send(json.dumps(message))
        assert band.until(lambda: len(band.messages) == 4)


@pytest.mark.parametrize('text', [
    'x', '[]', '1', 'null', '{"command": 1}', '{"set": "density"}', '{"set": "density", "value": [1]}',
    '{"comand": "panic"}',
    '{"set": "density", "value": NaN}', '{"set": "density", "value": 1e999}', '{"command": "a\\nb"}', '{"take": 1.5}',
    '{"command": "panic", "learn": "x"}', '{"command": "no such"}', '{"set": "no such", "value": 1}', '[' * 4000,
    '{"set": "density", "value": ' + '9' * 3000 + '}', '{"command": "' + 'x' * 2000 + '"}',
])  # fmt: skip
def test_a_wrong_message_costs_a_line(band, place, text):
    band.stage.said.clear()
    with socket(place) as ours:
        ours.recv(60)
        ours.send(text)
        assert band.until(lambda: band.lines or band.stage.said)
        band.lines.clear()
        ours.send('{"command": "hush"}')
        assert band.until(lambda: {'command': 'hush'} in band.messages)


def test_a_message_that_is_too_long_ends_its_socket_and_no_other(band, place):
    with socket(place) as other, socket(place) as ours:
        ours.recv(60)
        other.recv(60)
        ours.send('x' * (server.MAX_MESSAGE + 1))
        with pytest.raises(ConnectionClosed):
            while True:
                ours.recv(60)
        other.send('{"command": "hush"}')
        assert band.until(lambda: {'command': 'hush'} in band.messages)


def test_a_flood_has_to_wait(band, place):
    """More than the rate is not taken from the page; what another says comes through."""
    with socket(place) as flood, socket(place) as calm:
        for _ in range(600):
            flood.send('{"command": "tap"}')
        calm.send('{"command": "hush"}')
        assert band.until(lambda: {'command': 'hush'} in band.messages)
        assert band.messages.count({'command': 'tap'}) < 600


GAPS = st.lists(st.tuples(st.sampled_from([0, 0, 0, 0.05, 0.3, 3.0]), st.integers(0, 2)), max_size=60)


@given(GAPS)
def test_a_page_says_no_more_than_its_rate_and_nothing_it_says_is_lost(says):
    """Messages so many seconds after each other, and a parent that takes some of them only when asked again."""
    rate, burst, clock, told, refused = 4.0, 5.0, SimpleNamespace(now=0.0), [], []
    left, asked = [*enumerate(says)], {}

    class Page:
        async def receive_text(self):
            if not left:
                raise EOFError
            number, (gap, times) = left.pop(0)
            clock.now += gap
            refused[:] = [None] * times
            return json.dumps({'take': number})

    def tell(kind, value):
        asked.setdefault(value['take'], clock.now)
        if refused:
            return bool(refused.pop())
        told.append(value['take'])
        return True

    async def sleep(seconds):
        clock.now += seconds

    with pytest.MonkeyPatch.context() as patch, pytest.raises(EOFError):
        loop = SimpleNamespace(time=lambda: clock.now)
        patch.setattr(server, 'asyncio', SimpleNamespace(get_running_loop=lambda: loop, sleep=sleep))
        patch.setattr(server, 'RATE', rate)
        patch.setattr(server, 'BURST', burst)
        asyncio.run(server._hear(Page(), tell))
    assert told == list(range(len(says)))
    for i, first in asked.items():
        for n, last in enumerate(list(asked.values())[i:], 1):
            assert n <= burst + rate * (last - first) + 1e-6
    waited = sum(times for _, times in says) * server.FULL + sum(gap for gap, _ in says)
    assert len(says) > burst or clock.now == pytest.approx(waited)  # who says little need not wait


def test_no_more_pages_than_there_is_room_for(band, place):
    with contextlib.ExitStack() as opened:
        found = 0

        def one_more() -> bool:  # pages of other tests may still be about to go
            nonlocal found
            with contextlib.suppress(InvalidStatus):
                opened.enter_context(socket(place)).recv(60)
                found += 1
            return found == server.MAX_PAGES

        assert wait_until(one_more, 60)
        with pytest.raises(InvalidStatus), socket(place):
            pass


def test_a_take_is_a_midi_file_for_who_has_the_token(band, place):
    with socket(place) as ours:
        hello = json.loads(ours.recv(60))
    take = hello['takes'][-1]
    path = f'/take.mid?answer={take["answer"]}&take={take["number"]}'
    address = f'http://{place.netloc}{path}&{place.query}'
    with urllib.request.urlopen(address, timeout=60) as answer:
        assert answer.headers['Content-Type'] == 'audio/midi' and 'attachment' in answer.headers['Content-Disposition']
        score = read_midi(answer.read())
    found = sorted((note.note, note.velocity) for track in score.tracks for note in track.notes)
    assert found == sorted((note[2], note[3]) for note in take['notes'])
    assert score.tempos[0].tempo == pytest.approx(120) and [track.is_drum for track in score.tracks].count(True) == 1
    first = min(note[0] for note in take['notes']) - take['start'] // 4 * 4
    assert min(note.beat for track in score.tracks for note in track.notes) == pytest.approx(max(first, 0), abs=0.01)
    for wrong in (path, f'{path}&token=x', f'/take.mid?{place.query}', f'/take.mid?answer=-1&take=x&{place.query}',
                  f'/take.mid?answer=99999999&take=0&{place.query}'):  # fmt: skip
        assert get(place, wrong).status in (403, 404)
    assert get(place, f'{path}&{place.query}', Host=f'evil.example:{place.port}').status == 403


def test_takes_of_the_last_fifty_answers_are_remembered_and_no_more():
    board = Board('band', {})
    page = board.open()
    page.news()
    for answer in range(200):
        for number in (0, 1):
            take = {'answer': answer, 'number': number, 'of': 2, 'chosen': 0, 'start': 0.0, 'end': 4.0,
                    'notes': packed([(0.0, 1.0, 60, 90, 0, 0)])}  # fmt: skip
            board.scene({'at': 0.0, 'beat': 0.0, 'tempo': 120.0, 'bar': 4.0, 'heard': b'', 'held': b'', 'played': b'',
                         'planned': b'', 'chords': [], 'margins': [], 'take': take})  # fmt: skip
    assert {take['answer'] for take in board.open().news()['takes']} == set(range(150, 200))
    assert len(page.news()['takes']) == 100
    assert board.take(0, 0) is None and board.take(199, 1)['tempo'] == 120


def test_a_panel_that_hangs_is_ended_and_nobody_waits_for_it(band):
    before = band.panel.pid
    os.kill(before, signal.SIGSTOP)
    for _ in range(5000):
        band.panel.say('x' * 500)  # returns at once, whether it is taken or not
    assert band.until(lambda: band.panel.pid != before)


def test_an_address_that_cannot_be_used_is_one_line(band, place):
    for address in (PanelAddress('127.0.0.1', place.port), PanelAddress('192.0.2.1', 0), PanelAddress('no address', 0)):
        with pytest.raises(GenaudioError, match='cannot listen'):
            Panel(address, 'band', {}, print, print)


def test_a_page_that_does_not_read_costs_little():
    board = Board('band', {})
    page = board.open()
    note = packed([(1.0, 1.0, 60, 90, 0, 0)] * 40)
    for beat in range(1000):
        board.scene(
            {'at': 0.0, 'beat': beat, 'heard': note, 'held': b'', 'played': note, 'planned': note, 'chords': [],
             'margins': [(1.0, None)]}
        )  # fmt: skip
        board.line('a line')
    page.news()
    news = page.news()
    assert len(news['played']) <= 1200 and len(news['lines']) <= 50 and news['scene']['beat'] == 999
    assert set(page.news()) == {'type'}


NOTES = st.tuples(
    st.floats(-10, 1e4, width=32), st.floats(0, 64, width=32), *[st.integers(0, 127)] * 2, st.integers(0, 255),
    st.integers(0, 3),
)  # fmt: skip


@given(st.lists(NOTES, max_size=20))
def test_notes_come_out_as_they_went_in(notes):
    found = unpacked(packed(notes))
    assert [one[2:] for one in found] == [one[2:] for one in notes]
    for one, other in zip(found, notes, strict=True):
        assert one[:2] == pytest.approx(other[:2], abs=2e-3)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(['set', 'value', 'command', 'take', 'again', 'bar', 'x']), inner)
    ),
)


@given(JSON)
def test_whatever_comes_is_right_by_the_schema_or_one_line(message):
    try:
        taken = checked(message)
    except GenaudioError as error:
        assert '\n' not in str(error) and len(str(error)) < 500
    else:
        assert taken == message
        if message.get('value') != float('-inf'):
            validator('to_genaudio').validate(message)


def test_page_and_server_stay_small():
    files = [path for path in server.PAGE.parent.rglob('*') if path.suffix in ('.py', '.js', '.css', '.html', '.json')]
    assert len(files) > 12 and sum(len(path.read_text().splitlines()) for path in files) < 2500
