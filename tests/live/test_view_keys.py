"""Keys of the terminal view: what is longer than one character is taken as a whole, wherever the reads cut it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.live.terminal_view import KEYS, Keys

SEQUENCES = {
    'up': b'\x1b[A', 'ctrl right': b'\x1b[1;5C', 'F1': b'\x1bOP', 'F5': b'\x1b[15~', 'F1 on the console': b'\x1b[[A',
    'page down': b'\x1b[6~', 'alt x': b'\x1bx', 'alt up': b'\x1b\x1b[A', 'mouse': b'\x1b[<0;12;5M',
    'title': b'\x1b]0;p\x07', 'device': b'\x1bP1+r\x1b\\', 'umlaut': 'ü'.encode(), 'emoji': '🎹'.encode(),
    'pasted': b'\x1b[200~panic \x1b[A 123\x1b[201~',
}  # fmt: skip


@pytest.mark.parametrize('data', SEQUENCES.values(), ids=SEQUENCES)
def test_a_sequence_is_no_keys(data):
    keys = Keys()
    assert keys.feed(data) == []
    assert keys.feed(b'p') == ['p']


@pytest.mark.parametrize('data', SEQUENCES.values(), ids=SEQUENCES)
def test_a_sequence_that_is_read_in_pieces_is_no_keys(data):
    keys = Keys()
    for byte in data:
        assert not set(keys.feed(bytes([byte]))) & set(KEYS)
    assert keys.feed(b'p') == ['p']


@given(st.lists(st.sampled_from([b'p', b'+', b'1', *SEQUENCES.values()]), max_size=6), st.data())
def test_keys_between_sequences_are_all_there(parts, data):
    whole = b''.join(parts)
    wanted = [part.decode() for part in parts if part in (b'p', b'+', b'1')]
    cut = data.draw(st.integers(0, len(whole)))
    keys = Keys()
    found = keys.feed(whole[:cut])
    if cut < len(whole):
        found += keys.feed(whole[cut:])
    assert found == wanted


def test_escape_alone_means_nothing_and_holds_nothing_up():
    keys = Keys()
    assert keys.feed(b'\x1b') == [] and keys.feed(b'') == []
    assert keys.feed(b'p') == ['p']


def test_a_sequence_that_never_ends_is_given_up():
    keys = Keys()
    keys.feed(b'\x1b]never')
    for _ in range(30):
        keys.feed(b'')
    assert keys.feed(b'p') == ['p']


def test_text_pasted_into_a_terminal_that_does_not_say_so_presses_nothing():
    assert Keys().feed(b'the quick brown fox; kill all notes 123') == []
    assert Keys().feed(b'+++++++++++++++') == ['+'] * 15  # a key held down while the machine was busy


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_whatever_comes_in(chunks):
    keys = Keys()
    for chunk in chunks:
        assert all(len(key) == 1 and key.isascii() for key in keys.feed(chunk))
    for _ in range(30):
        keys.feed(b'')
    assert keys.feed(b'p') == ['p']
