"""The plug-ins in Ardour while it plays: what a probe behind them gets, against what is exported.

The dummy backend plays at half the speed, JACK with its dummy driver at the whole one.
"""

import sys
from contextlib import nullcontext
from itertools import pairwise

import numpy as np
import pytest
from ardour_sessions import BEAT, LUA, Take, put_phrase
from jack_server import available, server

from genaudio_core.sound.audio_files import read_audio

pytestmark = pytest.mark.slow
BACKENDS = [
    'dummy',
    pytest.param('JACK', marks=[pytest.mark.jack, pytest.mark.skipif(not available, reason='needs jackd')]),
]
PRESET = '[about]\ntitle = "Of its own"\n[player]\nmode = "respond"\nbars_heard = 2\nbars_answered = 2\n[music]\n'
PRESET += 'model = "rules"\nseed = 5\n'
JUMP = 12 * BEAT + 3333  # behind the phrase, within a bar
FROM_THE_BEGIN = ('locate', 0), 'roll'


@pytest.fixture
def play(ardour):
    """Plays the session until no block was missed, three times at most; machines on which that never comes are left."""

    def play(backend, *orders, rate=48000):
        with server(1024, rate) if backend == 'JACK' else nullcontext():
            for _ in range(3):
                takes = ardour.play(*orders, backend=backend)
                if not any(take.missed for take in takes):
                    return takes
        pytest.skip(f'this machine is too busy: {[take.missed for take in takes]} blocks of Ardour came too soon')

    return play


@pytest.fixture
def band(ardour, bundles, probe):
    """Puts the band onto a MIDI track with a phrase, before a probe."""

    def make(kind='LV2'):
        ardour('ardour7-lua', LUA / 'make_midi_session.lua', ardour.session, 'mix')
        put_phrase(ardour.session)
        uid = ardour.install(bundles, 'band')
        ardour.add(f'{probe}:notes', 'LV2')
        ardour.add('urn:genaudio:band' if kind == 'LV2' else uid, kind)

    return make


def on(notes, until):
    return [(at, data) for at, data in notes if at < until]


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('kind', ['LV2', 'VST3'])
def test_the_band_plays_what_is_exported_and_follows_loop_jump_and_tempo(band, play, ardour, tmp_path, backend, kind):
    band(kind)
    (tmp_path / 'own.toml').write_text(PRESET)
    told = f"'{sys.executable}' -m bridge.cli plugin preset '{tmp_path / 'own.toml'}'"
    whole = 'take', *FROM_THE_BEGIN, ('until', 17 * BEAT), 'stop', 'taken'
    (first,) = play(backend, 'engine', ('set', 'Preset', 0), ('do', told), ('saved', 'Of its own'), *whole)
    again, loop, jump, tempo = play(
        backend,
        'engine', *whole,  # it was closed, and opened again
        'take', ('locate', 0), ('loop', 'on'), 'roll', ('until', 4 * BEAT), ('back', 4 * BEAT), ('until', 4 * BEAT),
        ('back', 4 * BEAT), ('until', BEAT), ('loop', 'off'), 'stop', 'taken',
        'take', *FROM_THE_BEGIN, ('until', 9 * BEAT), ('locate', JUMP), ('until', JUMP + BEAT), 'stop', 'taken',
        'take', *FROM_THE_BEGIN, ('until', BEAT), ('tempo', 60, 7 * BEAT), ('until', 11 * BEAT), 'stop', 'taken',
    )  # fmt: skip
    exported = ardour.probed_export()
    assert on(first.notes(), 16 * BEAT) == on(again.notes(), 16 * BEAT) == on(exported.notes(), 16 * BEAT)
    assert again.onsets()[0] == 8 * BEAT and len(again.onsets()) >= 8
    for take in (first, again, exported, loop, jump, tempo):
        assert not take.hung()

    passes = loop.passes()
    # On JACK Ardour goes back between two blocks, and tells the place that it has come to then.
    assert len(passes) >= 3 and passes[0].blocks[-1].end - 8 * BEAT == passes[1].blocks[0].place < 1024
    assert (passes[0].onsets() + passes[1].onsets())[0] % (8 * BEAT) == 0
    for before, after in pairwise(passes):
        begin = after.blocks[0]
        ended = {(data[0] & 15, data[1]) for at, data in begin.notes if at == 0 and data[0] >> 4 == 8}
        assert before.hung() <= ended

    before, after = jump.passes()
    # On JACK Ardour plays into the place, by a part of a block.
    begins = [block.place for block in after.blocks[: 2 if backend == 'JACK' else 1]]
    assert before.onsets()[0] == 8 * BEAT and JUMP in begins and begins[0] > JUMP - 1024
    assert before.hung() and not after.onsets()
    there = next(i for i, block in enumerate(jump.blocks) if block is after.blocks[0])
    assert not Take(jump.blocks[: there + 1], 0).hung()  # Ardour stops for a moment before it jumps

    # A beat is twice as long from the seventh on. Ardour tells a place in whole ticks, of 25 samples there.
    assert abs(tempo.onsets()[0] - 9 * BEAT) <= 25


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('kind', ['LV2', 'VST3'])
def test_the_stems_that_are_heard_are_those_that_are_exported(stems_session, play, ardour, probe, backend, kind):
    stems_session(kind, 6615)  # where it begins to play, Ardour fades in
    ardour.add(f'{probe}:sound', 'LV2', where='master')
    exported = read_audio(ardour.export('one'))
    n = exported.shape[1]
    once = 'take', *FROM_THE_BEGIN, ('until', n + 8192), 'stop', 'taken'
    for take in (*play(backend, 'engine', *once, *once, rate=44100), *play(backend, 'engine', *once, rate=44100)):
        heard = take.sound(n)
        assert np.array_equal(heard, exported)
