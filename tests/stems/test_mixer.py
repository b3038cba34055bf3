import numpy as np
import pytest
from numpy.testing import assert_allclose

from bridge.settings.mix import Mix
from bridge.stems.mixer import Mixer
from genaudio_core.errors import GenaudioError

PARTS = np.stack([np.full((2, 256), v, np.float32) for v in (1.0, 10.0, 100.0, 1000.0)])  # two stems, rest, dry


def heard(mix):
    return float(Mixer(mix).process(PARTS)[0, 0])


def test_levels_mute_solo_rest_and_wet():
    mix = Mix.of(2)
    assert heard(mix) == 11
    assert heard(mix.changed(gains_db=(20.0, float('-inf')))) == pytest.approx(10)
    assert heard(mix.changed(rest_db=0.0)) == 111
    assert heard(mix.changed(mute=frozenset({0}))) == 10
    assert heard(mix.changed(solo=frozenset({0}), rest_db=0.0)) == 1
    assert heard(mix.changed(wet=0.0)) == 1000
    assert heard(mix.changed(wet=0.5)) == pytest.approx(505.5)


def test_a_muted_solo_is_silent():
    assert heard(Mix.of(2).changed(mute=frozenset({0}), solo=frozenset({0}))) == 0


def test_a_change_takes_a_hop_and_leaves_no_step():
    mixer = Mixer(Mix.of(2))
    before = mixer.process(PARTS)
    mixer.set(Mix.of(2).changed(gains_db=(-20.0, -20.0)))
    during, after = mixer.process(PARTS), mixer.process(PARTS)
    whole = np.concatenate([before, during, after], -1)
    assert np.abs(np.diff(whole)).max() < 11 / 200
    assert_allclose(after, 1.1, rtol=1e-5)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'wet': 1.5}, 'wet must be a number from 0 to 1'),
        ({'wet': float('nan')}, 'wet must be a number from 0 to 1'),
        ({'gains_db': (0.0,)}, '2 stems'),
        ({'gains_db': (0.0, 60.0)}, 'from -200 to 24 dB, or -inf'),
        ({'gains_db': (0.0, float('nan'))}, 'from -200 to 24 dB, or -inf'),
        ({'mute': frozenset({2})}, 'their numbers are 0 to 1'),
    ],
)
def test_bad_values_are_told(changes, message):
    with pytest.raises(GenaudioError, match=message):
        Mix.of(2).changed(**changes)
