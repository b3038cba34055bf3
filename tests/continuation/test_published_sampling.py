"""``--published-sampling`` is MMT's own: rule by rule on logits that a test decides, and as commands."""

import json

import numpy as np
import pytest
import small_decoders
from tiny_data import make_data
from tiny_decoder import FakeBuffers, FakeDecoder

import genaudio_core.continuation.continuer as continuation
from bridge.cli import main
from genaudio_core.commands.cli import main as train
from genaudio_core.continuation.published import continue_as_published, draw_events, generate_as_published
from genaudio_core.errors import GenaudioError
from genaudio_core.music.events import encode
from genaudio_core.music.layouts import END_OF_SONG, INSTRUMENT, LIVE, MMT, NOTE
from genaudio_core.score.notes import Note, Score, Track
from genaudio_core.score.reading import read_midi, write_midi

KEPT = {'type': 1, 'beat': 26, 'position': 2, 'pitch': 13, 'duration': 4, 'instrument': 7}  # ceil(0.1 n) classes
OPENING = np.zeros((1, 6), np.int16)


@pytest.fixture
def no_weights(monkeypatch):
    monkeypatch.setattr(continuation, 'Buffers', FakeBuffers)


class Watched:
    """Random logits, remembered field by field in the order they were asked for."""

    def __init__(self, seed: int, **bias: np.ndarray):
        self.rng, self.bias, self.asked = np.random.default_rng(seed), bias, []

    def __call__(self, field, chosen):
        logits = self.rng.standard_normal(MMT.sizes[MMT.index(field)]) * 3 + self.bias.get(field, 0)
        self.asked.append((field, logits))
        return logits


TYPES = np.array([0.0, 4.0, 4.5, 9.0, -9.0])  # some instruments, the start of notes, many notes


@pytest.mark.usefixtures('no_weights')
@pytest.mark.parametrize('seed', range(8))
def test_every_class_is_drawn_from_the_published_set(seed):
    rule = Watched(seed, type=TYPES)
    made = draw_events(FakeDecoder(MMT, 1024, rule), OPENING, np.random.default_rng(seed), events=120)
    asked = iter(rule.asked)
    highest = {'type': 0, 'beat': 0}
    for row in made.tolist():
        fields = ['type', *({INSTRUMENT: ['instrument'], NOTE: list(MMT.fields[1:])}.get(row[0], []))]
        for name in fields:
            field, logits = next(asked)
            assert field == name
            lowest = max(highest.get(name, 0), 1)  # what is undefined, and what would go back, is forbidden
            logits = np.where(np.arange(len(logits)) < lowest, -np.inf, logits)
            likeliest = np.argsort(-logits, kind='stable')[: KEPT[name]]
            code = row[MMT.index(name)]
            assert code in likeliest and np.isfinite(logits[code]), name
            if name == 'type':
                assert code == logits.argmax()  # greedy
            if name in highest:
                highest[name] = max(highest[name], code)
        assert all(row[MMT.index(name)] == 0 for name in MMT.fields if name not in fields and name != 'type')
    assert next(asked, None) is None or made[-1, 0] != END_OF_SONG


@pytest.mark.usefixtures('no_weights')
def test_positions_may_go_back_rests_have_no_limit_and_the_header_locks_nobody_in():
    bias = -0.2 * np.arange(257)
    made = draw_events(
        FakeDecoder(MMT, 1024, Watched(3, type=TYPES, beat=bias)), OPENING, np.random.default_rng(3), events=400
    )
    notes = made[made[:, 0] == NOTE].astype(int)
    beat, position = notes[:, 1], notes[:, 2]
    assert (np.diff(beat) >= 0).all()
    assert ((np.diff(beat) == 0) & (np.diff(position) < 0)).any()
    assert np.diff(beat).max() > 4  # ours rests for four beats at most
    assert set(notes[:, 5]) - set(made[made[:, 0] == INSTRUMENT, 5].tolist())


@pytest.mark.usefixtures('no_weights')
def test_a_past_longer_than_the_context_loses_its_front():
    made = draw_events(
        FakeDecoder(MMT, 16, Watched(1, type=TYPES)), OPENING, np.random.default_rng(1), events=40
    )  # fmt: skip
    assert len(made) == 40


@pytest.mark.usefixtures('no_weights')
def test_instrument_informed_begins_with_the_header_of_the_instruments():
    rule = Watched(2, type=np.array([0, 0, 0, 50.0, -50]), beat=-2.0 * np.arange(257))
    made = generate_as_published(FakeDecoder(MMT, 256, rule), 8, instruments=['violin', 'cello'], seed=1)
    assert made.notes > 0 and made.score.end <= 8 and made.score.tempos[0].tempo == 100
    assert [name for name, _ in rule.asked[:6]] == list(MMT.fields)  # a note at once: the header was given


@pytest.mark.usefixtures('no_weights')
def test_a_continuation_may_begin_in_the_beat_of_the_last_note_and_what_was_given_stays():
    given = Score([Track(0, True, notes=[Note(0, 1, 36)]), Track(40, notes=[Note(4.5, 0.5, 62), Note(7.5, 2, 60)])])
    rule = Watched(5, type=np.array([0, 0, 0, 50.0, -50]), beat=-2.0 * np.arange(257))
    made = continue_as_published(FakeDecoder(MMT, 256, rule), given, 4, seed=3)
    assert made.start == 7.0 and made.notes > 0
    assert [track.notes[: len(old.notes)] for track, old in zip(made.score.tracks, given.tracks, strict=False)] == [
        track.notes for track in given.tracks
    ]
    new = [note for track in made.score.tracks for note in track.notes if note not in (*given.tracks[1].notes,
           *given.tracks[0].notes)]  # fmt: skip
    assert min(note.beat for note in new) < 10 and max(note.beat + note.duration for note in new) <= 14


@pytest.mark.usefixtures('no_weights')
def test_what_the_published_layout_cannot_do_is_said():
    fake = FakeDecoder(MMT, 256, Watched(0))
    with pytest.raises(GenaudioError, match='neither drums'):
        continue_as_published(fake, Score([Track(0, True, notes=[Note(0, 1, 36)])]), 4)
    with pytest.raises(GenaudioError, match='ends at 256'):
        continue_as_published(fake, Score([Track(0, notes=[Note(0, 1, 60), Note(300, 1, 60)])]), 4)
    with pytest.raises(GenaudioError, match="layout 'live'"):
        generate_as_published(FakeDecoder(LIVE, 256), 4)


def test_generate_and_continue_take_published_sampling(phrase, tmp_path, capsys):
    model = str(small_decoders.file('mmt'))
    write_midi(phrase, tmp_path / 'in.mid')
    for argv in (['generate', '--instruments', 'violin,cello'], ['continue', str(tmp_path / 'in.mid')]):
        out = tmp_path / f'{argv[0]}.mid'
        command = [*argv, '--model', model, '-o', str(out), '--beats', '8', '--seed', '2', '--published-sampling']
        assert main([*command, '--json']) == 0
        result = json.loads(capsys.readouterr().out)
        assert result['notes_out'] >= 0 and out.is_file()
        first = out.read_bytes()
        assert main(command) == 0 and out.read_bytes() == first  # by seed
        capsys.readouterr()
    kept = read_midi(tmp_path / 'continue.mid')
    assert encode(phrase, MMT, end=False).tolist()[0] == [0] * 6 and kept.n_notes >= phrase.n_notes


@pytest.mark.parametrize(
    'argv, said',
    [
        (['generate', '--top-p', '0.9'], 'leave --top-p out'),
        (['generate', '--meter', '3/4', '--key', 'D minor'], 'leave --key, --meter out'),
        (['continue', '{in}', '--instruments', 'violin'], 'leave --instruments out'),
    ],
)
def test_options_of_ours_are_refused_beside_published_sampling(argv, said, phrase, tmp_path, capsys):
    write_midi(phrase, tmp_path / 'in.mid')
    argv = [str(tmp_path / 'in.mid') if word == '{in}' else word for word in argv]
    assert main([*argv, '-o', str(tmp_path / 'o.mid'), '--published-sampling']) == 2
    assert said in capsys.readouterr().err and not (tmp_path / 'o.mid').exists()


def test_published_sampling_of_a_live_model_is_refused(tmp_path, capsys):
    argv = ['generate', '-o', str(tmp_path / 'o.mid'), '--model', str(small_decoders.file('live'))]
    assert main([*argv, '--published-sampling']) == 2
    assert "for models of the layout 'mmt'" in capsys.readouterr().err


def test_evaluate_saves_its_samples_with_the_instrument_informed_set(tmp_path, capsys):
    data = make_data(tmp_path / 'data.safetensors', 4, bars=20)
    options = ['--data', str(data), '--samples', '1', '--pieces', '1', '--length', '40', '--given', '8', '--beats', '4']
    command = ['evaluate', str(small_decoders.file('mmt')), *options, '--published-sampling', '--json']
    assert train([*command, '--save', str(tmp_path / 'kept')]) == 0
    report = json.loads(capsys.readouterr().out)
    sets = ('truth', 'unconditional', 'instrument_informed', 'continuation')
    for name in sets:
        assert [path.name for path in sorted((tmp_path / 'kept' / name).iterdir())] == ['001.mid']
        assert report[name]['pieces'] == 1
    truth = read_midi(tmp_path / 'kept' / 'truth' / '001.mid')
    assert truth.n_notes == report['truth']['notes'] > 0
    assert truth.instruments == ['electric-bass', 'violin']
    (tmp_path / 'file').write_text('x')
    assert train([*command, '--save', str(tmp_path / 'file')]) == 2
    assert 'Cannot make the folder' in capsys.readouterr().err
