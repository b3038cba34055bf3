"""What the machine is late by: seen from outside our interpreter."""

import time

from bridge.bench.wakeup_latency import PERIOD, probe


def test_it_watches_as_long_as_the_block():
    with probe() as late:
        assert not late
        time.sleep(0.2)
    assert 10 < len(late) <= 1.1 * 0.2 / PERIOD + 200  # a busy machine sees fewer, its start a few more
    assert all(value > -PERIOD / 2 for value in late)


def test_it_is_over_when_the_block_fails():
    try:
        with probe() as late:
            raise ValueError
    except ValueError:
        assert late is not None
