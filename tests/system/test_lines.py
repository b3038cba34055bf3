"""Lines from a stream and from a parent: all that came, at once, wherever they come from."""

import io
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest

from bridge.stems import line_commands
from bridge.system.line_input import LineInput, reader_of


def collect(lines, n, looks=200):
    found = []
    for _ in range(looks):
        found += lines.wait(0.05)
        if len(found) >= n:
            return found
    raise AssertionError(f'{n} lines were wanted, {found} came')


def readers_end():
    for thread in threading.enumerate():
        if thread.name == 'genaudio-lines':
            thread.join(10)


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    stream = os.fdopen(reader, 'r')
    yield stream, lambda text: os.write(writer, text.encode())
    os.close(writer)
    readers_end()
    stream.close()


def test_two_lines_that_arrive_together_are_both_obeyed(pipe):
    stream, say = pipe
    say('gain 1 -6\nmute 1\n')
    done = []
    controls = types.SimpleNamespace(hear=lambda lines, tell: done.extend(lines))
    for _ in range(100):
        line_commands.obey_lines(stream, controls, lambda text: None)
        if len(done) == 2:
            break
    assert done == ['gain 1 -6', 'mute 1']


def test_a_line_in_pieces_is_one_and_blank_ones_are_none(pipe):
    stream, say = pipe
    lines = LineInput(stream)
    say('mu')
    assert lines.wait(0.05) == []
    say('te 1\n\n  \nsolo 2\n wet')
    assert collect(lines, 2) == ['mute 1', 'solo 2']
    assert reader_of(stream) is reader_of(stream)


def test_the_end_of_a_stream_ends_nothing_and_its_last_line_counts():
    lines = LineInput(io.StringIO('status\nquit'))
    assert collect(lines, 2) == ['status', 'quit']
    assert lines.wait(0.01) == []


def test_orders_of_a_parent_come_too_and_its_end_means_quit(pipe):
    stream, say = pipe
    theirs, ours = multiprocessing.Pipe(duplex=False)
    lines = LineInput(stream, theirs)
    ours.send(('line', 'load 36 kick.wav'))
    say('status\n')
    assert sorted(collect(lines, 2)) == ['load 36 kick.wav', 'status']
    ours.close()
    assert collect(lines, 1) == ['quit']
    theirs.close()


def test_lines_are_what_was_written_however_it_is_cut(pipe):
    stream, say = pipe
    lines = LineInput(stream)
    for character in 'wet 1\n\nquery 1 flûte\n':
        say(character)
    assert collect(lines, 2) == ['wet 1', 'query 1 flûte']


WAITS = """
import multiprocessing, os, signal, sys, time
from bridge.system.channel import Channel
from bridge.system.line_input import LineInput

ours, theirs = multiprocessing.Pipe()

def lines():
    reader = LineInput(os.fdopen(os.pipe()[0]))
    return lambda: reader.wait(0.1)

def channel():
    reader = Channel(ours)
    def wait():
        try:
            reader.receive(0.1)
        except TimeoutError:
            pass
    return wait

wait = {'lines': lines, 'channel': channel}[sys.argv[1]]()
seen = []
signal.signal(signal.SIGALRM, lambda number, frame: (time.sleep(0.1), seen.append(number)))
for after in (0.02, 0.05, 0.08):
    signal.setitimer(signal.ITIMER_REAL, after)
    wait()
    while not seen:
        time.sleep(0.01)
    seen.clear()
os.write(1, b'on')
os._exit(0)
"""


@pytest.mark.skipif(os.name == 'nt', reason='POSIX signals')
@pytest.mark.parametrize('what', ['lines', 'channel'])
def test_a_signal_whose_handling_outlasts_the_wait_does_not_make_it_wait_for_ever(what):
    """A busy machine takes its time over the handler; the main loop must go on and see what the signal asked for."""
    done = subprocess.run([sys.executable, '-c', WAITS, what], capture_output=True, text=True, timeout=60)
    assert done.stdout == 'on', done.stderr


def test_nothing_waits_for_a_simple_queue_with_a_timeout():
    """Before Python 3.13 a signal can make such a wait endless."""
    waits = re.compile(r'(\w+)(?:: [^=\n]*)? = (?:queue\.)?SimpleQueue\(')
    for folder in ('bridge', 'genaudio_core'):
        for path in (Path(__file__).parents[2] / folder).rglob('*.py'):
            text = path.read_text()
            for name in waits.findall(text):
                assert not re.search(rf'\b{name}\.get\([^)]', text), f'{path}: {name}'
