"""The clock of the JACK ports, while a real server goes and another one comes."""

import contextlib
import json
import select
import subprocess
import sys
import time
from typing import Any

import pytest
from jack_server import available, server

pytestmark = [pytest.mark.jack, pytest.mark.skipif(not available, reason='needs jackd')]

CLOCK_WATCH = """
import json, select, sys, time
from bridge.midi.jack_ports import JackMidi
say = lambda what: print(json.dumps(what), flush=True)
midi = JackMidi(['in'], ['out'], lambda *event: None, name='band', notify=say)
say('here')
first, began = midi.now(), time.perf_counter()
least = most = 0.0
back = 0
last = first
while not sys.stdin.closed and time.perf_counter() - began < 120:
    midi.look()
    for _ in range(50):
        before = time.perf_counter()
        now = midi.now()
        after = time.perf_counter()
        back += now < last
        last = now
        if after - before < 0.005:  # else somebody held us up between the looks, which says nothing of the clock
            drift = (now - first) - (before - began)
            least, most = min(least, drift), max(most, drift)
        time.sleep(0.0005)
    if select.select([sys.stdin], [], [], 0)[0]:
        break
say([back, least, most])
midi.close()
"""


def told(watch: subprocess.Popen) -> Any:
    """The next line of the watch."""
    assert watch.stdout and select.select([watch.stdout], [], [], 60)[0]
    return json.loads(watch.stdout.readline())


def test_bridge_time_outlives_the_server():
    """The server is stopped, and another one started: bridge time neither stands, nor leaps, nor goes back."""
    pytest.importorskip('jack')  # and met before the first server: see `jack_server._run_server`
    with contextlib.ExitStack() as first:
        first.enter_context(server(512))
        watch = subprocess.Popen(
            [sys.executable, '-c', CLOCK_WATCH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert watch.stdin and watch.stdout
        try:
            assert told(watch) == 'here'
            time.sleep(0.5)  # for the clock to be looked at
            first.close()
            assert 'is gone' in told(watch)
            with server(512):
                assert 'is back' in told(watch)
                time.sleep(0.5)  # for the clock to be looked at
                watch.stdin.write('\n')
                watch.stdin.flush()
                back, least, most = told(watch)
                assert watch.wait(20) == 0
        finally:
            watch.kill()
            watch.wait()
            watch.stdin.close()
            watch.stdout.close()
    assert back == 0
    assert -0.25 < least <= most < 0.25  # seconds; a wrong epoch would be off by the age of a server
