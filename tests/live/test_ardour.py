"""In a real DAW: JACK's dummy driver, an Ardour session and the daemon, wired through virtual ports.

One command runs it: ``bash tests/run.sh tests/live/test_ardour.py``; over a minute. Ardour's transport rolls and sends
MIDI clock; a phrase of its MIDI track reaches the daemon, the answer is recorded into another track; then the tempo is
turned while it rolls, and a loop jumps back. What Ardour 7.3 needs to survive headless: ../shared/reference.
"""

import bisect
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mido
import pytest
from jack_server import RATE, Desk, available, one_request_at_a_time, server

HERE = Path(__file__).parents[1]
PERIOD = 512
TOLERANCE = 0.010  # seconds
LOOP = '<Location id="90001" name="Loop" start="b7680" end="b23040" flags="IsAutoLoop,IsHidden" locked="0" cue="0"/>'
pytestmark = [
    pytest.mark.jack,
    pytest.mark.skipif(not available or not shutil.which('ardour7-lua'), reason='needs jackd and ardour7-lua'),
]


class Ardour:
    """A headless Ardour with tracks Phrase and Answer, at 120 BPM, with a loop over beats 4 to 12."""

    def __init__(self, folder: Path) -> None:
        self.session, self.flags = folder / 'sess', folder / 'flags'
        self.flags.mkdir()
        (folder / 'home').mkdir()
        environment = {**os.environ, 'HOME': str(folder / 'home')}
        make = ['ardour7-lua', HERE / 'ardour/make_session.lua', self.session, 'sess', '120']
        subprocess.run(make, env=environment, check=True, timeout=120, capture_output=True)
        file = self.session / 'sess.ardour'
        text = file.read_text()
        assert '<Locations/>' in text
        file.write_text(text.replace('<Locations/>', f'<Locations>{LOOP}</Locations>'))
        run = ['ardour7-lua', '-X', HERE / 'ardour/run_session.lua', self.session, 'sess', self.flags]
        self.log = open(folder / 'ardour.log', 'w')  # noqa: SIM115
        self.process = subprocess.Popen(
            run, env={**environment, **one_request_at_a_time(folder)}, stdout=self.log, stderr=subprocess.STDOUT
        )
        self.await_flag('ready', 150)

    def await_flag(self, name: str, seconds: float, during: Callable[[], None] = lambda: None) -> None:
        end = time.monotonic() + seconds
        while not (self.flags / name).exists():
            during()
            assert self.process.poll() is None, f'Ardour ended: {self.log.name}'
            assert time.monotonic() < end, f'Ardour does not answer with {name}'
            time.sleep(0.005)

    def order(self, text: str, during: Callable[[], None] = lambda: None) -> None:
        """Tell run_session.lua what to do, and wait until it is done."""
        (self.flags / 'done').unlink(missing_ok=True)
        (self.flags / 'order.new').write_text(text)
        (self.flags / 'order.new').rename(self.flags / 'order')
        self.await_flag('done', 90, during)

    def recorded(self, track: str) -> list[tuple[float, int]]:
        """(beat, note) of the note-ons recorded on `track`; its region begins at the start of the session."""
        found = []
        # Ardour prepares the file of the next take already; it is empty.
        for path in self.session.glob(f'interchange/*/midifiles/*{track}*.mid'):
            midi, tick = mido.MidiFile(path), 0
            for message in midi.tracks[0]:
                tick += message.time
                if message.type == 'note_on' and message.velocity:
                    found.append((tick / midi.ticks_per_beat, message.note))
        return found

    def close(self) -> None:
        (self.flags / 'order').write_text('quit - 0')
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


@pytest.fixture(scope='module')
def studio(tmp_path_factory) -> Iterator[tuple[Ardour, Desk]]:
    folder = tmp_path_factory.mktemp('ardour')
    command = [sys.executable, '-m', 'bridge.cli', 'live', 'duet', '--no-view', '--set', 'model=rules']
    command += ['--set', 'bars_heard=1', '--set', 'bars_answered=1', '--set', 'ports.backend=jack']
    with server(PERIOD), Desk('desk', ('clock', 'band'), ('phrase', 'player')) as desk:
        with open(folder / 'live.log', 'w') as log:
            live = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        ardour = Ardour(folder)
        try:
            desk.connect('ardour:MIDI Clock out', 'desk:clock', 60)
            desk.connect('desk:phrase', 'ardour:Phrase/midi_in 1')
            desk.connect('ardour:MIDI Clock out', 'genaudio:genaudio in', 60)
            desk.connect('genaudio:genaudio out', 'desk:band')
            yield ardour, desk
        finally:
            ardour.close()
            live.terminate()
            live.wait(timeout=15)


def ticks(desk: Desk) -> list[tuple[int, float]]:
    """(frame, beat) of the clock messages heard: positions counted from start and song position (beats times 24).

    The desk is a client as any other: a tick of a cycle that it missed is counted, too.
    """
    found, position, last, length = [], 0, None, None
    for frame, port, message in list(desk.heard):
        if port != 'clock':
            continue
        if message[0] == 0xFA:
            position, last = 0, None
        elif message[0] == 0xF2:
            position, last = message[1] | message[2] << 7, None
        elif message[0] == 0xFC:
            last = None
        elif message[0] == 0xF8:
            if last is not None:
                gap = frame - last
                lost = max(round(gap / length) - 1, 0) if length else 0
                position += lost
                length = gap / (lost + 1)
            found.append((frame, position / 24))
            position, last = position + 1, frame
    return found


def answers(desk: Desk) -> list[tuple[int, int]]:
    """(frame, note) of the band's note-ons."""
    return [(f, m[1]) for f, port, m in list(desk.heard) if port == 'band' and m[0] & 0xF0 == 0x90 and m[2]]


def check_ended(desk: Desk) -> None:
    sounding = set()
    for _, port, message in list(desk.heard):
        if port == 'band' and message[0] & 0xF0 in (0x80, 0x90):
            (sounding.add if message[0] & 0xF0 == 0x90 and message[2] else sounding.discard)(message[1])
    assert not sounding


@pytest.fixture(scope='module')
def phrase(studio) -> tuple[Ardour, Desk]:
    """The studio with a phrase in bar 2 of its track, and the band wired to the tracks: any test may come first."""
    ardour, desk = studio
    planned = []

    def play_phrase() -> None:
        if planned or not (heard := ticks(desk)):
            return
        # A client that hears Ardour and is heard by it is delayed by a period; we play that much early.
        start = heard[0][0] - PERIOD
        for beat, note in ((4, 60), (5, 64), (6, 67), (7, 72)):
            planned.append((start + beat * RATE // 2, bytes((0x90, note, 90))))
            planned.append((start + beat * RATE // 2 + 21000, bytes((0x80, note, 0))))
        desk.send('phrase', planned)

    desk.heard.clear()
    ardour.order('record Phrase 6', play_phrase)
    assert [note for _, note in ardour.recorded('Phrase')] == [60, 64, 67, 72]
    desk.connect('ardour:Phrase/midi_out 1', 'genaudio:genaudio in')
    desk.connect('genaudio:genaudio out', 'ardour:Answer/midi_in 1')
    time.sleep(1.2)  # the daemon looks at its connections twice a second
    return ardour, desk


def test_phrase_of_a_track_is_answered_into_another(phrase):
    ardour, desk = phrase
    desk.heard.clear()
    ardour.order('record Answer 8')
    answer = ardour.recorded('Answer')
    assert answer, 'nothing was recorded'
    assert answer[0][0] == pytest.approx(8.0, abs=TOLERANCE * 2)  # bar 3; two beats a second
    assert all(8 - 0.02 <= beat < 12 for beat, _ in answer)
    check_ended(desk)


def test_answer_follows_when_the_tempo_is_turned(phrase):
    """120 BPM until beat 9, then 150. The track's phrase comes before, one that the desk plays comes after."""
    ardour, desk = phrase
    desk.connect('desk:player', 'genaudio:genaudio in')
    planned = []

    def play_second_phrase() -> None:
        heard = ticks(desk)
        number = round(heard[-1][1] * 24) if heard else 0  # not their count: the desk misses one now and then
        if planned or number < 15.5 * 24 - 1:
            return
        line = heard[-1][0] + (16 * 24 - number) * 800  # beat 16, at 150 BPM
        for beat, note in ((0, 62), (1, 65), (2, 69)):
            planned.append((line + 19200 * beat, bytes((0x90, note, 90))))
            planned.append((line + 19200 * beat + 9600, bytes((0x80, note, 0))))
        desk.send('player', planned)

    desk.heard.clear()
    ardour.order('tempo 150 12', play_second_phrase)
    heard = ticks(desk)
    lengths = [b[0] - a[0] for a, b in itertools.pairwise(heard)]
    assert lengths[100] == 1000 and lengths[-10] == 800  # frames a tick: 120, then 150 BPM
    assert planned
    at = {round(beat * 24): frame for frame, beat in heard}
    frames = [frame for frame, _ in answers(desk)]
    off = []
    for bar_line in (8, 20):  # before the change, and after it
        line = at[bar_line * 24]
        # What goes out is a period early, to arrive in Ardour on time.
        off.append(min((frame + PERIOD - line for frame in frames), key=abs))
    assert abs(off[0]) <= TOLERANCE * RATE
    # Desk and daemon hear each other, so that JACK delays the desk's keys by a period, and the repeat with them.
    assert min(abs(off[1]), abs(off[1] - PERIOD)) <= TOLERANCE * RATE
    check_ended(desk)
    desk.client.disconnect('desk:player', 'genaudio:genaudio in')


def test_answer_survives_a_loop_jump(phrase):
    """The loop goes over beats 4 to 12: the track's phrase, and its answer."""
    ardour, desk = phrase
    desk.heard.clear()
    ardour.order('loop - 12')
    heard = ticks(desk)
    jumps = [b for a, b in itertools.pairwise(heard) if b[1] < a[1]]
    assert len(jumps) >= 2 and all(beat == 4 for _, beat in jumps)
    frames = [frame for frame, _ in answers(desk)]
    lines = [frame for frame, beat in heard if beat == 8]  # bar 3, where the answer begins, once in each pass
    assert len(lines) >= 2
    for line in lines:
        first = bisect.bisect_left(frames, line - PERIOD - int(TOLERANCE * RATE))
        assert first < len(frames) and abs(frames[first] + PERIOD - line) <= TOLERANCE * RATE
    check_ended(desk)
