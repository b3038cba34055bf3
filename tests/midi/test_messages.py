"""MIDI bytes: whatever arrives, whole messages come out and nothing raises."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.midi import messages
from bridge.midi.messages import Control, NoteOff, NoteOn, Parser, Sync, decode

channel_messages = st.builds(
    lambda status, a, b: bytes((status, a, b)), st.integers(0x80, 0xBF), st.integers(0, 127), st.integers(0, 127)
)


@given(st.lists(st.binary(max_size=40), max_size=30))
def test_random_bytes_never_raise_and_give_valid_messages(chunks):
    parser = Parser()
    for chunk in chunks:
        for message in parser.feed(chunk):
            assert message[0] >= 0x80 and all(byte < 0x80 for byte in message[1:])
            decode(message, 0.0)


@given(st.lists(channel_messages, min_size=1, max_size=20), st.lists(st.integers(1, 5), max_size=20))
def test_any_cut_of_the_stream_gives_the_same_messages(wanted, cuts):
    stream = b''.join(wanted)
    parser, found, at = Parser(), [], 0
    for cut in [*cuts, len(stream)]:
        found += parser.feed(stream[at : at + cut])
        at += cut
    assert found == wanted
    assert parser.bad_bytes == 0


@given(st.lists(st.tuples(st.integers(0, 127), st.integers(1, 127)), min_size=1, max_size=20))
def test_running_status(notes):
    stream = b'\x93' + b''.join(bytes(pair) for pair in notes)
    assert Parser().feed(stream) == [bytes((0x93, *pair)) for pair in notes]


@given(channel_messages, st.sampled_from([0xF8, 0xFA, 0xFB, 0xFC, 0xFE]), st.integers(0, 3))
def test_real_time_bytes_may_stand_inside_a_message(message, byte, place):
    found = Parser().feed(message[:place] + bytes((byte,)) + message[place:])
    assert message in found
    assert (bytes((byte,)) in found) == (byte != 0xFE)  # active sensing is dropped


def test_a_long_sysex_is_skipped_and_stores_nothing():
    parser = Parser()
    assert parser.feed(b'\xf0' + bytes(1 << 20)) == []
    assert parser.feed(b'\xf7\x90\x3c\x40') == [b'\x90\x3c\x40']
    assert len(parser._data) == 0


def test_half_a_message_waits_and_a_new_status_ends_it():
    parser = Parser()
    assert parser.feed(b'\x90\x3c') == []
    assert parser.feed(b'\x40') == [b'\x90\x3c\x40']
    assert parser.feed(b'\x90\x3c\x80\x3c\x00') == [b'\x80\x3c\x00']
    assert parser.bad_bytes == 1


def test_decode():
    assert decode(b'\x91\x3c\x50', 2.0) == NoteOn(2.0, 60, 80, 1)
    assert decode(b'\x91\x3c\x00', 2.0) == NoteOff(2.0, 60, 1)  # velocity 0
    assert decode(b'\xb0\x40\x7f', 0.0) == Control(0.0, 64, 127, 0)
    assert decode(messages.song_position(1000), 0.0) == Sync(0.0, messages.SONG_POSITION, 1000)
