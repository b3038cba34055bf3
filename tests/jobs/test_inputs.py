"""Which files a command line means."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaudio_core.errors import GenaudioError
from genaudio_core.files import names_apart
from genaudio_core.jobs.inputs import find_inputs, is_many


@pytest.fixture
def songs(tmp_path, monkeypatch):
    for name in ('a.wav', 'b.FLAC', 'live/a.wav', 'live/notes.txt', '.hidden.wav', '.git/c.wav', 'stems/a.x.wav'):
        (tmp_path / 'songs' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'songs' / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'songs'


def names(*words, out=None):
    return [one.name for one in find_inputs(words, ['.wav', '.flac'], out)]


def test_a_folder_is_what_lies_in_it_and_keeps_its_order_but_not_where_the_stems_go(songs):
    assert names('songs', out='songs/stems') == ['a', 'b', 'live/a']
    assert names('songs') == ['a', 'b', 'live/a', 'stems/a.x']
    assert [one.place for one in find_inputs(['songs/live'], ['.wav'])] == ['songs/live/a.wav']


def test_patterns_and_lists(songs, tmp_path):
    assert names('songs/*.wav') == ['a'] and names('songs/**/a.wav') == ['a', 'live/a']
    (tmp_path / 'list.txt').write_text('songs/a.wav\n\nsongs/live/a.wav\n')
    assert names('@list.txt') == ['a', 'a-2']
    (tmp_path / 'zero.txt').write_bytes(b'songs/a.wav\0new\nline.wav\0')
    assert names('@zero.txt') == ['a', 'new\nline']
    (songs / '[x].wav').touch()
    assert names('songs/[x].wav') == ['[x]']  # a file of that name is no pattern


def test_each_file_is_meant_once_and_has_a_name_of_its_own(songs):
    assert names('songs/a.wav', 'songs/live/a.wav', 'songs/a.wav', 'songs/live') == ['a', 'a-2']
    assert names('songs/a.wav', 'elsewhere/A.wav', 'a-2.wav') == ['a', 'A-2', 'a-2-2']


@pytest.mark.parametrize(('word', 'told'), [
    ('songs/.git/none*', 'nothing of this name'), ('empty', 'no .flac, .wav file'), ('@none.txt', 'no list'),
    ('@songs', 'folder, not a list'),
])  # fmt: skip
def test_what_holds_nothing_is_told(songs, tmp_path, word, told):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(GenaudioError, match=told):
        names(word)


def test_a_single_file_is_no_job(songs):
    assert not is_many(['songs/a.wav']) and not is_many(['not-there.wav'])
    assert is_many(['songs']) and is_many(['songs/*']) and is_many(['a', 'b']) and is_many(['s3://bucket/a.wav'])
    os.rename('songs/a.wav', 'songs/a*.wav')
    assert not is_many(['songs/a*.wav'])


LIKE = st.lists(st.sampled_from(['a', 'A', 'a-2', 'a-2-2', 'b']))


@given(LIKE, LIKE)
def test_names_are_apart_also_from_those_that_are_taken_and_the_first_keeps_its_own(given_names, taken):
    found = names_apart(given_names, taken)
    there = {name.casefold() for name in taken}
    assert len({name.casefold() for name in found} - there) == len(found)
    assert all(name.casefold().startswith(old.casefold()) for name, old in zip(found, given_names, strict=True))
    assert found[:1] == given_names[:1] or given_names[0].casefold() in there


def test_a_hundred_thousand_of_one_name_are_apart_at_once():
    assert names_apart(['take'] * 100_000)[-1] == 'take-100000'
