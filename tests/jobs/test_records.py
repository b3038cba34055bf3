"""Shards, side-cars and journals, whatever the names are and wherever they were cut off."""

import json
import string

from hypothesis import given
from hypothesis import strategies as st

from genaudio_core.jobs.items import Item, in_shard
from genaudio_core.jobs.journal import entries, failed_last, line_of
from genaudio_core.jobs.records import plain, read_record, record, side_car

NAMES = st.text(st.characters(exclude_characters='/\0', exclude_categories=()), min_size=1, max_size=300)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=6,
)  # fmt: skip


@given(st.text(min_size=1), st.integers(1, 20))
def test_every_item_is_in_exactly_one_shard(name, count):
    assert [in_shard(name, (i, count)) for i in range(1, count + 1)].count(True) == 1


@given(st.lists(st.text(string.ascii_letters, min_size=1), unique=True, min_size=1), st.integers(2, 9))
def test_a_longer_list_moves_none_to_another_shard(names, count):
    place = {name: next(i for i in range(1, count + 1) if in_shard(name, (i, count))) for name in names}
    assert all(in_shard(name, (shard, count)) for name, shard in place.items())


@given(st.dictionaries(st.text(), VALUES, max_size=4), st.text(min_size=1))
def test_what_is_written_into_a_side_car_is_read_back(asked, name):
    found = read_record(record(Item((name,), asked=asked), {'model': 'x'}, (), (), {name: 3}, told={'a': 1}))
    assert found is not None
    assert found['asked'] == {'model': 'x', **plain(asked)} and found['outputs'] == {name: 3}


@given(st.dictionaries(st.text(), VALUES, max_size=3), st.data())
def test_a_side_car_cut_off_anywhere_says_nothing(asked, data):
    whole = record(Item(('a',), asked=asked), {}, (), (), {'a': 3})
    assert read_record(whole[: data.draw(st.integers(0, len(whole) - 2))]) is None


@given(st.binary())
def test_bytes_of_any_kind_are_no_side_car(data):
    assert read_record(data) is None


@given(NAMES)
def test_side_cars_have_names_that_a_file_may_have(name):
    last = side_car('out', f'sub/{name}').split('sub/', 1)[1]
    assert len(last.encode('utf-8', 'surrogatepass')) <= 300 and last.endswith('.json')


STATES = st.lists(st.tuples(st.sampled_from(['a', 'b', 'c\n', '\ud800']), st.sampled_from(['done', 'failed'])))


@given(STATES, st.data())
def test_a_journal_cut_off_anywhere_says_what_its_whole_lines_say(states, data):
    lines = [line_of({'item': name, 'state': state}) for name, state in states]
    cut = data.draw(st.integers(0, sum(map(len, lines))))
    whole, kept = [], 0
    for (name, state), line in zip(states, lines, strict=True):
        kept += len(line)
        if kept - 1 <= cut:  # all but its end of line
            whole.append((name, state))
    found = [(entry['item'], entry['state']) for entry in entries(b''.join(lines)[:cut])]
    assert found == whole


@given(STATES)
def test_who_failed_last_is_who_has_not_been_done_since(states):
    half = len(states) // 2
    lines = [line_of({'item': name, 'state': state}) for name, state in states]
    journals = [b''.join(lines[:half]), b''.join(lines[half:])]
    assert failed_last(journals) == {name for name, state in dict(states).items() if state == 'failed'}


def test_damage_in_the_middle_of_a_journal_costs_its_own_line():
    lines = [line_of({'item': name}) for name in 'abc']
    assert [entry['item'] for entry in entries(lines[0] + lines[1][5:] + lines[2])] == ['a', 'c']


def test_a_line_of_a_journal_says_when():
    entry = json.loads(line_of({'item': 'a'}))
    assert entry['at'].endswith('Z') and entry['item'] == 'a'
