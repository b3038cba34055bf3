"""The one training loop: what it keeps back for its end, how it is stopped, and the run folders of older versions."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch')
from safetensors.torch import load_file, save_file  # noqa: E402

from genaudio_core.errors import GenaudioError  # noqa: E402
from genaudio_core.models.query_encoder import TextTable  # noqa: E402
from genaudio_core.training.loops import loop, time_limit  # noqa: E402
from genaudio_core.training.loops.average import Average  # noqa: E402
from genaudio_core.training.loops.loop import Trainee, train  # noqa: E402
from genaudio_core.training.loops.optimizers import Optimizers  # noqa: E402
from genaudio_core.training.loops.time_limit import TimeLimit  # noqa: E402
from genaudio_core.training.queries import text_encoder  # noqa: E402
from genaudio_core.training.queries.space import QuerySpace, unit  # noqa: E402
from genaudio_core.training.sounds.lexicon import NAMES  # noqa: E402


def trainee(*, seen=None, validate=lambda network: {}, averaged=True, **more) -> Trainee:
    """A layer that learns to sum; what a step draws comes from its number."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 4)

    def batch(step, rank):
        if seen is not None:
            seen(step)
        return torch.from_numpy(np.random.default_rng(step).standard_normal((3, 4)).astype(np.float32))

    def loss(x):
        return (model(x) - x.sum(1, keepdim=True)).square().mean(), len(x), {'size': x.abs().mean()}

    return Trainee(
        model, {}, {'a': 1}, batch, loss, validate, lambda step, share: 1e-2, Optimizers(model),
        average=Average(model) if averaged else None, **more,
    )  # fmt: skip


def weights(folder: Path) -> dict:
    return load_file(folder / 'best.safetensors')


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Clock:
    """Stands for the module time."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_the_last_validation_and_save_are_within_the_minutes(tmp_path, monkeypatch):
    """A step takes a second and the end ten: of 60 s, 50 are trained at most, however long the loading took."""
    clock = Clock()
    for module in (time_limit, loop):
        monkeypatch.setattr(module, 'time', clock)
    limit = TimeLimit(1, began=92.0)  # eight seconds were spent on loading

    def seen(step):
        clock.now += 1

    def validate(network):
        clock.now += 10
        return {}

    done = train(trainee(seen=seen, validate=validate), tmp_path, limit)
    # One validation at half of the time, to learn how long it takes, and the last.
    assert clock.now == 92 + 60 and done['step'] == 60 - 8 - 2 * 10
    assert len((tmp_path / 'log.csv').read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ('a_step', 'a_validation', 'after', 'ends', 'validations'),
    [
        (1, 10, 0, 60, 2),
        (25, 10, 0, 60, 1),  # a third step would end in time, its validation would not
        (1, 10, 20, 40, 1),  # somebody measures something when training is over
        (1, 40, 0, 70, 1),  # too long for the time: it is not done twice
    ],
)
def test_a_run_ends_when_it_says(tmp_path, monkeypatch, a_step, a_validation, after, ends, validations):
    clock, done = Clock(), []
    for module in (time_limit, loop):
        monkeypatch.setattr(module, 'time', clock)

    def seen(step):
        clock.now += a_step

    def validate(network):
        clock.now += a_validation
        done.append(clock.now)
        return {}

    train(trainee(seen=seen, validate=validate), tmp_path, TimeLimit(1, after=after))
    assert (clock.now - 100, len(done)) == (ends, validations)


@pytest.mark.parametrize(
    ('loading', 'a_step', 'a_part', 'averaged', 'ends', 'steps', 'told'),
    [
        (0, 1, 1, True, 60, 40, ''),  # nothing is late
        (0, 1, 20, True, 50 + 20, 30, 'no time was left'),  # broken off between two of its ten parts
        (0, 1, 20, False, 50 + 20, 30, 'no time was left'),
        (
            0,
            90,
            1,
            True,
            90,
            1,
            '30 s over --minutes: one step is always taken, and it took 90 s',
        ),  # and no validation is begun
        (70, 2, 1, False, 72, 1, 'took 2 s, after 70 s of loading'),
        (0, 64, 2, True, 64 + 2, 1, 'no time was left'),
    ],
)
def test_no_validation_makes_a_run_late(
    tmp_path, monkeypatch, capsys, loading, a_step, a_part, averaged, ends, steps, told
):
    """One of ten parts, each `a_part` seconds, is broken off as soon as it is five seconds late."""
    clock = Clock()
    for module in (time_limit, loop):
        monkeypatch.setattr(module, 'time', clock)

    def seen(step):
        clock.now += a_step

    def validate(network):
        for _ in range(10):
            network(torch.zeros(1, 4))
            clock.now += a_part
        return {'loss': 1.0}

    task = trainee(seen=seen, validate=validate, averaged=averaged)
    done = train(task, tmp_path, TimeLimit(1, began=100.0 - loading))
    assert (clock.now - 100 + loading, done['step']) == (ends, steps)
    assert told in capsys.readouterr().err
    assert (tmp_path / 'best.safetensors').exists()  # the only weights that there are
    assert train(trainee(validate=validate, averaged=averaged), tmp_path, TimeLimit(), steps=steps + 1)['loss'] > 0


def test_a_validation_that_cannot_end_in_time_is_not_begun(tmp_path, monkeypatch, capsys):
    clock, begun = Clock(), []
    for module in (time_limit, loop):
        monkeypatch.setattr(module, 'time', clock)

    def seen(step):
        clock.now += 16 if step == 30 else 1

    def validate(network):
        begun.append(clock.now)
        clock.now += 10
        return {}

    train(trainee(seen=seen, validate=validate), tmp_path, TimeLimit(1))
    assert (begun, clock.now) == ([130.0], 156.0)  # after a step as no other, four seconds are left
    assert 'no time was left' in capsys.readouterr().err


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_after_the_step_that_it_came_in(tmp_path, number):
    before = signal.getsignal(number)
    task = trainee(seen=lambda step: os.kill(os.getpid(), number) if step == 2 else None)
    assert train(task, tmp_path / 'parts', TimeLimit())['step'] == 3
    assert signal.getsignal(number) is before
    train(trainee(), tmp_path / 'parts', TimeLimit(), steps=6)
    train(trainee(), tmp_path / 'whole', TimeLimit(), steps=6)
    assert same(weights(tmp_path / 'parts'), weights(tmp_path / 'whole'))


def test_a_second_ctrl_c_is_meant(tmp_path):
    def seen(step):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(trainee(seen=seen), tmp_path, TimeLimit())


def test_means_of_a_row_outlive_a_stop(tmp_path, monkeypatch):
    """Killed between two rows of the log: what was summed up until the last save counts in the next row."""
    monkeypatch.setattr(loop, 'SAVE_S', -1.0)  # a save after each step

    class Killed(BaseException):
        pass

    def seen(step):
        if step == 2:
            raise Killed

    with pytest.raises(Killed):
        train(trainee(seen=seen), tmp_path / 'parts', TimeLimit())
    assert not (tmp_path / 'parts' / 'log.csv').exists()
    parts = train(trainee(), tmp_path / 'parts', TimeLimit(), steps=4)
    whole = train(trainee(), tmp_path / 'whole', TimeLimit(), steps=4)
    assert (parts['loss'], parts['size']) == (whole['loss'], whole['size'])


def stop_at(folder: Path, steps: int = 3) -> dict:
    """Make a run of today and take its save away."""
    train(trainee(), folder, TimeLimit(), steps=steps)
    state = torch.load(folder / 'last.optimizer', weights_only=True)
    for name in ('last.optimizer', 'last.safetensors', 'best.safetensors', 'config.json', 'log.csv'):
        (folder / name).unlink()
    return state


def old_separator(folder: Path, state: dict) -> None:
    torch.save({'model': state['weights'], 'average': state['average'], 'optimiser': state['optimizers'],
                'step': state['step'], 'spent': 7.0}, folder / 'last.pt')  # fmt: skip


def old_encoder(folder: Path, state: dict) -> None:
    (optimiser,) = state['optimizers'][:1]
    torch.save({'model': state['weights'], 'average': state['average'], 'optimiser': optimiser,
                'step': state['step']}, folder / 'audio-last.pt')  # fmt: skip


def old_averaged(folder: Path, state: dict, inside: bool = True) -> None:
    both = {f'model.{name}': value for name, value in state['weights'].items()}
    both |= {f'average.{name}': value for name, value in state['average'].items()}
    both['step'] = torch.tensor(state['step'])
    old = {'step': state['step'], 'optimizers': state['optimizers']}
    torch.save(old | ({'weights': both} if inside else {}), folder / 'last.optimizer')
    save_file({name: value.contiguous() for name, value in both.items()}, folder / 'last.safetensors')
    (folder / 'config.json').write_text('{"a": 1}')


def older_averaged(folder: Path, state: dict) -> None:
    old_averaged(folder, state, inside=False)


@pytest.mark.parametrize('write', [old_separator, old_averaged, older_averaged])
def test_a_run_of_an_older_version_goes_on_bit_for_bit(tmp_path, write):
    train(trainee(), tmp_path / 'whole', TimeLimit(), steps=6)
    write(tmp_path / 'old', stop_at(tmp_path / 'old'))
    done = train(trainee(), tmp_path / 'old', TimeLimit(), steps=6)
    assert same(weights(tmp_path / 'whole'), weights(tmp_path / 'old'))
    assert done['minutes'] >= (7 if write is old_separator else 0)
    assert {'config.json', 'log.csv', 'last.optimizer', 'last.safetensors', 'best.safetensors'} <= {
        path.name for path in (tmp_path / 'old').iterdir()
    }


def test_an_old_run_with_one_optimizer_and_one_of_several_networks_are_read(tmp_path):
    from genaudio_core.training.loops.old_layouts import old_settings, old_state

    state = stop_at(tmp_path / 'one')
    old_encoder(tmp_path / 'one', state)
    found = old_state(tmp_path / 'one', 'cpu')
    assert found is not None and len(found['optimizers']) == 1 and same(found['average'], state['average'])
    ways = {way: {'model': state['weights'], 'average': state['average'], 'optimiser': state['optimizers']}
            for way in ('text', 'nit')}  # fmt: skip
    (tmp_path / 'several').mkdir()
    torch.save({'plan': {'ways': ['text', 'nit'], 'seed': 4}, 'step': 3, **ways}, tmp_path / 'several' / 'last.pt')
    found = old_state(tmp_path / 'several', 'cpu')
    assert found is not None and set(found['weights']) == {f'{way}.{n}' for way in ways for n in state['weights']}
    assert len(found['optimizers']) == 2 * len(state['optimizers'])
    assert old_settings(tmp_path / 'several')['seed'] == 4


def test_a_save_of_two_steps_is_refused(tmp_path):
    older_averaged(tmp_path / 'old', stop_at(tmp_path / 'old') | {'step': 9})
    both = load_file(tmp_path / 'old' / 'last.safetensors')
    save_file(both | {'step': torch.tensor(3)}, tmp_path / 'old' / 'last.safetensors')
    with pytest.raises(GenaudioError, match='cut off while saving'):
        train(trainee(), tmp_path / 'old', TimeLimit(), steps=6)


@pytest.mark.skipif(os.name == 'nt', reason='nothing is locked on Windows')
def test_two_do_not_train_in_one_folder(tmp_path):
    """The second would go on from the last save, and both would save over each other's steps."""
    refused = []

    def another(step):
        with pytest.raises(GenaudioError, match='Another process is training') as error:
            train(trainee(), tmp_path, TimeLimit(), steps=9)
        refused.append(error)

    assert train(trainee(seen=another), tmp_path, TimeLimit(), steps=2)['step'] == 2
    assert len(refused) == 2 and train(trainee(), tmp_path, TimeLimit(), steps=3)['step'] == 3


def test_a_log_keeps_the_columns_it_began_with(tmp_path):
    tmp_path.joinpath('log.csv').write_text('step,loss,gone\n3,1.5,2\n')
    train(trainee(), tmp_path, TimeLimit(), steps=2)
    head, old, new = tmp_path.joinpath('log.csv').read_text().splitlines()
    assert head == 'step,loss,gone' and old == '3,1.5,2'
    assert new.startswith('2,') and new.endswith(',') and new.count(',') == 2


def test_the_text_encoder_goes_on_exactly_and_learns(tmp_path, monkeypatch):
    def teacher(words):
        return unit(np.random.default_rng(2).standard_normal((len(words), 384))).astype(np.float32)

    monkeypatch.setattr(text_encoder, 'encode_with_teacher', teacher)
    monkeypatch.setattr(text_encoder, 'teacher_words', lambda: ['house', 'tree', 'banana'])
    monkeypatch.setattr(text_encoder, 'TextTable', lambda config: TextTable(type(config)(buckets=2048)))
    rng = np.random.default_rng(1)
    concepts = unit(rng.standard_normal((len(NAMES), 128))).astype(np.float32)
    space = QuerySpace(np.zeros(384), rng.standard_normal((384, 128)), concepts, NAMES)

    def run(name, limit):
        return text_encoder.train_text(space, [], tmp_path / name, limit, steps=12, batch=16)

    whole = run('whole', TimeLimit())
    assert whole['step'] == 12 and whole['loss'] > 0
    assert run('parts', TimeLimit(1e-9))['step'] == 1
    assert run('parts', TimeLimit())['step'] == 12
    assert same(weights(tmp_path / 'whole'), weights(tmp_path / 'parts'))
