"""The parent's hand on the port process, with a port process that never was: what is sent while it starts again."""

import queue
from typing import ClassVar

import pytest
from live_band import preset

from bridge.live import supervisor as module
from bridge.live.kept_takes import KeptTake, TakeWriter
from bridge.live.port_process import COUNTED
from bridge.live.supervisor import Supervisor
from bridge.system.waiting import wait_until
from genaudio_core.score.notes import Note


class Pipe:
    """In place of a channel."""

    made: ClassVar[list] = []

    def __init__(self, connection):
        self.sent, self.heard, self.refused = [], queue.SimpleQueue(), 0
        self.made.append(self)

    def send(self, message):
        self.sent.append(message)
        return True

    def receive(self, timeout=0.0):
        try:
            message = self.heard.get_nowait()
        except queue.Empty:
            raise TimeoutError from None
        if message is EOFError:
            raise EOFError
        return message

    def close(self):
        pass


class Process:
    """In place of a process; `on_start` is called while one starts."""

    on_start = staticmethod(lambda: None)

    def __init__(self, body, arguments, **options):
        (self.setup,) = arguments
        self.pipe, self.pid, self.exitcode = None, 1, 0

    def start(self):
        self.preset = self.setup.preset
        Process.on_start()

    def join(self, timeout=None):
        pass

    def end(self, patience, ask=True):
        pass

    def is_alive(self):
        return False

    def is_hung(self):
        return False


@pytest.fixture
def parent(monkeypatch):
    monkeypatch.setattr(module, 'ChildProcess', Process)
    monkeypatch.setattr(module, 'Channel', Pipe)
    monkeypatch.setattr(Pipe, 'made', [])
    monkeypatch.setattr(Process, 'on_start', staticmethod(lambda: None))
    lines = []
    running = Supervisor(preset(), lines.append)
    yield running, lines
    running.stop()


def dies(running) -> None:
    running.channel.heard.put(EOFError)
    assert running.poll()


def says(running, applied: int, **values) -> None:
    preset = running._setup.preset
    running.channel.heard.put(('snapshot', {
        **dict.fromkeys(COUNTED, 0), 'applied': applied, 'values': {**preset.values, **values}, 'controllers': {},
        'part_values': {'low.piano': 40},
    }))  # fmt: skip
    assert running.poll()


def test_what_is_sent_while_the_process_starts_again_reaches_the_new_one(parent, monkeypatch):
    running, _ = parent
    monkeypatch.setattr(Process, 'on_start', staticmethod(lambda: running.send(set='density', value=0.9)))
    dies(running)
    assert len(Pipe.made) == 2 and Pipe.made[1].sent == [{'set': 'density', 'value': 0.9}]
    monkeypatch.setattr(Process, 'on_start', staticmethod(lambda: None))
    running.send(set='temperature', value=1.5)
    says(running, 1)  # it has taken the first of them, and dies before the second
    dies(running)
    assert running._process.preset['music.temperature'] == 1.5


def test_what_an_earlier_process_took_does_not_come_back_later(parent):
    running, _ = parent
    running.send(set='density', value=0.9)
    dies(running)
    running.send(set='density', value=0.8)
    says(running, 1, **{'music.density': 0.2})  # taken, and moved by a controller since
    dies(running)
    assert running._process.preset['music.density'] == 0.2
    assert running._process.preset.part_values == {'low.piano': 40}


def test_what_was_sent_to_a_dead_process_is_so_in_the_next(parent):
    running, lines = parent
    running.send(set='density', value=0.8)
    running.send(set='ports.outputs', value='a, b')  # not while it plays
    running.send(set='density', value='nonsense')
    dies(running)
    assert running._process.preset['music.density'] == 0.8
    assert running._process.preset['ports.outputs'] == preset()['ports.outputs']
    assert running.restarts == 1 and len(lines) == 1 and 'died' in lines[0]


def test_a_take_that_cannot_be_written_for_whatever_reason_does_not_stop_the_next(tmp_path):
    lines: list[str] = []
    writer = TakeWriter(tmp_path, lines.append)
    notes = [('piano', Note(0.0, 1.0, 60, 90))]
    for name, tempo, played in (('a.mid', 120.0, [(0.0, 1.0, 60)]), ('\0.mid', 120.0, notes), ('c.mid', 120.0, notes)):
        writer.write(KeptTake(name, [], played, 0.0, tempo, (4, 4)))  # type: ignore
    assert wait_until(lambda: (writer.poll(), len(lines) == 3)[1], 20), lines
    writer.close()
    assert (tmp_path / 'c.mid').is_file() and [line[:4] for line in lines] == ['The ', 'The ', 'Kept']
