"""The plug-ins (LV2, VST3) in Ardour without a sound card: what is exported, twice."""

import numpy as np
import pytest
from ardour_sessions import BEAT, LUA, put_phrase

from bridge.stems.isolate import model_path
from genaudio_core.separation.streaming import MaskNetwork, StreamingSeparator
from genaudio_core.sound.audio_files import read_audio

pytestmark = pytest.mark.slow


@pytest.mark.parametrize('kind', ['LV2', 'VST3'])
def test_two_exports_are_alike_and_are_the_streaming_engines_stem(ardour, stems_session, kind):
    sound = stems_session(kind)
    one, two = (read_audio(ardour.export(name)) for name in ('one', 'two'))
    assert np.array_equal(one, two)
    network = MaskNetwork.load(model_path(None))
    assert np.abs(one - first_stem(network, sound)).max() < 1e-6


def first_stem(network, sound, turn=1 << 30):
    """The first stem by the library, without delay: drums, and piano from sample `turn` on, if it comes to that."""
    words = network.words('drums', 'bass', 'vocals', 'guitar')
    separator = StreamingSeparator(network, words, 44100)
    padded = np.concatenate([sound, np.zeros((2, separator.latency), np.float32)], -1)
    first = separator.separate(padded[:, :turn])
    separator.set_queries(np.concatenate([network.words('piano'), words[1:]]))
    rest = separator.separate(padded[:, turn:])
    return np.concatenate([first, rest], -1)[0][:, separator.latency :]


BLOCK = 8192  # the largest with which Ardour exports; automation steps between two


@pytest.mark.parametrize('kind', ['LV2', 'VST3'])
def test_a_query_and_a_gain_are_automated(ardour, stems_session, kind):
    sound = stems_session(kind)
    query, gain = 20000, 50000  # samples
    for name, at, before, after in (('Stem 1 query', query, 1, 5), ('Stem 1 gain', gain, 0, -60)):
        step = (str(at / 44100), str(before), str(after))
        told = ardour('ardour7-lua', '--', LUA / 'automate.lua', ardour.session, 'mix', name, *step)
        assert f'automated {name}' in told.replace('\t', ' ')
    one, two = (read_audio(ardour.export(name)) for name in ('one', 'two'))
    assert np.array_equal(one, two)
    network = MaskNetwork.load(model_path(None))
    hop = StreamingSeparator(network, network.words('drums'), 44100).hop
    turns = range((query - BLOCK) // hop * hop, query + BLOCK, hop)
    heard, until = one[:, : gain - BLOCK], gain - BLOCK
    off = {turn: np.abs(heard - first_stem(network, sound, turn)[:, :until]).max() for turn in turns}
    assert min(off.values()) < 1e-6 < off[turns[0]], off
    assert np.abs(one[:, until:gain]).max() > 1e-3 and not one[:, gain + BLOCK :].any()


SYNTH = 'https://community.ardour.org/node/7596'  # comes with Ardour: sounds from the frame of its note on


@pytest.mark.parametrize('kind', ['LV2', 'VST3'])
def test_the_band_answers_on_ardours_bar_line_in_two_exports_alike(ardour, bundles, kind):
    ardour('ardour7-lua', LUA / 'make_midi_session.lua', ardour.session, 'mix')
    put_phrase(ardour.session)
    uid = ardour.install(bundles, 'band')
    ardour.add(SYNTH, 'LV2')
    ardour.add('urn:genaudio:band' if kind == 'LV2' else uid, kind)  # it comes before the synthesizer
    one, two = (read_audio(ardour.export(name)) for name in ('one', 'two'))
    assert np.array_equal(one, two)
    sounds = np.flatnonzero(np.abs(one).max(0))
    assert len(sounds) > BEAT and abs(int(sounds[0]) - 8 * BEAT) <= 1
