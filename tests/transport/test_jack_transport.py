"""JACK transport on a real server: followed as it rolls, stops, relocates and changes tempo."""

import contextlib
import math
import os
import time
from collections import deque
from collections.abc import Iterator

import pytest
from jack_server import RATE, available, server
from live_band import phrase, preset

from bridge.live.session import Session
from bridge.midi.jack_ports import JackMidi
from bridge.musicians.musician_process import SimulatedEngine
from bridge.musicians.rule_musician import FallbackMusician
from bridge.system.waiting import wait_until
from bridge.transport.transport import JackLeader

NEAR = 0.02  # beats
pytestmark = [pytest.mark.jack, pytest.mark.skipif(not available, reason='needs jackd')]


@pytest.fixture(scope='module')
def jack_running():
    with server(512):
        yield


class Conductor:
    """A JACK client that rolls, stops and moves JACK transport; as timebase master it tells bar, beat and tempo."""

    def __init__(self, tempo: float | None = None, meter: tuple[int, int] = (4, 4), offset: int = 0) -> None:
        import jack

        self.client = jack.Client('conductor', no_start_server=True, servername=os.environ['JACK_DEFAULT_SERVER'])
        self.tempo, self.meter, self.offset = tempo, meter, offset
        self.nonsense: dict[str, float] = {}  # fields told wrongly
        self.cycles: deque[tuple[int, int]] = deque(maxlen=1000)  # (frame of JACK's clock, frame of the song)
        self.client.set_process_callback(self._note)
        self.client.activate()
        assert self.rewind()
        if tempo:
            self.client.set_timebase_callback(self._tell)

    def _tell(self, state: int, frames: int, where, new: bool) -> None:
        beats_per_bar, beat_type = self.meter
        beat = self.beat(where.frame - self.offset) * beat_type / 4
        where.beats_per_bar, where.beat_type, where.ticks_per_beat = beats_per_bar, beat_type, 1920.0
        where.beats_per_minute = (self.tempo or 120.0) * beat_type / 4
        bar = math.floor(beat / beats_per_bar)
        where.bar, where.beat = bar + 1, math.floor(beat - bar * beats_per_bar) + 1
        where.tick = int((beat - math.floor(beat)) * 1920)
        where.bar_start_tick = bar * beats_per_bar * 1920.0
        where.bbt_offset = self.offset
        for field, value in self.nonsense.items():
            setattr(where, field, value)
        where.valid = 0x10 | (0x40 if self.offset else 0)  # JackPositionBBT, JackBBTFrameOffset

    def _note(self, frames: int) -> None:
        began = self.client.last_frame_time
        _, where = self.client.transport_query_struct()
        if began == self.client.last_frame_time:  # else the next cycle began in between
            self.cycles.append((began, where.frame))

    def beat(self, frame: float) -> float:
        """Quarter notes at a frame of the song: the tempo counts from its beginning, as in a DAW with one tempo."""
        return frame / RATE * (self.tempo or 120.0) / 60

    def locate(self, beat: float) -> None:
        self.client.transport_frame = round(beat * 60 / (self.tempo or 120.0) * RATE)

    def rewind(self) -> bool:
        """Stop at the beginning; the server needs a few periods."""
        self.client.transport_stop()
        self.client.transport_frame = 0
        return wait_until(lambda: self.client.transport_query()[1]['frame'] == 0, 10)

    def close(self) -> None:
        self.client.transport_stop()
        self.client.deactivate()
        self.client.close()


@contextlib.contextmanager
def conducted(*args, **options) -> Iterator[tuple[Conductor, JackMidi, JackLeader, list]]:
    midi = JackMidi(['in'], ['out'], lambda *event: None, name='band', notify=lambda line: None)
    conductor = Conductor(*args, **options)
    leader, changes = JackLeader(midi.transport), []
    try:
        yield conductor, midi, leader, changes
    finally:
        conductor.close()
        midi.close()


def comes(midi: JackMidi, leader: JackLeader, changes: list, kind: str) -> float:
    """Wait for a change of `kind`; return its beat."""
    known = len(changes)

    def came() -> bool:
        changes.extend(leader.check(midi.now()))
        return any(change.kind == kind for change in changes[known:])

    assert wait_until(came, 20), changes
    return next(change.beat for change in changes[known:] if change.kind == kind)


def off(conductor: Conductor, midi: JackMidi, leader: JackLeader, seconds: float = 1.0) -> float:
    """By how many beats the leader is off where the song was as JACK's cycles began; the median.

    JACK's own estimate between two cycles (`transport_frame`) counts from the moment at which the server woke up, which
    a busy machine makes late; the frames at which a cycle begins are exact, however late it runs.
    """
    worst = []
    end = midi.now() + seconds
    while midi.now() < end or len(worst) < 10:
        leader.check(midi.now())
        began, frame = conductor.cycles[-1]  # bridge time is JACK's before any restart
        worst.append(abs(leader.line.beat_at(began / RATE) - conductor.beat(frame)))
        time.sleep(0.02)
    return sorted(worst)[len(worst) // 2]


@pytest.mark.parametrize('master', [
    {}, {'tempo': 97.0}, {'tempo': 140.0, 'meter': (3, 4)}, {'tempo': 100.0, 'meter': (7, 8)},
    {'tempo': 120.0, 'offset': 100},
])  # fmt: skip
def test_jack_transport_is_followed(jack_running, master):
    with conducted(**master) as (conductor, midi, leader, changes):
        tempo = master.get('tempo', 120.0)
        leader.check(midi.now())
        assert not leader.rolling
        conductor.client.transport_start()
        assert comes(midi, leader, changes, 'start') == pytest.approx(0, abs=0.2)
        assert leader.rolling and leader.line.tempo == pytest.approx(tempo)
        assert off(conductor, midi, leader) < NEAR
        conductor.locate(21)
        assert comes(midi, leader, changes, 'start') == pytest.approx(21, abs=0.2)
        assert off(conductor, midi, leader, 0.5) < NEAR
        conductor.locate(8)
        assert comes(midi, leader, changes, 'start') == pytest.approx(8, abs=0.2)
        if 'tempo' in master:
            conductor.tempo = tempo * 1.25  # all beats lie elsewhere now: a DAW's tempo knob
            assert comes(midi, leader, changes, 'start') == pytest.approx(10, abs=1.5)
            assert leader.line.tempo == pytest.approx(tempo * 1.25)
            assert off(conductor, midi, leader, 0.5) < NEAR
        conductor.client.transport_stop()
        comes(midi, leader, changes, 'stop')
        assert not leader.rolling
        starts = [change.beat for change in changes if change.kind == 'start']
        assert len(starts) == (4 if 'tempo' in master else 3), changes  # no jump that was none


@pytest.mark.parametrize('field', ['beat_type', 'beats_per_bar', 'ticks_per_beat', 'beats_per_minute'])
@pytest.mark.parametrize('value', [0.0, math.nan])
def test_a_timebase_master_that_talks_nonsense_is_no_master(jack_running, field, value):
    with conducted(120.0) as (conductor, midi, leader, changes):
        conductor.nonsense = {field: value}
        conductor.client.transport_start()
        comes(midi, leader, changes, 'start')
        assert off(conductor, midi, leader, 0.3) < NEAR and midi.errors == 0


@pytest.mark.parametrize('chosen', ['auto', 'jack'])
def test_the_band_plays_to_jack_transport(jack_running, chosen):
    """A phrase of a bar in time with JACK, answered on the next bar line."""
    with conducted(120.0) as (conductor, midi, leader, _):
        said: list[str] = []
        engine = SimulatedEngine(FallbackMusician(), midi, 0.004)
        one_bar = preset('respond', player__bars_heard=1, player__bars_answered=1)
        given = leader if chosen == 'jack' else None
        session = Session(one_bar, midi, midi, engine, leader=given, horizon=midi.horizon, notify=said.append)
        if chosen == 'auto':
            session.leaders.alternatives.append(leader)
        midi.scheduled = []
        conductor.client.transport_start()

        def step() -> bool:
            session.step()
            return session.transport.rolling and session.transport.leader is leader

        assert wait_until(step, 20)
        assert ('Following JACK transport.' in said) == (chosen == 'auto')

        def answered() -> bool:
            now = midi.now()
            held.append(now - looked[-1])
            looked.append(now)
            while keys and keys[0][0] <= now:
                time, message = keys.pop(0)
                session.receive(0, message, time)
            session.step()
            return len([1 for _, _, m in midi.scheduled or () if m[0] & 0xF0 == 0x90]) >= 4

        for _ in range(12):
            bar = session.transport.next_bar(session.transport.beat_at(midi.now()) + 1)
            zero = session.transport.time_at(bar)
            keys = phrase(zero)
            looked, held, midi.scheduled = [midi.now()], [], []
            assert wait_until(answered, 20), said
            # Who is not let run for as long as the horizon hands notes over late, and they begin when they can.
            if max(held) < 0.7 * midi.horizon:
                break
        frames = [frame for frame, _, m in midi.scheduled if m[0] & 0xF0 == 0x90]
        beats = [bar + (frame / RATE - zero) * 2 for frame in frames]  # bridge time is JACK's before any restart
        assert beats == pytest.approx([bar + 4, bar + 5, bar + 6, bar + 7], abs=0.03)
        session.close()
