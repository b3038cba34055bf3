"""What a job does on other machines, as far as no cluster is needed for it; `test_ray.py` has a real one."""

import argparse
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_job import Toy, items, made, run

from bridge.commands.offline._many import EachFile
from bridge.commands.offline.separate import Separating
from genaudio_core import __version__
from genaudio_core.errors import GenaudioError
from genaudio_core.jobs.cluster import Cluster, places_in
from genaudio_core.jobs.machine import Carried, check_machine, put_down
from genaudio_core.jobs.work import Card, NotReady, close_tools, do_item


class WithModel(Toy):
    """Writes what is in a file of its own, too."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def open(self):
        return self.model.read_text()

    def files(self):
        return [self.model]

    def with_files(self, places):
        return WithModel(places[self.model])

    def asked(self, tools):
        return {'model': tools}


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A card of a job that another machine begins, with a model of the user's own that this one does not see."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    model = tmp_path / 'mine.onnx'
    model.write_text('weights')
    stage = tmp_path / 'o' / 'stage'
    stage.mkdir(parents=True)

    def card(asked='weights'):
        step = WithModel(model)
        carried = tuple(map(Carried.of, step.files()))
        return Card('run', str(tmp_path / 'o'), str(stage), step, {'model': asked}, carried=carried)

    yield card
    close_tools()


def test_a_model_goes_along_and_its_machine_need_not_have_it(there, tmp_path):
    card = there()
    (tmp_path / 'mine.onnx').unlink()
    (item,) = items('a')
    assert do_item(card, item).why is None and (tmp_path / 'o' / 'a').read_text() == 'aweights'


def test_what_came_along_lies_there_once_and_whole(there, tmp_path):
    (carried,) = there().carried
    path = put_down(carried)
    assert path.name == 'mine.onnx' and path.read_text() == 'weights'
    written = path.stat().st_mtime_ns
    assert put_down(carried) == path and path.stat().st_mtime_ns == written
    path.write_text('damaged')
    assert put_down(carried).read_text() == 'weights'


def test_a_machine_that_would_make_something_else_makes_nothing(there, tmp_path):
    (item,) = items('a')
    with pytest.raises(NotReady, match='other models'):
        do_item(there('other weights'), item)
    assert made(tmp_path / 'o') == []


@pytest.mark.parametrize(('version', 'sees', 'told'), [
    ('0.0', {}, r'has genaudio \d.*, and 0.0 is needed'),
    (__version__, {'/mnt/songs': '/mnt/songs/.not/there'}, r'does not see /mnt/songs, which all nodes must'),
])  # fmt: skip
def test_a_machine_with_another_genaudio_or_other_folders_begins_nothing(version, sees, told):
    with pytest.raises(GenaudioError, match=told):
        check_machine(version, sees)
    check_machine(__version__, {'here': __file__})


def test_without_ray_that_is_one_line_and_what_is_done_needs_none(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(GenaudioError, match=r"pip install 'genaudio\[ray\]'"):
        run(tmp_path, items('a'), cluster=Cluster('auto'))
    run(tmp_path, items('a'))
    assert run(tmp_path, items('a'), cluster=Cluster('auto')).already == 1


def test_where_no_cluster_answers_that_is_one_line(tmp_path):
    with pytest.raises(GenaudioError, match=r'^No Ray cluster answers at ray://127.0.0.1:1\. \(.*refused.*\)$'):
        run(tmp_path, items('c'), cluster=Cluster('ray://127.0.0.1:1'))


@pytest.mark.parametrize('address', ['', 'local', 'ray://', 'host', 'host:port', 'host:1/x', 'http://h:1', 'a b:1'])
def test_an_address_that_is_none_is_one_line(address):
    with pytest.raises(GenaudioError, match='is at auto, HOST:PORT or ray://HOST:PORT, not at'):
        Cluster(address)
    assert Cluster('[::1]:6379').address and Cluster('ray://head.example:10001').address


def node(cpus, gpus=0.0, alive=True):
    return {'Alive': alive, 'Resources': {'CPU': cpus, 'GPU': gpus, 'memory': 1e9}}


def test_a_task_has_all_it_needs_on_one_node():
    nodes = [node(8, 2), node(3), node(64, 8, alive=False), {'Alive': True}]
    assert places_in(nodes, Cluster('auto')) == 11
    assert places_in(nodes, Cluster('auto', cpus=2)) == 5
    assert places_in(nodes, Cluster('auto', gpus=1)) == 2
    assert places_in(nodes, Cluster('auto', cpus=6, gpus=0.5)) == 1
    assert places_in(nodes, Cluster('auto', cpus=16)) == 0


@given(st.lists(st.integers(0, 64)), st.sampled_from([0.5, 1.0, 2.0, 3.0]))
def test_the_places_never_need_more_than_there_is(cpus, each):
    count = places_in(map(node, cpus), Cluster('auto', cpus=each))
    assert count * each <= sum(cpus) < (count + len(cpus)) * each + 1e-9 or not cpus


def test_steps_of_commands_take_the_files_of_the_user_along_and_nothing_else(tmp_path):
    mine = tmp_path / 'mine.onnx'
    mine.write_text('x')
    args = argparse.Namespace(
        model=mine, example=[mine, tmp_path / 'gone'], input=[mine], out=tmp_path, words='mine.onnx'
    )
    step = EachFile('bridge.commands.offline.synth', args)
    assert step.files() == [mine]
    moved = step.with_files({mine: Path('/c/mine.onnx')}).args
    assert moved.model == moved.example[0] == Path('/c/mine.onnx') and moved.example[1] == tmp_path / 'gone'
    assert moved.input == [mine] and moved.words == 'mine.onnx' and args.model == mine
    step = Separating({'path': mine, 'sharpness': 1}, [1, 2], ['a', 'b'], residual=True)
    moved = step.with_files({mine: Path('/c/mine.onnx')})
    assert moved.files() == [Path('/c/mine.onnx')] and moved.names == step.names and moved.residual
    assert Separating({'path': None}, [], [], False).files() == []
