import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.audio.shared_ring import Ring


@pytest.fixture
def ring():
    made = Ring(2, capacity=64)
    yield made
    made.close()


def ramp(start, n):
    """Samples that say their own position."""
    return np.stack([np.arange(start, start + n), -np.arange(start, start + n)]).astype(np.float32)


writes = st.tuples(st.just('write'), st.integers(0, 64), st.integers(0, 40))
reads = st.tuples(st.just('read'), st.integers(-80, 80), st.integers(0, 64))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(writes, reads), max_size=40))
def test_a_read_gives_what_was_written_there_or_says_no(steps):
    ring = Ring(2, capacity=64)
    held: set[int] = set()  # the model: positions that must be readable
    try:
        for kind, a, b in steps:
            if kind == 'write':
                gap, position = b if b > 30 else 0, ring.end
                ring.write(ramp(position + gap, a), position + gap)
                if gap:
                    held.clear()
                held |= set(range(position + gap, position + gap + a))
                held = {p for p in held if p >= ring.end - 64}
            else:
                out = np.full((2, b), np.nan, np.float32)
                position = ring.end + a
                there = all(p in held for p in range(position, position + b))
                assert ring.read_into(out, position) == there or b == 0
                if there and b:
                    np.testing.assert_array_equal(out, ramp(position, b))
    finally:
        ring.close()


def test_a_reader_can_know_that_something_never_comes(ring):
    def is_lost(position, n=8):
        return not ring.read_into(np.empty((2, n), np.float32), position) and position < ring.closed_before

    ring.write(ramp(0, 20))
    assert not is_lost(16) and not is_lost(20)  # they may come
    ring.skip(20)
    assert not is_lost(16) and not is_lost(20)  # it goes on without a gap
    ring.skip(30)
    assert is_lost(16) and is_lost(29) and not is_lost(12) and not is_lost(30)
    ring.write(ramp(30, 4), 30)
    assert is_lost(12) and is_lost(29) and not is_lost(30)
    ring.write(ramp(34, 60))
    assert is_lost(29) and is_lost(20) and not is_lost(90)


def test_the_past_is_not_rewritten(ring):
    ring.write(ramp(0, 10))
    with pytest.raises(ValueError, match='cannot write 3 samples at 9'):
        ring.write(ramp(9, 3), 9)


def test_more_than_it_holds_is_refused(ring):
    with pytest.raises(ValueError, match='capacity 64'):
        ring.write(ramp(0, 65))


def test_capacity_is_a_power_of_two():
    with pytest.raises(ValueError, match='power of two'):
        Ring(2, capacity=100)


def test_another_process_reads_what_is_written_while_it_is_written():
    ring = Ring(2)
    code = f"""
import numpy as np
from bridge.audio.shared_ring import Ring
ring, at, out = Ring(2, {ring.name!r}), 0, np.empty((2, 100), np.float32)
print('ready', flush=True)
while at < 200_000:
    if ring.end - at > 30_000 or not ring.read_into(out, at):
        if at < ring.begin:
            at = ring.begin  # overtaken: go on with what is there
        if ring.end - at > 30_000:
            at = ring.end - 1000
        continue
    assert (out[0] == np.arange(at, at + 100)).all() and (out[1] == -out[0]).all(), at
    at += 100
print('done')
ring.close()
"""
    reader = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert reader.stdout.readline() == 'ready\n'
        at = 0
        rng = np.random.default_rng(0)
        while at < 210_000:
            n = int(rng.integers(1, 400))
            ring.write(ramp(at, n))
            at += n
        out, errors = reader.communicate(timeout=30)
        assert out == 'done\n', errors
    finally:
        reader.kill()
        reader.wait()
        ring.close()
