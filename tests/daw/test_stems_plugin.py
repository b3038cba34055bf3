"""*genaudio stems* in hosts: what comes out is what the streaming engine makes of it, a constant latency later."""

import os
import time

import numpy as np
import pytest
from engines import engine_that_hangs, kill_engine

from bridge.stems.isolate import model_path
from genaudio_core.separation.streaming import MaskNetwork, StreamingSeparator

WORDS = ('drums', 'bass', 'vocals', 'guitar')
BLOCKS = {'one': '1', '64': '64', '441': '441', '512': '512', '8192': '8192', 'mixed': '1,700,64,8192,13,512'}


@pytest.fixture(scope='module')
def network():
    return MaskNetwork.load(model_path(None))


def stems_of(network, sound, rate, words=WORDS):
    """The stems (4, 2, n) by the library, without delay."""
    engine = StreamingSeparator(network, network.words(*words), rate)
    padded = np.concatenate([sound, np.zeros((2, engine.latency), np.float32)], -1)
    return engine.separate(padded)[:, :, engine.latency :]


def outputs_of(network, sound, rate, latency):
    """What all twelve outputs should be, with everything up: monitor, stems, rest."""
    stems = stems_of(network, sound, rate)
    pairs = [sound, *stems, sound - stems.sum(0)]
    return np.concatenate([np.pad(pair, ((0, 0), (latency, 0)))[:, : sound.shape[1]] for pair in pairs])


@pytest.fixture
def vst3(bundles, engine):
    pedalboard = pytest.importorskip('pedalboard')
    return lambda: pedalboard.load_plugin(str(bundles / 'genaudio-stems.vst3'))  # it goes before the engine does


@pytest.mark.parametrize('rate', [44100, 48000, 96000])
def test_a_render_of_each_soloed_stem_is_the_streaming_engines_to_the_sample(vst3, network, music, rate):
    sound, vst3 = music(rate), vst3()
    want = stems_of(network, sound, rate)
    assert np.abs(vst3(sound, rate, buffer_size=512) - sound).max() < 1e-6  # all up: the input
    for i in range(4):
        setattr(vst3, f'stem_{i + 1}_solo', True)
        assert np.abs(vst3(sound, rate, buffer_size=512) - want[i]).max() <= 1e-6
        setattr(vst3, f'stem_{i + 1}_solo', False)


@pytest.mark.parametrize(('rate', 'latency'), [(44100, 2048), (48000, 2048), (88200, 4096), (96000, 4096)])
def test_a_render_is_the_same_in_blocks_of_any_size(clap_host, bundles, network, music, rate, latency):
    sound = np.concatenate([music(rate, 0.6), np.zeros((2, latency), np.float32)], -1)
    host = clap_host()
    assert host('create', bundles / 'genaudio-stems.clap') == 'genaudio.stems 6'
    assert host('render', 1) == 'ok'
    found = {}
    for name, blocks in BLOCKS.items():
        assert host('activate', rate, 1024) == 'ok'
        assert host('latency') == str(latency)
        host.feed(sound)
        host('run', sound.shape[1], blocks)
        found[name] = host.heard()
        assert host('deactivate') == 'ok'
    assert host('restarts') == '0'  # the latency has not changed
    want = outputs_of(network, sound, rate, latency)
    for name, heard in found.items():
        assert np.abs(heard - want).max() <= 1e-6, name
        assert (heard[2:10] == found['512'][2:10]).all(), name


def test_in_real_time_it_plays_what_a_render_does(clap_host, bundles, network, music):
    """At a quarter of the speed, so that no deadline is missed on a busy machine."""
    sound = music(48000, 0.5)
    host = clap_host()
    host('create', bundles / 'genaudio-stems.clap')
    host('activate', 48000, 512)
    host.wait_for_engine()
    host.feed(sound)
    want = outputs_of(network, sound, 48000, 2048)
    missed = 0.0
    for _ in range(5):
        host('rewind')
        host('play', 0)
        host('play', 1)
        host('seek', 0)
        host('run', 24000, '512,64,441', 0.25)
        before, missed = missed, float(host('get', host.parameters()['Missed blocks']))
        heard = host.heard()
        if missed == before:
            break
        host('deactivate')
        host('activate', 48000, 512)
    assert missed == before
    assert np.abs(heard - want).max() < 1e-6


def test_the_process_call_makes_no_system_call_and_takes_no_lock_or_memory(clap_host, bundles, music):
    host = clap_host()
    host('create', bundles / 'genaudio-stems.clap')
    host('activate', 48000, 512)
    host.wait_for_engine()
    host.feed(music(48000, 1.0))
    host('run', 4800, 512, 1)
    host('rewind')
    host('play', 1)
    host('set', host.parameters()['Stem 1 gain'], -6)
    host('set', host.parameters()['Stem 2 query'], 5)
    assert host('trap', 24000, '512,64,1') == '0 -1 0 0'


def test_without_an_engine_it_plays_the_delayed_input_and_counts(clap_host, bundles, music, engine):
    (engine / 'engine.json').write_text('{}\n')
    host, sound = clap_host(), music(48000, 0.5)
    host('create', bundles / 'genaudio-stems.clap')
    host('activate', 48000, 512)
    host.feed(sound)
    host('run', 24000, 512)
    heard = host.heard()
    assert (heard[:2, 2048:] == sound[:, : 24000 - 2048]).all()
    assert (heard[2:10] == 0).all() and (heard[10:] == heard[:2]).all()
    assert float(host('get', host.parameters()['Missed blocks'])) >= 24000 // 512 - 5
    host.wait_until_said('genaudio plugin install')


def test_a_killed_engine_leaves_the_input_without_a_click_and_comes_back(clap_host, bundles, engine):
    host, heard = clap_host(), []
    host('create', bundles / 'genaudio-stems.clap')
    host('activate', 48000, 512)
    host('set', host.parameters()['Stem 3 solo'], 1)  # another sound than the input
    t = np.arange(48000) / 48000
    sound = (0.5 * np.sin(2 * np.pi * 100 * t + np.array([[0.0], [np.pi / 2]]))).astype(np.float32)
    host.feed(sound)
    record = (engine / 'engine.json').read_text()
    for wet in (True, False, True):  # where the host renders, it waits for every hop, however busy the machine is
        host('render', int(wet))
        (engine / 'engine.json').write_text(record if wet else '{}\n')  # it may not be back before it was heard
        if wet:
            host.wait_for_engine()
        else:
            kill_engine()
        begin = host.position
        host('run', 9600, 512, 1)
        heard.append(host.heard())
        dry = sound[:, begin + 4800 - 2048 : begin + 9600 - 2048]
        assert (np.abs(heard[-1][:2, 4800:] - dry).max() > 0.2) == wet  # a step that would be heard
        assert wet or (heard[-1][:2, 4800:] == dry).all()
    assert np.abs(np.diff(np.concatenate(heard, -1)[:, 4096:])).max() < 0.02  # the sine's own steps are 0.0065


def test_a_render_waits_for_an_engine_that_hangs_for_a_while_and_goes_on_dry(clap_host, bundles, music, engine):
    host, sound = clap_host(), music(48000, 0.5)
    host('create', bundles / 'genaudio-stems.clap')
    host('render', 1)
    host('activate', 48000, 8192)
    host.wait_for_engine()
    host.feed(sound)
    with engine_that_hangs(120):
        host('run', 24000, 8000)
        assert 'did not answer while rendering: dry' in host.said
    heard, latency = host.heard(), int(host('latency'))
    assert (heard[:2, latency:] == sound[:, : 24000 - latency]).all() and not heard[2:10].any()


def test_a_host_that_renders_and_does_not_say_so_is_waited_for(clap_host, bundles, network, music):
    host, sound = clap_host(), music(48000, 3.0)
    host('create', bundles / 'genaudio-stems.clap')
    host('activate', 48000, 512)
    host.wait_for_engine()
    host.feed(sound)
    host('run', 2 * 48000 + 24000, 480)  # in the first seconds nobody can know
    missed = host.missed
    host('run', 24000, 480)
    assert host.missed == missed


def test_a_session_that_is_saved_and_opened_again_is_the_same(clap_host, bundles, network, music, tmp_path):
    sound = music(48000, 0.4)

    def play(host):
        host('render', 1)
        host('activate', 48000, 512)
        host.feed(sound)
        host('run', sound.shape[1], 512)
        host('deactivate')
        return host.heard()

    first = clap_host()
    first('create', bundles / 'genaudio-stems.clap')
    numbers = first.parameters()
    for name, value in {'Stem 1 query': 19, 'Stem 2 gain': -9, 'Stem 3 mute': 1, 'Wet': 0.8}.items():
        first('set', numbers[name], value)
    before = play(first)
    assert first('save', tmp_path / 'state') == 'ok'
    second = clap_host()
    second('create', bundles / 'genaudio-stems.clap')
    assert second('load', tmp_path / 'state') == 'ok'
    assert (play(second) == before).all()
    assert f'"hash": "{network.card.sha256}"'.encode() in (tmp_path / 'state').read_bytes()


def test_after_a_jump_the_same_music_becomes_the_same_stems(clap_host, bundles, network, music):
    sound = music(48000, 0.5)
    host = clap_host()
    host('create', bundles / 'genaudio-stems.clap')
    host('render', 1)
    host('activate', 48000, 512)
    host('play', 1)
    host.feed(np.concatenate([sound, sound, np.zeros((2, 4096), np.float32)], -1))
    host('run', 24000, 512)
    host('seek', 0)  # a loop
    host('run', 24000, 441)
    host('play', 0)
    host('run', 4096, 512)
    heard = host.heard()[:, 2048:]
    want = outputs_of(network, sound, 48000, 0)
    assert np.abs(heard[:, :24000] - want).max() < 1e-6
    assert np.abs(heard[:, 24000:48000] - want).max() < 1e-6


def test_music_that_comes_before_the_host_says_that_it_plays_is_one_piece(clap_host, bundles, network, music):
    """Ardour plays a track ahead by the latency of its plug-ins."""
    sound = music(48000, 0.4)
    host = clap_host()
    host('create', bundles / 'genaudio-stems.clap')
    host('render', 1)
    host('activate', 48000, 512)
    host.feed(np.concatenate([np.zeros((2, 9000), np.float32), sound, np.zeros((2, 4096), np.float32)], -1))
    host('run', 9000 + 2048, 512)
    host('play', 1)
    host('run', sound.shape[1], 512)
    heard = host.heard()[:, 9000 + 2048 :]
    assert np.abs(heard - outputs_of(network, sound, 48000, 0)).max() < 1e-6


def test_a_level_moves_where_the_host_says_and_a_query_with_it(clap_host, bundles, network, music):
    sound = music(48000, 0.5)
    host = clap_host()
    host('create', bundles / 'genaudio-stems.clap')
    host('render', 1)
    host('activate', 48000, 512)
    host.feed(np.pad(sound, ((0, 0), (0, 4096))))
    numbers = host.parameters()
    host('run', 12288, 512)
    host('set', numbers['Stem 1 query'], 5)
    host('set', numbers['Wet'], 0)
    host('run', 24000 - 12288 + 2048, 512)
    heard = host.heard()[:, 2048:]
    engine = StreamingSeparator(network, network.words(*WORDS), 48000)
    first = engine.separate(sound[:, :12288])
    engine.set_queries(network.words('piano', *WORDS[1:]))
    stems = np.concatenate([first, engine.separate(np.pad(sound[:, 12288:], ((0, 0), (0, 512))))], -1)[:, :, 512:]
    assert np.abs(heard[2:10] - stems.reshape(8, -1)).max() < 1e-6
    assert (heard[:2, 12288 + 64 :] == sound[:, 12288 + 64 :]).all()


def test_the_monitor_is_what_gains_mutes_solos_and_wet_say(clap_host, bundles, network, music):
    sound, host = music(48000, 0.3), clap_host()
    stems = stems_of(network, sound, 48000)
    rest = sound - stems.sum(0)
    host('create', bundles / 'genaudio-stems.clap')
    host('render', 1)
    numbers = host.parameters()

    def monitor(**values):
        for name, value in values.items():
            host('set', numbers[name.replace('_', ' ')], value)
        host('activate', 48000, 512)
        host.feed(np.pad(sound, ((0, 0), (0, 2048))))
        host('run', sound.shape[1] + 2048, 512)
        host('deactivate')
        for name in values:
            host('set', numbers[name.replace('_', ' ')], float(name == 'Wet'))
        return host.heard()[:2, 2048:]

    def db(level):
        return 10 ** (level / 20)

    for heard, want in (
        (monitor(Stem_2_gain=-9, Rest_gain=3), sound + (db(-9) - 1) * stems[1] + (db(3) - 1) * rest),
        (monitor(Stem_3_mute=1, Stem_4_gain=-60), sound - stems[2] - stems[3]),
        (monitor(Rest_mute=1, Wet=0.75), 0.75 * stems.sum(0) + 0.25 * sound),
        (monitor(Rest_solo=1), rest),
        (monitor(Stem_1_solo=1, Rest_solo=1, Stem_2_solo=1, Stem_2_mute=1), stems[0] + rest),
        (monitor(), sound),
    ):
        assert np.abs(heard - want).max() < 2e-6


def test_bypass_is_the_input_as_late_as_everything_else(clap_host, bundles, network, music):
    sound, host = music(48000, 0.5), clap_host()
    host('create', bundles / 'genaudio-stems.clap')
    host('render', 1)
    host('activate', 48000, 512)
    numbers = host.parameters()
    host('set', numbers['Stem 1 solo'], 1)
    host('set', numbers['Bypass'], 1)
    host.feed(np.pad(sound, ((0, 0), (0, 2048))))
    host('run', 12288, 512)
    host('set', numbers['Bypass'], 0)
    host('run', 24000 + 2048 - 12288, 512)
    heard = host.heard()[:, 2048:]
    assert (heard[:2, :12288] == sound[:, :12288]).all() and (heard[10:, :12288] == sound[:, :12288]).all()
    assert not heard[2:10, :12288].any()
    want = stems_of(network, sound, 48000)[0]
    assert np.abs(heard[:2, 12288 + 64 :] - want[:, 12288 + 64 :]).max() < 1e-6


def test_what_is_no_number_goes_no_further(clap_host, bundles, music):
    sound, host = music(48000, 0.3), clap_host()
    clean = sound.copy()
    for at, value in ((3000, np.nan), (7000, np.inf), (7001, -np.inf)):
        sound[:, at], clean[:, at] = value, 0
    host('create', bundles / 'genaudio-stems.clap')
    host('render', 1)
    host('activate', 48000, 512)
    host.feed(np.pad(sound, ((0, 0), (0, 2048))))
    host('run', sound.shape[1] + 2048, 512)
    heard = host.heard()[:, 2048:]
    assert np.isfinite(heard).all() and np.abs(heard[:2] - clean).max() < 1e-6


def test_parameters_keep_their_numbers_and_queries_their_places(clap_host, bundles):
    """Sessions and automation of hosts hold them."""
    host = clap_host()
    host('create', bundles / 'genaudio-stems.clap')
    names = ['Bypass', 'Wet', 'Rest gain', 'Rest mute', 'Rest solo']
    names += [f'Stem {i} {what}' for i in range(1, 5) for what in ('query', 'gain', 'mute', 'solo')]
    names += ['Engine', 'Missed blocks']
    numbers = host.parameters()
    assert {name: numbers[name] - numbers['Bypass'] for name in names} == {name: i for i, name in enumerate(names)}
    for stem in range(1, 5):
        assert host.texts(numbers[f'Stem {stem} query']) == [
            'own words', 'drums', 'bass', 'vocals', 'guitar', 'piano', 'electric guitar', 'acoustic guitar', 'strings',
            'brass', 'organ', 'synth', 'synth bass', 'electric piano', 'kick drum', 'snare drum', 'hi-hat', 'cymbals',
            'hand percussion', 'violin', 'cello', 'trumpet', 'saxophone', 'flute', 'choir',
        ]  # fmt: skip


def test_words_of_ones_own_are_heard_and_kept(clap_host, bundles, network, music, tmp_path):
    from bridge.cli import main
    from bridge.stems.words import Words

    text, sound, host = '0.7 violin + 0.3 flute', music(48000, 0.3), clap_host()
    host('create', bundles / 'genaudio-stems.clap')
    number = host.parameters()['Stem 2 query']
    host('activate', 48000, 512)
    host.wait_for_engine()
    assert main(['plugin', 'query', text, '--stem', '2']) == 0
    until = time.monotonic() + 20
    while text.encode() not in (tmp_path / 'state').read_bytes() if host('save', tmp_path / 'state') == 'ok' else True:
        assert time.monotonic() < until
        time.sleep(0.02)
    host('deactivate')
    host('render', 1)
    host('activate', 48000, 512)
    host('set', number, 0)
    host.feed(np.pad(sound, ((0, 0), (0, 2048))))
    host('run', sound.shape[1] + 2048, 512)
    vectors = network.words(*WORDS)
    vectors[1] = Words(network.card.details['words'], network.query_dim).vector(text)[:-1]
    engine = StreamingSeparator(network, vectors, 48000)
    want = engine.separate(np.pad(sound, ((0, 0), (0, engine.latency))))[:, :, engine.latency :]
    heard = host.heard()
    assert np.abs(heard[2:10, 2048:] - want.reshape(8, -1)).max() < 1e-6
    other = clap_host()
    other('create', bundles / 'genaudio-stems.clap')
    host('save', tmp_path / 'state')
    assert other('load', tmp_path / 'state') == 'ok'
    other('render', 1)
    other('activate', 48000, 512)
    other.feed(np.pad(sound, ((0, 0), (0, 2048))))
    other('run', sound.shape[1] + 2048, 512)
    assert (other.heard() == heard).all()


def test_an_engine_of_another_protocol_is_refused_with_a_line(clap_host, bundles, music, engine, monkeypatch):
    from bridge.daw import server

    monkeypatch.setattr(server, 'PROTOCOL', 99)
    other = server.Server(lambda line: None)
    try:
        host = clap_host()
        host('create', bundles / 'genaudio-stems.clap')
        host('activate', 48000, 512)
        host.wait_until_said('protocol 99')
        assert 'genaudio plugin install' in host.said
        host.feed(music(48000, 0.2))
        host('run', 9600, 512)
        assert np.abs(host.heard()[:2]).max() > 0
        host('destroy')
    finally:
        other.close()


def test_two_at_once_and_many_in_turn_leave_nothing(clap_host, bundles, engine):
    def counts():
        return (
            # Not the servers of tests beside us.
            [name for name in os.listdir('/dev/shm') if 'genaudio' in name and not name.startswith('jack')],
            len(os.listdir(f'/proc/{host.process.pid}/fd')),
            len(list(engine.glob('*'))),
        )

    host, other = clap_host(), clap_host()
    for one in (host, other):
        one('create', bundles / 'genaudio-stems.clap')
        one('activate', 48000, 512)
    host.wait_for_engine()
    other.wait_for_engine()
    other('destroy')
    host('destroy')
    before = counts()
    for _ in range(100):
        host('create', bundles / 'genaudio-stems.clap')
        host('activate', 48000, 512)
        host('destroy')
    assert counts() == before
