"""Who owns the memory that onnxruntime works on. These tests need no torch, and run on the oldest onnxruntime too."""

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

import genaudio_core.continuation.decoder as decoder_module
from genaudio_core.continuation.continuer import Continuer
from genaudio_core.continuation.decoder import Buffers, Decoder
from genaudio_core.files import find_model
from genaudio_core.music.events import header
from genaudio_core.music.layouts import LIVE, NOTE


class ForgetfulBinding:
    """Like onnxruntime's up to 1.29: it knows addresses, and keeps nothing alive."""

    def __init__(self, bound: list):
        self._bound = bound

    def bind_ortvalue_input(self, name, value):
        self._bound.append((name, value.array))

    bind_ortvalue_output = bind_ortvalue_input


def forgetful_decoder(bound: list) -> SimpleNamespace:
    return SimpleNamespace(
        encoding=LIVE, context=16, dim=4, heads=2, head_dim=2, layers=2, cache_dtype=np.float32,
        has_time=True, has_phase=True, model=SimpleNamespace(device='cpu'),
        session=SimpleNamespace(io_binding=lambda: ForgetfulBinding(bound)),
    )  # fmt: skip


@pytest.mark.parametrize('takes', [1, 3])
def test_every_bound_array_lives_as_long_as_the_buffers(monkeypatch, takes):
    class Value:
        @staticmethod
        def ortvalue_from_numpy(array, *_):
            return SimpleNamespace(array=weakref.ref(array))

    monkeypatch.setattr(decoder_module, 'OrtValue', Value)
    bound: list = []
    buffers = Buffers(forgetful_decoder(bound), takes)  # type: ignore[arg-type]
    gc.collect()
    assert {'hidden', 'logits', 'events', 'past_key_0', 'present_value_1'} <= {name for name, _ in bound}
    assert [name for name, array in bound if array() is None] == []
    del buffers
    gc.collect()
    assert all(array() is None for _, array in bound)  # and no longer: a session of hours leaks nothing


@pytest.fixture(scope='module')
def live() -> Decoder:
    return Decoder.load(find_model('live'), provider='cpu', warm_up=False)


def test_logits_write_to_no_memory_but_their_own(monkeypatch, live):
    """What a freed array left is handed to the next one of its size: nobody else may write there."""
    hidden_of: list = []
    bind = Buffers._bind

    def spy(self, hidden, logits):
        hidden_of.append((weakref.ref(hidden), hidden.ctypes.data))
        return bind(self, hidden, logits)

    monkeypatch.setattr(Buffers, '_bind', spy)
    buffers = Buffers(live, 1)
    gc.collect()
    freed = {address for array, address in hidden_of if array() is None}
    innocent = [np.full(live.dim, 7.0, np.float32) for _ in range(2000)]
    for field in range(len(live.encoding.fields)):
        buffers.logits(field, np.ones((1, live.dim), np.float32), None, None)
    assert freed == set()
    assert all((array == 7.0).all() for array in innocent)


def test_a_rebased_past_plays_on_as_a_fresh_one_would(live):
    codes = {'type': NOTE, 'beat': 2, 'position': 1, 'pitch': 61, 'duration': 12, 'instrument': 1, 'velocity': 20}
    note = np.array([codes.get(name, 0) for name in live.encoding.fields])
    session = np.concatenate([header(['piano'], live.encoding), np.repeat(note[None], 40, axis=0)])
    continuer = Continuer(live)
    continuer.feed(session)
    rebase = continuer.start_rebase(20)
    rebase.run()
    assert continuer.adopt(rebase)
    fresh = Continuer(live)
    fresh.feed(rebase.window.events)
    continuer.feed(note)
    fresh.feed(note)
    assert continuer.length == fresh.length
    np.testing.assert_array_equal(continuer.steps, fresh.steps)
    np.testing.assert_allclose(continuer.logits('type'), fresh.logits('type'), atol=1e-4)
