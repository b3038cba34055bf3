import numpy as np
import pytest
from audio_blocks import RATE, Core, slow_sine
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from stream_models import music

from bridge.audio.callback import total_latency
from bridge.settings.mix import Mix
from bridge.settings.stem_knobs import port_name, port_names
from bridge.stems.audio_host import first_margin
from bridge.stems.line_commands import LineCommands
from bridge.stems.words import Words
from genaudio_core.errors import GenaudioError


@given(st.integers(1, 600), st.sampled_from([128, 256]), st.integers(0, 300))
def test_latency_is_enough_at_the_worst_alignment_and_no_more(block, hop, margin):
    """A worker that finishes within its block is never late, and one sample less would be."""
    latency = total_latency(block, hop, margin)
    slack = [
        # What was handed over before block k makes this many finished samples; block k wants up to its own end.
        (k * block // hop) * hop - hop - ((k + 1) * block - latency)
        for k in range(hop // np.gcd(block, hop) + 1)
    ]
    assert min(slack) == margin


@pytest.fixture
def made():
    cores = []

    def make(**options):
        cores.append(Core(**options))
        return cores[-1]

    yield make
    for core in cores:
        core.close()


@pytest.mark.parametrize(('block', 'hop'), [(256, 256), (64, 256), (512, 256), (480, 256), (100, 128)])
def test_results_come_at_the_stated_latency(made, block, hop):
    one = made(block=block, hop=hop)
    x = music(0.5)[:, : 40 * block]
    out = np.concatenate([one.block_through(x[:, i : i + block]) for i in range(0, x.shape[1], block)], -1)
    latency, settled = one.core.latency, one.core.latency + 2 * RATE // 100
    assert_allclose(out[:2, settled:], 10 * x[:, settled - latency : -latency], atol=1e-6)
    assert_allclose(out[2:, settled:], -x[:, settled - latency : -latency], atol=1e-6)
    assert one.core.counts.underruns == 0


def test_late_results_give_the_dry_signal_in_place_and_no_jump(made):
    one = made()
    x = slow_sine(200 * 256)
    out = []
    for k in range(200):
        if k == 130:
            one.skip()
        out.append(one.block_through(x[:, k * 256 : (k + 1) * 256], work=not 60 <= k < 130))
    out, latency = np.concatenate(out, -1), one.core.latency
    dry = np.concatenate([np.zeros((2, latency), np.float32), x[:, :-latency]], -1)
    missing = slice(63 * 256 + RATE // 100, 130 * 256)
    assert_allclose(out[:2, missing], dry[:, missing], atol=1e-6)
    assert_allclose(out[:2, 140 * 256 :], 10 * dry[:, 140 * 256 :], atol=1e-6)
    assert one.core.counts.underruns > 60 and one.core.counts.fades == 1
    # The level falls by a factor of ten within 4 ms; a cut would jump by up to 0.45.
    assert np.abs(np.diff(out[:2, 20 * 256 :])).max() < 0.02


def test_bypass_is_dry_and_smooth(made):
    one = made()
    x = slow_sine(120 * 256)
    out = []
    for k in range(120):
        one.core.bypass = 40 <= k < 80
        out.append(one.block_through(x[:, k * 256 : (k + 1) * 256]))
    out = np.concatenate(out, -1)
    dry = x[:, : -one.core.latency]
    during = slice(44 * 256, 80 * 256)
    latency = one.core.latency
    assert_allclose(out[:2, during], dry[:, during.start - latency : during.stop - latency], atol=1e-6)
    assert np.abs(np.diff(out[:2, 20 * 256 :])).max() < 0.02
    assert one.core.counts.underruns == 0


def test_another_block_size_or_margin_changes_the_delay_without_a_jump(made):
    one = made()
    x = slow_sine(200 * 256)
    out, at = [], 0
    while at + 512 <= x.shape[1]:
        if at == 60 * 256:
            one.core.set_timing(512, 256)
        size = one.core.block
        out.append(one.block_through(x[:, at : at + size]))
        at += size
    out = np.concatenate(out, -1)
    n, latency = out.shape[1], one.core.latency
    assert latency == total_latency(512, 256, 256)
    end = slice(100 * 256, n)
    assert_allclose(out[2:, end], -x[:, end.start - latency : n - latency], atol=1e-6)
    assert np.abs(np.diff(out[2:, 20 * 256 :])).max() < 0.003


@given(st.sampled_from([64, 200, 256, 512]), st.lists(st.booleans(), min_size=30, max_size=60))
def test_one_run_tells_what_every_margin_would_have_missed(block, works):
    def run(margin):
        one = Core(block, margin=margin)
        for k, work in enumerate([True] * (4096 // block) + works):
            if k == 4096 // block:
                one.core.needed[:] = one.core.counts.underruns = 0
            one.block_through(np.zeros((2, block), np.float32), work)
        one.close()
        return one.core.counts.underruns, one.core.needed

    _, needed = run(0)
    assert needed.sum() == len(works)
    for hops in range(4):
        assert run(256 * hops)[0] == needed[hops + 1 :].sum()


def test_the_margin_begins_at_one_hop_unless_it_is_pinned():
    assert first_margin(None, 256, RATE) == 256 and first_margin(0.0, 256, RATE) == 0
    assert first_margin(2.5, 256, RATE) == 120


# --- words and lines -------------------------------------------------------------------------------------------------


def test_words_of_the_card_come_first_and_an_empty_query_is_told():
    words = Words({'drums': [1.0, 2.0]}, 2)
    assert_allclose(words.vector(' Drums '), [1, 2, 0])
    assert words.knows('no drums') and not words.knows('no gong')
    assert_allclose(words.vector('everything but drums'), [0.4472136, 0.8944272, 1])
    with pytest.raises(GenaudioError, match='The query is empty'):
        words.vector('  ')


def test_port_names_are_distinct_and_plain():
    assert port_names(['electric bass', 'drums', 'drums!']) == ['electric_bass', 'drums', 'drums_2', 'rest', 'monitor']
    assert port_name('«»') == 'stem'


class FakeHost:
    def __init__(self):
        self.mixes, self.models, self.queries = [], [], []
        self.spec = type('Spec', (), {'queries': np.zeros((2, 3), np.float32)})()
        self.core = type('Core', (), {'bypass': False})()
        self.set_mix, self.set_model, self.set_queries = self.mixes.append, self.models.append, self.queries.append

    def status(self):
        return {'latency_ms': 10.666, 'underruns': 0}


def test_lines_change_what_is_heard():
    host = FakeHost()
    controls = LineCommands(host, Words({'bass': [3.0, 4.0]}, 2), ['drums', 'lead vocals'], Mix.of(2))
    for line in ('gain 1 -6', 'gain lead vocals 3', 'mute 2', 'solo drums', 'rest -12', 'wet 0.5'):
        controls.obey(line)
    assert host.mixes[-1] == Mix((-6.0, 3.0), -12.0, frozenset({1}), frozenset({0}), 0.5)
    controls.obey('mute 2')
    assert host.mixes[-1].mute == frozenset()
    assert controls.obey('query 1 bass') == 'stem 1 is now bass'
    assert_allclose(host.queries[-1], [[3, 4, 0], [0, 0, 0]])
    assert controls.obey('query 1 no bass') == 'stem 1 is now no bass'
    assert_allclose(host.queries[-1], [[0.6, 0.8, 1], [0, 0, 0]])
    controls.obey('query 1 bass')
    assert controls.names == ['bass', 'lead vocals']
    assert controls.obey('bypass') == 'bypass on' and host.core.bypass
    assert controls.obey('status') == 'latency_ms 10.7, underruns 0'
    controls.obey('quit')
    assert controls.ended


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('gain drumz 3', "no stem 'drumz'. Did you mean 'drums'"),
        ('gain drums loud', 'gain.drums must be a number from -200 to 24 dB'),
        ('jump', "unknown command 'jump'"),
        ('wet 7', 'wet must be a number from 0 to 1, not 7'),
        ('query 9 bass', "no stem '9'"),
    ],
)
def test_lines_that_make_no_sense_change_nothing(line, message):
    host = FakeHost()
    controls = LineCommands(host, Words({}, 2), ['drums', 'bass'], Mix.of(2))
    with pytest.raises(GenaudioError, match=message):
        controls.obey(line)
    assert controls.mix == Mix.of(2) and not host.mixes and not host.queries
