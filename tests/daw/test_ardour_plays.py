"""The stems in Ardour while it plays, at half the speed: what a probe behind them gets, against what is exported."""

import numpy as np
import pytest

from genaudio_core.sound.audio_files import read_audio

pytestmark = pytest.mark.slow
FROM_THE_BEGIN = ('locate', 0), 'roll'


@pytest.fixture
def play(ardour):
    """Plays the session until no block was missed, three times at most; machines on which that never comes are left."""

    def play(*orders):
        for _ in range(3):
            takes = ardour.play(*orders)
            if not any(take.missed for take in takes):
                return takes
        pytest.skip(f'this machine is too busy: {[take.missed for take in takes]} blocks of Ardour came too soon')

    return play


def test_the_stems_that_are_heard_are_those_that_are_exported(stems_session, play, ardour, probe):
    stems_session('LV2', 6615)  # where it begins to play, Ardour fades in
    ardour.add(f'{probe}:sound', 'LV2', where='master')
    exported = read_audio(ardour.export('one'))
    n = exported.shape[1]
    once = 'take', *FROM_THE_BEGIN, ('until', n + 8192), 'stop', 'taken'
    for take in (*play('engine', *once, *once), *play('engine', *once)):
        heard = take.sound(n)
        assert np.array_equal(heard, exported)
