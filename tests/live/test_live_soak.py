"""Two hours on a simulated clock: memory flat, no missed re-base, no hanging note."""

import random
import tracemalloc

import pytest
from live_band import Stage, clock_ticks, phrase, preset

from bridge.live.rehearsal import simulate

TEMPO = 120.0


def play_minutes(stage: Stage, rng: random.Random, minutes: range) -> None:
    """A player who trades bars, rests now and then, turns controls, and a DAW that loops and stops."""
    for minute in minutes:
        start = minute * 60.0 + 1e-3
        part = clock_ticks(start, 116, TEMPO, first=b'\xfa' if minute % 7 == 0 else b'\xfb')
        for bar in range(0, 28, rng.choice((2, 3, 4))):
            notes = [(beat, rng.randrange(55, 80)) for beat in range(4)]
            part += phrase(start + bar * 2.0, TEMPO, notes, length=rng.choice((0.4, 0.9, 1.4)))
        part.append((start + 58.2, b'\xfc'))
        simulate(stage.session, stage.clock, stage.sender, part, (minute + 1) * 60.0)
        if minute % 5 == 0:
            stage.session.set('music.temperature', rng.uniform(0.5, 1.5))
        if minute % 10 == 3:
            stage.session.command(rng.choice(('panic', 'next_take', 'undo', 'hush', 'play')))


def soak(minutes: int, **values) -> Stage:
    parts = [{'instrument': name} for name in ('piano', 'bass', 'drums', 'strings')]
    stage = Stage(preset('respond', parts, player__bars_heard=2, player__bars_answered=2, **values), keep=False)
    sounding: set[tuple[int, int, int]] = set()

    def follow(time: float, output: int, message: bytes) -> None:
        key = (output, message[0] & 15, message[1])
        if message[0] & 0xF0 == 0x90 and message[2]:
            assert key not in sounding
            sounding.add(key)
        elif message[0] & 0xF0 == 0x80:
            sounding.discard(key)

    stage.sender.on_send = follow
    rng = random.Random(1)
    warm = max(minutes // 4, 2)
    play_minutes(stage, rng, range(warm))
    tracemalloc.start()
    stage.said.clear()
    before = tracemalloc.get_traced_memory()[0]
    play_minutes(stage, rng, range(warm, minutes))
    stage.said.clear()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 3_000_000, f'{grown} bytes more after {minutes - warm} minutes'
    stage.session.close()
    assert not sounding
    assert stage.session.scheduler.played > 10 * minutes
    return stage


def test_ten_minutes():
    assert soak(10).session.missed == 0


@pytest.mark.slow
def test_two_hours():
    assert soak(120, music__takes=2).session.missed == 0
