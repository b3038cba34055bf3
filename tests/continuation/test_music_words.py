import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaudio_core.continuation.description import _ENSEMBLES, DEFAULT_INSTRUMENTS, understand
from genaudio_core.errors import GenaudioError
from genaudio_core.score.instruments import DRUMS, INSTRUMENTS


@pytest.mark.parametrize('players', _ENSEMBLES.values())
def test_every_ensemble_is_of_real_instruments(players):
    assert all(name in (*INSTRUMENTS, DRUMS) for name in players)


def test_a_jazz_trio_without_its_drummer():
    plan = understand('A slow jazz trio in D minor, no drums')
    assert plan.instruments == ('piano', 'bass') and plan.tempo == 66 and plan.key == 'D minor'
    assert plan.controls().pitch_classes == {2, 4, 5, 7, 9, 10, 0} and not plan.missed


@pytest.mark.parametrize(
    ('text', 'instruments', 'tempo', 'key', 'meter'),
    [
        ('Dramatic orchestral news theme.', ('strings', 'horn', 'flute', 'timpani'), 120, 'A minor', (4, 4)),
        ('120 bpm waltz for harp', ('harp',), 120, '', (3, 4)),
        ('B flat major brass quintet', None, 100, 'Bb major', (4, 4)),
        ('fast french horn and cello, F# dorian', ('horn', 'cello'), 144, 'F# dorian', (4, 4)),
        ('a blues for solo guitar', ('steel-string-guitar', 'electric-guitar', 'piano', 'electric-bass', DRUMS), 100,
         'A blues', (4, 4)),
        ('fast, then 90 bpm', DEFAULT_INSTRUMENTS, 90, '', (4, 4)), ('', DEFAULT_INSTRUMENTS, 100, '', (4, 4)),
        ('piano in 6/8', ('piano',), 100, '', (6, 8)),
    ],
)  # fmt: skip
def test_descriptions(text, instruments, tempo, key, meter):
    plan = understand(text)
    assert (plan.tempo, plan.key, plan.meter) == (tempo, key, meter)
    assert instruments is None or plan.instruments == instruments


def test_mood_moves_density_and_loudness():
    calm, wild = understand('calm gentle piano'), understand('wild, intense, busy piano')
    assert calm.density < 0 < wild.density and calm.loudness < 1 < wild.loudness and wild.temperature > 1


def test_what_is_not_understood_is_said():
    plan = understand('wobbly gamelan with piano')
    assert plan.missed == ('wobbly', 'gamelan') and 'not understood: wobbly, gamelan' in plan.describe()


@pytest.mark.parametrize('text', ['piano but no piano', 'piano at 999 bpm', 'piano in 13/17'])
def test_what_cannot_be(text):
    with pytest.raises(GenaudioError):
        understand(text)


WORDS = ['no', 'slow', 'jazz', 'piano', 'drums', 'and', '3/4', 'd minor']


@given(st.text(max_size=60), st.lists(st.sampled_from(WORDS)))
def test_any_words(text, words):
    try:
        plan = understand(f'{text} {" ".join(words)}')
    except GenaudioError:
        return
    plan.controls()
    assert 1 <= len(plan.instruments) <= 8 and 20 <= plan.tempo <= 400
