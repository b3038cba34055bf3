"""Words that must be looked up hold nobody up, and every line is answered in its order."""

import threading
import time
import types
from unittest.mock import Mock

import numpy as np
import pytest

from bridge.settings.mix import Mix
from bridge.stems.line_commands import LineCommands
from bridge.stems.words import Words
from genaudio_core.errors import GenaudioError, MissingModel

KNOWN = {'drums': [1.0, 0.0], 'bass': [0.0, 1.0]}


class SlowWords(Words):
    """Its encoder answers when it is let go."""

    def __init__(self):
        super().__init__(KNOWN, 2)
        self.go, self.asked = threading.Event(), []

    def vector(self, text):
        if self.knows(text):
            return super().vector(text)
        self.asked.append((text, threading.current_thread()))
        assert self.go.wait(30)
        if text == 'nonsense':
            raise GenaudioError('No such thing.')
        if text == 'broken':
            raise RuntimeError('two\nlines')
        return np.array([0.6, 0.8, 0], np.float32)


@pytest.fixture
def controls():
    queries = []
    host = types.SimpleNamespace(
        spec=types.SimpleNamespace(queries=np.eye(2, 3, dtype=np.float32)), set_queries=queries.append,
        set_mix=lambda mix: None, status=lambda: {'ready': True}, queries=queries,
    )  # fmt: skip
    return LineCommands(host, SlowWords(), ['drums', 'bass'], Mix.of(2))


def turn_until(controls, said, n):
    end = time.monotonic() + 30
    while len(said) < n:
        assert time.monotonic() < end, said
        controls.hear([], said.append)
        time.sleep(0.002)


def test_the_loop_goes_on_while_words_are_looked_up_and_answers_come_in_order(controls):
    said = []
    controls.hear(['wet 0.5', 'query 2 flute', 'gain flute -3', 'query 1 oboe', 'status'], said.append)
    for _ in range(50):  # turns of the loop, none of which waits
        controls.hear([], said.append)
    assert said == ['wet 0.5'] and controls.host.queries == []
    assert all(thread is not threading.main_thread() for _, thread in controls.words.asked)
    controls.words.go.set()
    turn_until(controls, said, 5)
    assert said == ['wet 0.5', 'stem 2 is now flute', 'gain flute -3', 'stem 1 is now oboe', 'ready True']
    assert [text for text, _ in controls.words.asked] == ['flute', 'oboe']  # each once
    assert controls.names == ['oboe', 'flute'] and len(controls.host.queries) == 2


@pytest.mark.parametrize(('text', 'says'), [('nonsense', 'No such thing.'), ('broken', 'two lines')])
def test_words_that_nobody_can_look_up_cost_a_line(controls, text, says):
    said = []
    controls.words.go.set()
    controls.hear([f'query 1 {text}', 'query 1 bass'], said.append)
    turn_until(controls, said, 2)
    assert says in said[0] and '\n' not in said[0] and said[1] == 'stem 1 is now bass'
    assert len(controls.words.asked) == 1


def test_what_needs_no_encoder_is_done_at_once(controls):
    said = []
    controls.hear(['query 1 bass', 'query 9 flute', 'query 1', 'query', 'quit', 'status'], said.append)
    assert said[0] == 'stem 1 is now bass' and "no stem '9'" in said[1] and 'empty' in said[2] and said[-1] == 'ending'
    assert not controls.words.asked and controls.ended


@pytest.mark.parametrize('text', ['Die Datei fehlt.', 'There is no model file here.'])
def test_a_missing_encoder_is_known_by_its_kind_and_not_by_its_words(text):
    words = Words(KNOWN, 2)
    words._encoder = types.SimpleNamespace(query=Mock(side_effect=MissingModel(text)))
    with pytest.raises(GenaudioError, match=r"'cymbals' is not a word of this model, .* It has: bass, drums"):
        words.vector('cymbals')
    words._encoder.query.side_effect = GenaudioError(text)
    with pytest.raises(GenaudioError, match=text):
        words.vector('cymbals')
