"""The loop of the port process goes along with what becomes of its ports."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

from bridge.live.port_process import Loop
from bridge.midi.input_queue import Inbox
from bridge.midi.jack_ports import JackMidi


def test_notes_are_handed_over_earlier_when_jack_runs_in_longer_blocks():
    """Or each of them would miss the block that it belongs to."""
    jack: Any = JackMidi.__new__(JackMidi)
    jack.sample_rate, jack.block_size, jack.looped, jack._peers = 48000, 256, False, set()
    backend, session, inbox = MagicMock(jack=jack), MagicMock(), Inbox()
    backend.look.return_value = backend.outputs_back.return_value = []
    backend.counts.return_value = session.snapshot.return_value = {}
    session.takes = SimpleNamespace(gathered=[], heard=None)
    session.scheduler = SimpleNamespace(horizon=jack.horizon, extra_latency_s=0.0)
    loop = Loop(MagicMock(), session, MagicMock(), backend, inbox, MagicMock())
    jack._blocksize(8192)
    loop._look_around()
    assert session.scheduler.horizon == jack.horizon > 2 * 8192 / 48000
    inbox.close()
