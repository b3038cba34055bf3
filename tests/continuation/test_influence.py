"""What an event leaned on: as a past without the values of one event would have it, and nothing is left of the look."""

import numpy as np
import pytest
import small_decoders

from genaudio_core.continuation.continuer import Continuer
from genaudio_core.continuation.influence import Influence
from genaudio_core.music.layouts import NOTE

N = 24


@pytest.fixture(params=['live', 'described', 'mmt'])
def past(request):
    """A continuer with some notes."""
    decoder = small_decoders.decoder(request.param)
    one, rng = Continuer(decoder), np.random.default_rng(3)
    rows = np.array([[rng.integers(1, min(size, 12)) for size in one.encoding.sizes] for _ in range(N)])
    rows[:, 0] = NOTE
    if not one.encoding.relative_beat:
        rows[:, 1] = 1 + np.arange(N) // 2
    one.feed(rows)
    return one


def chances(continuer, chosen):
    found = [continuer.logits(field, chosen)[0].astype(float) for field in continuer.encoding.order]
    return [np.exp(one - one.max()) / np.exp(one - one.max()).sum() for one in found]


def values(continuer):
    return {name: array for name, array in continuer._buffers._arrays.items() if name.startswith('value_')}


def test_a_share_is_how_much_the_chances_change_when_an_event_says_nothing(past):
    at, over = N - 1, [3, 10, N - 2]
    chosen = past.events[:, at].astype(np.int64)
    influence = Influence(past.fork(), at, over)
    while influence.step():
        pass
    whole = past.fork()
    whole.rewind(at)
    for i, share in zip(over, influence.shares, strict=True):
        deaf = past.fork()
        deaf.rewind(at - 1)
        for array in values(deaf).values():
            array[0, :, i] = 0
        if i == at - 1:  # it is fed again, and heard again
            continue
        deaf.feed(past.events[:, at - 1 : at])
        pairs = zip(chances(whole, chosen), chances(deaf, chosen), strict=True)
        assert share == pytest.approx(sum((p * np.log(p / q)).sum() for p, q in pairs), rel=1e-3, abs=1e-6)
        assert share > 0


def test_the_cache_is_as_it_was_to_the_bit_and_silence_has_no_share(past):
    one = past.fork()
    for array in values(one).values():
        array[0, :, 5] = 0
    before = {name: array.copy() for name, array in one._buffers._arrays.items()}
    influence = Influence(one, N - 1, range(N - 2))
    assert all(influence.step() for _ in range(N - 2)) and not influence.step()
    assert influence.shares[5] == 0 and min(influence.shares[:5] + influence.shares[6:]) > 0
    for name, array in one._buffers._arrays.items():
        assert (array[0, :, : N - 2] == before[name][0, :, : N - 2]).all()


def test_several_takes_are_refused(past):
    with pytest.raises(ValueError, match='one take'):
        Influence(past.fork(2), N - 1, [1])
