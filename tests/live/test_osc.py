"""OSC: whatever arrives, in order, at no more than a line now and then; nothing that arrives ends the thread."""

import contextlib
import socket
import struct

import pytest

pytest.importorskip('pythonosc')
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pythonosc.udp_client import SimpleUDPClient

from bridge.live.osc import OscServer, in_bundle, translate
from bridge.settings.control_messages import from_line
from bridge.system.notices import Sparing
from bridge.system.waiting import wait_until
from genaudio_core.errors import GenaudioError


@pytest.fixture
def osc():
    got, said = [], []
    server = OscServer(0, lambda **message: got.append(message), said.append)
    client = SimpleUDPClient('127.0.0.1', server.port)
    yield server, client, got, said
    with contextlib.suppress(OSError):
        client._sock.close()
    server.close()


def raw(port: int, data: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(data, ('127.0.0.1', port))


def test_quick_messages_keep_their_order(osc):
    _, client, got, said = osc
    for number in range(200):
        client.send_message('/genaudio/set/density', number / 200 + 0.001)
        if number % 50 == 49:  # the kernel's queue is finite
            assert wait_until(lambda: len(got) == number + 1)  # noqa: B023
    assert [message['value'] for message in got] == pytest.approx([n / 200 + 0.001 for n in range(200)])
    assert not said


GARBAGE = [
    b'', b'\0', b'/', b'hello', b'\xff' * 1000, b'#bundle', b'#bundle\0' + b'\xff' * 8,
    b'/genaudio/set/density\0\0\0,f\0\0\x3f',  # cut
    b'/genaudio/learn\0,s\0\0\xff\xfe\xfd\0',  # not UTF-8
    b'#bundle\0' + b'\0' * 8 + struct.pack('>i', -4) + b'abcd',
    b'#bundle\0' + b'\0' * 8 + struct.pack('>i', 2**31 - 1) + b'abcd',
]  # fmt: skip


def test_garbage_is_dropped_and_told_sparingly(osc):
    server, client, got, said = osc
    for data in GARBAGE * 20:
        raw(server.port, data)
    # The garbage may have filled the socket, and UDP drops what does not fit.
    assert wait_until(lambda: client.send_message('/genaudio/command/panic', []) or bool(got))
    assert got and all(one == {'command': 'panic'} for one in got)
    assert 0 < len(said) <= 8
    assert server.garbage > 20


def test_a_bundle_of_next_century_does_not_stop_what_follows(osc):
    server, client, got, _ = osc
    message = b'/genaudio/command/tap\0\0\0,\0\0\0'
    raw(server.port, b'#bundle\0' + struct.pack('>II', 0xFFFFFFF0, 0) + struct.pack('>i', len(message)) + message)
    client.send_message('/genaudio/command/panic', [])
    assert wait_until(lambda: len(got) == 2)
    assert got == [{'command': 'tap'}, {'command': 'panic'}]


def test_a_typed_line_means_the_same_as_osc():
    for line, address, values in (
        ('set density 0.3', '/genaudio/set/density', [0.3]), ('panic', '/genaudio/command/panic', []),
        ('save my duet', '/genaudio/save', ['my duet']), ('take 2', '/genaudio/take', [2]),
        ('learn density', '/genaudio/learn', ['density']), ('pad 36 a b.wav', '/genaudio/pad', [36, 'a b.wav']),
        ('command hush', '/genaudio/command/hush', []), ('again bass', '/genaudio/again', ['bass']),
        ('again bass 12', '/genaudio/again', ['bass', 12]),
    ):  # fmt: skip
        wanted, found = translate(address, values), from_line(line)
        assert {name: str(value) for name, value in found.items()} == {name: str(v) for name, v in wanted.items()}
    for line in ('take', 'take x', 'again', 'again bass x', 'set density', 'sav x', 'x y', 'save a\x1b[2J'):
        with pytest.raises(GenaudioError) as caught:
            from_line(line)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize('address', ['/genaudio/set/[', '/genaudio/*', '/genaudio/{a,b', '/\x1b[2J'])
def test_addresses_are_no_patterns(osc, address):
    _, client, got, said = osc
    client.send_message(address, [])
    client.send_message('/genaudio/command/panic', [])
    assert wait_until(lambda: bool(got))
    assert got == [{'command': 'panic'}] and len(said) == 1
    assert said[0].isprintable()


def test_what_cannot_be_handed_on_is_told(capsys):
    said = []

    def broken(**message):
        raise RuntimeError('no')

    server = OscServer(0, broken, said.append)
    client = SimpleUDPClient('127.0.0.1', server.port)
    client.send_message('/genaudio/command/panic', [])
    assert wait_until(lambda: bool(said))
    client._sock.close()
    server.close()
    assert 'Traceback' not in capsys.readouterr().err


@pytest.mark.parametrize(
    ('address', 'values'),
    [
        ('/genaudio/set/\x1b[2J', [1]), ('/genaudio/command/\x1b[2J', []), ('/genaudio/learn', ['\x07\x1b[2J']),
        ('/genaudio/set/key', ['\x1b]0;title\x07']), ('/genaudio/set/' + 'x' * 60_000, [1]),
        ('/genaudio/set/key', ['x' * 60_000]), ('/genaudio/pad', [36, 'a.wav\nquit']),
        ('/genaudio/pad', [True, 'a.wav']), ('/genaudio/set/temperature', [b'x' * 60_000]),
        ('/genaudio/set/temperature', [[1.0, [2.0]]]),
    ],
)  # fmt: skip
def test_names_and_texts_that_a_terminal_or_a_process_would_obey_are_refused_in_a_short_line(address, values):
    with pytest.raises(GenaudioError) as refused:
        translate(address, values)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 300


def test_names_in_any_script_pass():
    assert translate('/genaudio/pad', [36, 'жёлтый/鼓 ü.wav']) == {'pad': 36, 'file': 'жёлтый/鼓 ü.wav'}


def test_a_thousand_bundles_in_bundles_and_the_longest_datagrams_cost_a_line(osc):
    server, client, got, said = osc
    nested = b'/genaudio/command/tap\0\0\0,\0\0\0'
    for _ in range(1000):
        nested = b'#bundle\0' + b'\0' * 8 + struct.pack('>i', len(nested)) + nested
    for data in (nested, b'/' + b'\xff' * 65_000, b'#bundle\0' + b'\0' * 65_000, b'/genaudio/set/' + b'x' * 65_000):
        raw(server.port, data)
    # The garbage may have filled the socket, and UDP drops what does not fit.
    assert wait_until(lambda: client.send_message('/genaudio/command/panic', []) or bool(got))
    assert got and all(one == {'command': 'panic'} for one in got)
    assert 0 < len(said) <= 8 and all(len(line) < 300 and line.isprintable() for line in said)


@pytest.mark.parametrize('depth', [1, 9, 10, 500])
def test_a_few_bundles_in_bundles_are_laid_out_more_are_refused(depth):
    message = data = b'/genaudio/command/tap\0\0\0,\0\0\0'
    for _ in range(depth):
        data = b'#bundle\0' + b'\0' * 8 + struct.pack('>i', len(data)) + data
    if depth <= 9:
        assert in_bundle(data) == [message]
    else:
        with pytest.raises(ValueError, match='bundles in bundles'):
            in_bundle(data)


def test_a_port_that_is_taken_is_told_in_one_line(osc):
    with pytest.raises(GenaudioError, match='cannot be used'):
        OscServer(osc[0].port, lambda **message: None, print)


@given(st.lists(st.binary(max_size=60), max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_no_datagram_ends_the_listener(datagrams):
    got = []
    server = OscServer(0, lambda **message: got.append(message), lambda line: None)
    try:
        for data in datagrams:
            raw(server.port, data)
        raw(server.port, b'/genaudio/command/panic\0,\0\0\0')
        assert wait_until(lambda: {'command': 'panic'} in got)
    finally:
        server.close()


# --- sparing lines


def test_a_flood_of_one_kind_costs_few_lines_and_a_count():
    now, said = [0.0], []
    sparing = Sparing(said.append, times=3, seconds=5.0, clock=lambda: now[0])
    for number in range(1000):
        sparing(f"unknown setting 'x{number}'. Did you mean 'tempo{number}'?")
    sparing('Another thing.')
    assert len(said) == 4 and said[-1] == 'Another thing.'
    now[0] = 6.0
    sparing.look()
    assert len(said) == 5 and 'and 996 more like this' in said[-1]
    sparing('Another thing.')
    assert said[-1] == 'Another thing.'


@given(st.lists(st.text(max_size=8)), st.lists(st.text('abcdef', max_size=4), min_size=50, max_size=80, unique=True))
def test_never_more_than_the_limit_whatever_is_said(anything, of_different_kinds):
    said = []
    sparing = Sparing(said.append, most=20, clock=lambda: 0.0)
    for line in anything + of_different_kinds:
        sparing(line)
    assert len(said) <= 20
    before = len(said)
    sparing.flush()
    assert len(said) - before <= 21
