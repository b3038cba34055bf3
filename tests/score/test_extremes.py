"""MIDI files at the edge of what there is, after what people reported of other readers: whole, or told in a line.

Ten hours of rest, a thousand tracks, tempos no metronome has, texts in any encoding, statuses that run on where they
may not (mido, Neothesia), bytes over 127 (mido), time bases of 32767 (pretty_midi), meters of nothing (MuseScore).
"""

import pytest
import small_decoders
from smf_bytes import chunk, head, melody, meta, note, program, sysex, track

from bridge.cli import main
from genaudio_core.errors import GenaudioError
from genaudio_core.score import smf
from genaudio_core.score.reading import midi_bytes, read_midi

HOURS = 480 * 120 * 60 * 10  # ticks of ten hours
TUNE = track(*melody())


def raw(*parts: bytes) -> bytes:
    """A track of bytes as they are, with the tune behind them."""
    return head(0, 1) + chunk(b'MTrk', b''.join(parts) + TUNE[8:])


def text(encoding: str) -> bytes:
    words = 'Flügel 歌'.encode(encoding, 'replace')
    return head(1, 1) + track(
        (0, meta(3, words)), (0, meta(1, words)), (9, meta(5, words)), (9, meta(6, words)), *melody()
    )


def tempo(microseconds: int) -> bytes:
    return head(1, 1) + track((0, meta(0x51, microseconds.to_bytes(3, 'big'))), *melody())


RUNNING = b'\0\x90\x30\x50%b\x60\x32\x50\x60\x30\0\0\x32\0'  # the second note has no status of its own
RIFF = b'RIFF\0\0\0\0RMIDdata' + len(head(0, 1) + TUNE).to_bytes(4, 'little') + head(0, 1) + TUNE
WHOLE = {  # name -> (file, notes): read without a word, and written as it was
    'ten hours of rest at its end': (head(0, 1) + track(*melody(8), end=HOURS), 8),
    'ten hours of rest within': (head(0, 1) + track(*melody(8), *melody(8, start=HOURS)), 16),
    'a thousand tracks': (head(1, 1000) + b''.join(track(*note(i, 400, i % 128, i % 16)) for i in range(1000)), 1000),
    'SMPTE with dropped frames': (head(1, 1, 0x10000 - (29 << 8) + 80) + TUNE, 16),
    '3.6 BPM': (tempo(0xFFFFFF), 16),
    '60,000,000 BPM': (tempo(1), 16),
    '3,000 tempos in a bar': (
        head(1, 1) + track(*[(i // 2, meta(0x51, (50_000 + i).to_bytes(3, 'big'))) for i in range(3000)], *melody()),
        16,
    ),
    'songs of their own': (head(2, 3) + TUNE + track() + TUNE, 32),
    'a status that runs over sysex': (raw(RUNNING % (b'\0' + sysex(b'\x7e\x7f\x09\x01\xf7'))), 18),
    'a status that runs over lyrics': (raw(RUNNING % (b'\0' + meta(5, b'la'))), 18),
    'empty tracks': (head(1, 4) + track() + TUNE + chunk(b'MTrk', b'') + track(), 16),
    'no end of track': (head(1, 2) + track(*melody(), ended=False) + track(*melody(), ended=False), 32),
    'one key struck twenty times before its first end': (
        head(0, 1) + track(*[(i * 240, b'\x90\x3c\x50') for i in range(20)],
                           *[(5000 + i * 100, b'\x80\x3c\0') for i in range(20)]), 20,
    ),
    'ends of notes that never began': (head(0, 1) + track((0, b'\x80\x3c\0'), (0, b'\x80\x3d\0'), *melody()), 16),
    'programs on channel 10': (
        head(0, 1) + track(program(0, 25, 9), *melody(channel=9), program(3000, 0, 9), program(5000, 127, 9)), 16,
    ),
    'Latin-1': (text('latin-1'), 16), 'UTF-8': (text('utf-8'), 16), 'UTF-16': (text('utf-16'), 16),
    'Shift-JIS': (text('shift-jis'), 16),
    'control characters in a name': (head(1, 1) + track((0, meta(3, b'a\0b\x1b[31m\nc')), *melody()), 16),
    'five megabytes of sysex': (head(0, 1) + track((0, sysex(bytes(5_000_000) + b'\xf7')), *melody()), 16),
    'sysex in packets': (
        head(0, 1) + track((0, sysex(b'\x43\0')), (9, sysex(b'\x43', 0xF7)), (9, sysex(b'\xf7', 0xF7)), *melody()),
        16,
    ),
    'sysex of nothing, and of bytes over 127': (
        head(0, 1) + track((0, sysex(b'')), (0, sysex(b'\xf7')), (0, sysex(b'\xff\x80\xf7')), *melody()), 16,
    ),
    '500 meters at one place': (
        head(1, 1) + track(*[(0, meta(0x58, bytes((1 + i % 7, i % 5, 24, 8)))) for i in range(500)], *melody()), 16,
    ),
    'a wait with zeros in front': (raw(b'\x80\x80\0\x90\x30\x50', b'\x80\x60\x30\0'), 17),
    'a time base of 32767': (head(0, 1, 32767) + TUNE, 16), 'a time base of 1': (head(0, 1, 1) + TUNE, 16),
    'tempo and meter in the second track': (
        head(1, 2) + TUNE + track((0, meta(0x51, b'\x0f\x42\x40')), (960, meta(0x58, b'\3\2\x18\x08'))), 16,
    ),
    'system messages in a file': (raw(b'\0\xf8\0\xfe\0\xf1\x20\0\xf2\1\2\0\xf6'), 16),
    '2,000 notes at once': (head(0, 1) + track(*[e for i in range(2000) for e in note(0, 9, i % 128, i % 16)]), 2000),
    'notes of no length': (head(0, 1) + track(*[e for i in range(20) for e in note(i * 480, 0, 60 + i % 5)]), 20),
    'wrapped in RIFF': (RIFF, 16),
}  # fmt: skip
TOLD = {  # name -> (file, notes, what is said)
    'tempo 0': (tempo(0), 16, 'a meta event that means nothing is left out'),
    'keys of 127 sharps': (
        head(1, 1) + track((0, meta(0x59, b'\x7f\x09')), (0, meta(0x59, b'')), *melody()), 16, '2 meta events'),
    'meters of nothing': (
        head(1, 1) + track((0, meta(0x58, b'\0\2\x18\x08')), (0, meta(0x58, b'\xff\7\x18\x08')),
                           (480, meta(0x58, b'\1\6\x18\x08')), *melody()), 16, '2 meta events'),
    'a controller of 255': (raw(b'\0\xb0\x07\xff'), 16, '1 event with bytes over 127 is read with 127'),
    'rubbish between tracks': (head(1, 2) + TUNE + b'\xff\x2f\0\0junk' + TUNE, 32, '8 bytes are not part of it'),
    'notes behind the end of a track': (
        head(0, 1) + chunk(b'MTrk', TUNE[8:] + TUNE[8:]), 16, 'after the end of track 1 are left out'),
    'a wait of five bytes': (
        head(0, 1) + chunk(b'MTrk', TUNE[8:-4] + b'\x8f\xff\xff\xff\0\x90\x3c\x50'), 16, 'longer than a wait can be'),
    'words around it': (
        RIFF[:12] + b'LIST\x04\0\0\0INFO' + RIFF[12:], 16, 'chunks around it (LIST) are left out'),
}  # fmt: skip
REFUSED = {
    'a time base of zero': head(0, 1, 0) + TUNE, 'type 7': head(7, 1) + TUNE, 'a header alone': head(1, 1),
    'a header of four bytes': b'MThd\0\0\0\4\0\1\0\1' + TUNE, 'a byte order mark': b'\xef\xbb\xbf' + head(0, 1) + TUNE,
}  # fmt: skip


@pytest.mark.parametrize('kind', WHOLE)
def test_what_is_extreme_and_right_is_read_and_written_as_it_is(kind):
    data, n_notes = WHOLE[kind]
    score = read_midi(data)
    assert (score.n_notes, score.warnings, score.remarks) == (n_notes, [], [])
    assert smf.parse(midi_bytes(score)) == smf.parse(data)


@pytest.mark.parametrize('kind', TOLD)
def test_what_is_wrong_costs_what_is_wrong_and_a_line(kind):
    data, n_notes, said = TOLD[kind]
    score = read_midi(data)
    assert score.n_notes == n_notes
    (told,) = *score.warnings, *score.remarks
    assert said in told
    again = read_midi(midi_bytes(score))
    assert (again.n_notes, again.warnings, again.remarks) == (n_notes, [], [])


@pytest.mark.parametrize('kind', REFUSED)
def test_what_is_no_file_is_one_line(kind):
    with pytest.raises(GenaudioError) as caught:
        read_midi(REFUSED[kind])
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('command', ['continue', 'arrange'])
@pytest.mark.parametrize('kind', [
    'ten hours of rest within', 'a thousand tracks', '60,000,000 BPM', 'songs of their own', 'UTF-16',
    'SMPTE with dropped frames', 'control characters in a name', '2,000 notes at once',
])  # fmt: skip
def test_extremes_pass_through_the_program(tmp_path, capsys, kind, command):
    data, _ = WHOLE[kind]
    (tmp_path / 'in.mid').write_bytes(data)
    words = {'continue': ['--beats', '1', '--model', str(small_decoders.file('live'))],
             'arrange': ['--instruments', 'violin,cello']}[command]  # fmt: skip
    assert main([command, str(tmp_path / 'in.mid'), '-o', str(tmp_path / 'out.mid'), *words]) == 0
    assert 'Traceback' not in capsys.readouterr().err
    made, given = smf.parse((tmp_path / 'out.mid').read_bytes()), smf.parse(data)
    assert made.faults == [] and (made.format, made.division) == (given.format, given.division)
    for before, after in zip(given.tracks, made.tracks, strict=False):
        rest = iter(after.events)
        is_kept = [event for event in before.events if command == 'continue' or event.data[0] == smf.META]
        assert all(event in rest for event in is_kept)
