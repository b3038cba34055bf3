"""MIDI files byte for byte: all that is in them is read, all that is read is written, damage costs what is damaged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smf_bytes import chunk, control, head, melody, meta, note, program, sysex, track, variable

from genaudio_core.errors import GenaudioError
from genaudio_core.score import smf
from genaudio_core.score.notes import Note
from genaudio_core.score.reading import midi_bytes, read_midi

data_byte = st.integers(0, 127)
payload = st.binary(max_size=200)


def channel_messages() -> st.SearchStrategy[bytes]:
    two = st.builds(lambda s, c, a, b: bytes((s | c, a, b)), st.sampled_from([0x80, 0x90, 0xA0, 0xB0, 0xE0]),
                    st.integers(0, 15), data_byte, data_byte)  # fmt: skip
    one = st.builds(lambda s, c, a: bytes((s | c, a)), st.sampled_from([0xC0, 0xD0]), st.integers(0, 15), data_byte)
    return two | one


fixed_form = (0x00, 0x20, 0x21, 0x2F, 0x51, 0x54, 0x58, 0x59)
metas = (
    st.builds(lambda kind, data: bytes((0xFF, kind)) + data,
              st.integers(0, 255).filter(lambda kind: kind not in fixed_form), payload)
    | st.builds(lambda tempo: b'\xff\x51' + tempo.to_bytes(3, 'big'), st.integers(1, 0xFFFFFF))
    | st.builds(lambda n, d: bytes((0xFF, 0x58, n, d, 24, 8)), st.integers(1, 255), st.integers(0, 6))
    | st.builds(lambda sharps, minor: bytes((0xFF, 0x59, sharps & 255, minor)), st.integers(-7, 7), st.integers(0, 1))
    | st.builds(lambda port: bytes((0xFF, 0x21, port)), data_byte)
    | st.builds(lambda channel: bytes((0xFF, 0x20, channel)), st.integers(0, 15))
    | st.builds(lambda data: b'\xff\x54' + data, st.binary(min_size=5, max_size=5))
    | st.builds(lambda data: b'\xff\x00' + data, st.sampled_from([b'', b'\0\x07']))
)  # fmt: skip
system = st.builds(lambda status, data: bytes((status,)) + data, st.sampled_from([0xF0, 0xF7]), payload)
events = channel_messages() | metas | system
waits = st.one_of(st.integers(0, 500), st.sampled_from([0, 127, 128, 16383, 16384, 2097151, 2097152, 0x0FFFFFFF]))
tracks = st.lists(st.tuples(waits, events), max_size=25)


def written(rows: list[tuple[int, bytes]], running: bool, end: int) -> bytes:
    """A track chunk of (wait, event), with running status or without."""
    content, last = b'', None
    for wait, data in rows:
        content += variable(wait)
        if data[0] == 0xFF:
            content, last = content + meta(data[1], data[2:]), None
        elif data[0] in (0xF0, 0xF7):
            content, last = content + sysex(data[1:], data[0]), None
        else:
            content += data[1:] if running and data[0] == last else data
            last = data[0]
    return chunk(b'MTrk', content + variable(end) + meta(0x2F))


@given(st.lists(tracks, max_size=4), st.booleans(), st.sampled_from([0, 1, 2]), st.integers(0, 1000),
       st.sampled_from([1, 24, 96, 480, 960, 0x7FFF, 0xE728, 0xE250]))  # fmt: skip
def test_every_event_comes_out_as_it_went_in(content, running, kind, end, division):
    kind = 1 if kind == 0 and len(content) != 1 else kind
    data = head(kind, len(content), division) + b''.join(written(rows, running, end) for rows in content)
    file = smf.parse(data)
    assert file.faults == []
    assert (file.format, file.division) == (kind, division)
    for rows, read in zip(content, file.tracks, strict=True):
        tick, expected = 0, []
        for wait, event in rows:
            tick += wait
            expected.append((tick, event))
        assert read.events == expected and read.end == tick + end
    again = smf.parse(smf.build(file))
    assert (again.tracks, again.format, again.division) == (file.tracks, kind, division)
    # And so through a score: nothing was changed in it, so nothing is changed in the file.
    assert smf.parse(midi_bytes(read_midi(data))) == file


@given(st.data())
def test_any_damage_is_one_line_or_read(data):
    content = data.draw(st.lists(tracks, min_size=1, max_size=3))
    whole = bytearray(head(1, len(content)) + b''.join(written(rows, True, 5) for rows in content))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(whole) - 1))
        kind = data.draw(st.sampled_from(['change', 'delete', 'insert', 'cut']))
        if kind == 'change':
            whole[at] = data.draw(st.integers(0, 255))
        elif kind == 'delete' and len(whole) > 1:
            del whole[at : at + data.draw(st.integers(1, 9))]
        elif kind == 'insert':
            whole[at:at] = data.draw(st.binary(max_size=9))
        elif at:
            del whole[at:]
        if not whole:
            return
    try:
        score = read_midi(bytes(whole))
    except GenaudioError as error:
        assert '\n' not in str(error)
        return
    assert all('\n' not in warning for warning in score.warnings) and len(score.warnings) <= 1
    again = read_midi(midi_bytes(score))  # and what was read can be written
    assert [track.notes for track in again.tracks] == [track.notes for track in score.tracks]


def notes_of(data: bytes) -> list[Note]:
    score = read_midi(data)
    assert score.warnings == []
    return [note for track in score.tracks for note in track.notes]


MELODY = [Note(i, 460 / 480, 60 + (0, 2, 4, 5, 7, 9, 11, 12)[i % 8], 80) for i in range(16)]


def riff(data: bytes, *others: bytes) -> bytes:
    content = b'RMID' + b''.join([b'data', len(data).to_bytes(4, 'little'), data, bytes(len(data) % 2), *others])
    return b'RIFF' + len(content).to_bytes(4, 'little') + content


@pytest.mark.parametrize(
    'data',
    [
        head(1, 2) + track() + chunk(b'XFIH', bytes(20)) + track(*melody()),
        chunk(b'MThd', bytes((0, 0, 0, 1, 1, 224, 9, 9, 9))) + track(*melody()),  # a longer header, of some day
        head(1, 1) + track() + track(*melody()),  # more than promised
        head(0, 1) + track(*melody(), ended=False),
        head(0, 1) + track(*melody()) + bytes(100),  # padded
        head(1, 2) + track(*melody())[:4] + bytes(4) + track(*melody())[8:] + track(),  # a length of 0
        head(1, 2) + track(*melody())[:4] + b'\0\1\0\0' + track(*melody())[8:] + track(),  # a length of too much
        riff(head(0, 1) + track(*melody())),
        head(1, 1) + track((0, meta(0x58, b'\3')), (0, meta(0x51, b'\7')), (0, meta(0x59, b'\2')), *melody()),
        head(1, 1) + track((0, meta(0x58, b'\2\x21\x18\x08')), (0, meta(0x58, b'\0\2\x18\x08')), *melody()),
        head(1, 1) + track((0, meta(0x51, b'\0\0\0')), (0, meta(0x20, b'\x7f')), (0, meta(0x21)), *melody()),
        head(1, 1) + track((0, meta(0x59, b'\x09\0')), (0, meta(0x54, b'')), (0, meta(0x00, b'\1')), *melody()),
    ],
)
def test_odd_files_lose_no_note(data):
    assert notes_of(data) == MELODY
    score = read_midi(data)
    assert score.tempos == [(0.0, 120.0)] and score.meters == [(0.0, 4, 4)]


def test_what_is_missing_is_told_in_one_line():
    whole = head(1, 3) + track(*melody()) + track(*melody(base=72))
    (told,) = read_midi(whole).warnings
    assert 'truncated: 1 of 3 tracks is missing' in told
    (told,) = read_midi(whole[:-60]).warnings
    assert 'truncated: track 2 breaks off at beat' in told and 'missing' in told
    damaged = head(1, 1) + track((0, bytes((0x40, 0x40))), *melody())
    assert 'damaged' in read_midi(damaged).warnings[0]


def test_what_is_wrapped_around_a_file_is_told():
    score = read_midi(riff(head(0, 1) + track(*melody()), b'LIST\4\0\0\0INFO'))
    assert score.n_notes == 16 and 'chunks around it (LIST) are left out' in score.warnings[0]


def test_a_delta_that_looks_like_a_key_signature_is_a_delta():
    breath = [control(500, 7, 100), (16845, bytes((2, 90))), (16855, bytes((11, 64)))]
    score = read_midi(head(0, 1) + track(*note(0, 480, 60), *breath))
    assert [(m.control, m.value) for _, m in score.tracks[0].others] == [(7, 100), (2, 90), (11, 64)]


def test_a_program_acts_from_where_it_stands():
    data = head(0, 1) + track(*melody(8), program(8 * 480, 40), *melody(8, start=8 * 480))
    assert {track.program: len(track.notes) for track in read_midi(data).tracks} == {0: 8, 40: 8}
    # Said in a track of its own, for a channel that plays elsewhere.
    data = head(1, 2) + track(program(0, 19), program(1920, 6)) + track(*melody(8))
    assert {track.program: len(track.notes) for track in read_midi(data).tracks} == {19: 4, 6: 4}


def test_a_port_is_sixteen_channels_of_its_own():
    flute = track((0, meta(0x21, b'\0')), (0, meta(3, b'Flute 1')), program(0, 73), *melody())
    tuba = track((0, meta(0x21, b'\1')), (0, meta(3, b'Tuba')), program(0, 58), *melody(base=36))
    second = track((0, meta(0x21, b'\0')), (0, meta(3, b'Flute 2')), *melody(base=64))
    score = read_midi(head(1, 3) + flute + tuba + second)
    assert {track.name: track.program for track in score.tracks} == {'Flute 1': 73, 'Tuba': 58, 'Flute 2': 73}


@pytest.mark.parametrize('number', [120, 123, 124, 127])
def test_all_notes_off_ends_the_notes_of_its_channel(number):
    ons = [(i * 480, bytes((0x90, 60 + i, 80))) for i in range(8)]
    ons += [control(i * 480 + 240, number, 0) for i in range(8)]
    other = note(0, 4800, 50, channel=1)
    score = read_midi(head(0, 1) + track(*ons, *other, end=64 * 480))
    assert [note.duration for note in score.tracks[0].notes] == [0.5] * 8
    assert [note.duration for note in score.tracks[1].notes] == [10.0]
    # From another track too, but not at the very tick of the note, where files set things up.
    silencer, held = track(control(0, number, 0), control(240, number, 0)), track((0, b'\x90\x3c\x50'), end=960)
    score = read_midi(head(1, 2) + silencer + held)
    assert score.tracks[0].notes == [Note(0.0, 0.5, 60, 80)]


def test_the_pedal_of_a_track_of_its_own_belongs_to_the_notes_of_its_channel():
    pedal = track(control(0, 64, 127), control(1900, 64, 0), control(0, 64, 127, channel=5))
    score = read_midi(head(1, 2) + track(*melody()) + pedal)
    assert score.tracks[0].pedals == [(0.0, 1900 / 480)]


def test_a_note_years_away_is_passed_over_and_told():
    rows = [(i * 0x0FFFFFFF, bytes((0xF7,)) + b'\0') for i in range(1, 9)]
    far = track(*note(0, 480, 60), *rows, *note(9 * 0x0FFFFFFF, 480, 62))
    score = read_midi(head(0, 1) + far)
    assert [n.note for n in score.tracks[0].notes] == [60]
    assert 'passed over' in score.warnings[0]
    assert smf.parse(midi_bytes(score)).tracks == smf.parse(head(0, 1) + far).tracks


def test_a_wait_too_long_to_write_is_broken_by_an_empty_text():
    file = smf.File(0, 480, [smf.TrackChunk([smf.Event(0x20000000, b'\x90\x3c\x50')])])
    again = smf.parse(smf.build(file))
    assert again.tracks[0].events[-1] == (0x20000000, b'\x90\x3c\x50')
    assert {event.data for event in again.tracks[0].events[:-1]} == {b'\xff\x01'}


@given(st.permutations([(480 * i, bytes((0x90, 60 + i, 80))) for i in range(4)]))
def test_events_in_any_order_are_written_in_the_order_of_their_ticks(rows):
    made = smf.File(1, 480, [smf.TrackChunk([*rows, (0, b'\xc0\x05')])])
    assert smf.parse(smf.build(made)).tracks[0].events == sorted(made.tracks[0].events, key=lambda event: event[0])


@pytest.mark.parametrize('tick', [-1, -480, smf.LAST_TICK + 1, 1 << 70])
def test_a_tick_that_cannot_be_is_one_line(tick):
    with pytest.raises(GenaudioError, match=f'tick {tick} '):
        smf.build(smf.File(1, 480, [smf.TrackChunk([(0, b'\x90\x3c\x50'), (tick, b'\x80\x3c\x40')])]))
