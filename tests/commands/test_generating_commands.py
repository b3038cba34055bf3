"""`continue`, `generate`, `arrange`, `accompany`, `infill` as a person runs them, over a real exported decoder."""

import json
import os
from pathlib import Path

import mido
import pytest
import small_decoders

from bridge.cli import main
from genaudio_core.score.notes import Note, Score, Track
from genaudio_core.score.reading import read_midi, write_midi


@pytest.fixture(scope='module')
def model() -> str:
    return str(small_decoders.file('live'))


@pytest.fixture
def phrase_file(phrase, tmp_path):
    write_midi(phrase, tmp_path / 'in.mid')
    return tmp_path / 'in.mid'


def run(capsys, *argv: str) -> tuple[int, str, str]:
    code = main(list(argv))
    out, err = capsys.readouterr()
    return code, out, err


def test_continue_prints_one_json_object_and_repeats_by_seed(capsys, model, phrase_file, tmp_path):
    files = []
    for name in ('a.mid', 'b.mid'):
        out = tmp_path / name
        code, text, _ = run(capsys, 'continue', str(phrase_file), '-o', str(out), '--beats', '8', '--seed', '1',
                            '--model', model, '--json', '--picture', str(tmp_path / 'roll.png'))  # fmt: skip
        assert code == 0
        result = json.loads(text)
        assert {'notes_in', 'notes_out', 'beats', 'seconds', 'model', 'out'} <= set(result)
        assert result['notes_in'] == 64 and result['beats'] == 8 and result['notes_out'] > 0
        files.append(out.read_bytes())
    assert files[0] == files[1]
    assert (tmp_path / 'roll.png').read_bytes()[:4] == b'\x89PNG'
    given, made = read_midi(phrase_file), read_midi(tmp_path / 'a.mid')
    for before, after in zip(given.tracks, made.tracks, strict=False):
        assert [note for note in after.notes if note.beat < 16] == before.notes


def test_the_input_keeps_its_controllers_and_names(capsys, model, tmp_path):
    midi = mido.MidiFile(ticks_per_beat=96)
    bend = mido.Message('pitchwheel', channel=3, pitch=1000, time=10)
    pedal = mido.Message('control_change', channel=3, control=64, value=127, time=0)
    midi.tracks.append(mido.MidiTrack([
        mido.MetaMessage('track_name', name='Solo'), mido.MetaMessage('key_signature', key='Eb'),
        mido.Message('note_on', channel=3, note=70), pedal, bend,
        mido.Message('note_off', channel=3, note=70, time=86), mido.MetaMessage('marker', text='A', time=5),
    ]))  # fmt: skip
    midi.save(tmp_path / 'in.mid')
    assert run(capsys, 'continue', str(tmp_path / 'in.mid'), '-o', str(tmp_path / 'o.mid'), '--model', model)[0] == 0
    made = read_midi(tmp_path / 'o.mid')
    solo = made.tracks[0]
    assert (solo.name, solo.channel) == ('Solo', 3)
    assert [(round(beat * 96), message.type) for beat, message in solo.others] == [
        (0, 'control_change'), (10, 'pitchwheel')]  # fmt: skip
    assert {message.type for _, message in made.others} == {'key_signature', 'marker'}


def test_generate_arrange_accompany_infill(capsys, model, phrase_file, tmp_path):
    jobs = {
        'generate': ['--instruments', 'church organ,viola,contrabass', '--beats', '8'],
        'arrange': [str(phrase_file), '--instruments', 'violin, viola,cello'],
        'accompany': [str(phrase_file), '--instruments', 'flute', '--density', '1'],  # random weights rest a lot
        'infill': [str(phrase_file), '--bars', '2-3', '--candidates', '2'],
    }
    for name, arguments in jobs.items():
        outs = []
        for take in range(2):
            out = tmp_path / f'{name}{take}.mid'
            which = 'arranger' if name == 'arrange' else model
            code, text, err = run(capsys, name, *arguments, '-o', str(out), '--model', which, '--seed', '7', '--json')
            assert code == 0, err
            assert json.loads(text)['notes_out'] > 0
            outs.append(out.read_bytes())
        assert outs[0] == outs[1], name


@pytest.mark.parametrize('command', ['continue', 'accompany', 'infill'])
def test_what_was_cued_and_played_by_rule_is_told_and_the_free_model_plays_without(
    capsys, model, phrase_file, tmp_path, command
):
    words = [str(phrase_file), '-o', str(tmp_path / 'o.mid'), '--model', model, '--json',
             *{'continue': ['--beats', '8'], 'accompany': ['--instruments', 'flute,drums'],
               'infill': ['--bars', '2', '--candidates', '1']}[command]]  # fmt: skip
    code, text, err = run(capsys, command, *words)
    assert code == 0, err
    told = json.loads(text)
    assert 0 <= told['by_rule'] <= told['cued'] <= 1
    if command == 'accompany':
        made = read_midi(tmp_path / 'o.mid')
        assert {'flute', 'drums'} <= set(made.instruments)
    if command in ('accompany', 'infill'):
        assert run(capsys, command, *words, '--chords', 'C F')[0] == 0
        code, _, err = run(capsys, command, *words, '--chords', 'C F', '--free')
        assert code == 2
        assert 'leave out --chords, or --free' in err
    code, text, _ = run(capsys, command, *words, '--free')
    assert code == 0
    assert 'by_rule' not in json.loads(text)


def test_several_takes_in_one_call(capsys, model, phrase_file, tmp_path):
    code, text, _ = run(capsys, 'continue', str(phrase_file), '-o', str(tmp_path / 'o.mid'), '--takes', '3',
                        '--beats', '4', '--model', model, '--json')  # fmt: skip
    assert code == 0
    outs = json.loads(text)['out']
    assert [path.rsplit('/', 1)[1] for path in outs] == ['o-1.mid', 'o-2.mid', 'o-3.mid']
    assert len({Path(path).read_bytes() for path in outs}) == 3


@pytest.mark.parametrize(('command', 'more'), [
    ('continue', ['--beats', '4', '--takes', '2']), ('accompany', ['--instruments', 'flute']),
])  # fmt: skip
def test_many_files_are_a_job_and_each_is_what_it_is_alone(capsys, model, phrase_file, tmp_path, command, more):
    songs = tmp_path / 'songs'
    (songs / 'live').mkdir(parents=True)
    phrase_file.rename(songs / 'live' / 'a.mid')
    (songs / 'bad.mid').write_bytes(b'hello')
    words = [command, str(songs), '-o', str(tmp_path / 'o'), '--model', model, '--seed', '3', *more, '--json']
    code, text, err = run(capsys, *words)
    assert code == 1 and err.count('\n') == 2 and 'skipped: ' in err and '1 of 2' in err
    told = json.loads(text)
    assert (told['done'], told['already_done'], told['skipped']) == (1, 0, [str(songs / 'bad.mid')])
    outs = told['files'][0]['out'] if '--takes' in more else [told['files'][0]['out']]
    assert [Path(out).parent for out in outs] == [tmp_path / 'o' / 'live'] * len(outs)
    (songs / 'bad.mid').unlink()
    code, text, _ = run(capsys, *words, '--workers', '1')
    assert code == 0 and json.loads(text)['already_done'] == 1
    assert json.loads(text)['files'][0]['out'] == told['files'][0]['out']
    run(
        capsys,
        command,
        str(songs / 'live' / 'a.mid'),
        '-o',
        str(tmp_path / 'a.mid'),
        '--model',
        model,
        '--seed',
        '3',
        *more,
    )
    alone = sorted(path for path in tmp_path.glob('a*.mid'))
    assert [path.read_bytes() for path in alone] == [Path(out).read_bytes() for out in outs]


def test_takes_that_workers_make_are_those_of_one_process(capsys, model, tmp_path):
    words = ['generate', '--beats', '4', '--takes', '3', '--model', model, '--seed', '5', '--json']
    assert run(capsys, *words, '-o', str(tmp_path / 'a' / 'x.mid'))[0] == 2
    (tmp_path / 'a').mkdir()
    assert run(capsys, *words, '-o', str(tmp_path / 'a' / 'x.mid'))[0] == 0
    code, text, err = run(capsys, *words, '-o', str(tmp_path / 'b' / 'x.mid'), '--workers', '2')
    assert code == 0, err
    assert json.loads(text)['done'] == 3
    for name in ('x-1.mid', 'x-2.mid', 'x-3.mid'):
        assert (tmp_path / 'a' / name).read_bytes() == (tmp_path / 'b' / name).read_bytes()


@pytest.mark.parametrize(
    ('arguments', 'told'),
    [
        (['continue', '{no}', '-o', '{o}'], 'not a MIDI file'),
        (['continue', '{cut}', '-o', '{o}'], 'truncated'),  # in its header: nothing of it can be read
        (['continue', '{empty}', '-o', '{o}'], 'is empty'),
        (['continue', '{silent}', '-o', '{o}'], 'no note to continue'),
        (['continue', '{in}', '-o', '{o}', '--instruments', 'vialin'], "Did you mean 'violin'"),
        (['continue', '{in}', '-o', '{o}', '--beats', '0'], '--beats'),
        (['continue', '{in}', '-o', '/proc/x/out.mid'], 'Cannot write'),
        (['continue', '{in}', '-o', '{o}', '--model', 'lvie'], 'No bundled model'),
        (['continue', '{in}', '-o', '{o}', '--key', 'H moll'], 'is not a key'),
        (['generate', '-o', '{o}', '--meter', '4/5'], 'Unknown meter'),
        (['arrange', '{in}', '-o', '{o}', '--instruments', ' , '], 'No instrument named'),
        (['infill', '{in}', '-o', '{o}', '--bars', '90-95'], 'within the piece'),
    ],
)
def test_bad_input_is_one_clear_line_and_writes_nothing(capsys, model, phrase_file, tmp_path, arguments, told):
    (tmp_path / 'no.mid').write_bytes(b'hello')
    (tmp_path / 'cut.mid').write_bytes(phrase_file.read_bytes()[:20])
    (tmp_path / 'empty.mid').write_bytes(b'')
    write_midi(Score([Track()]), tmp_path / 'silent.mid')
    names = {key: str(tmp_path / f'{key}.mid') for key in ('no', 'cut', 'empty', 'silent', 'in', 'o')}
    arguments = [argument.format(**names) for argument in arguments]
    if '--model' not in arguments:
        arguments += ['--model', model]
    before = {path.name for path in tmp_path.iterdir()}
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert told in err and err.count('\n') == 1 and 'Traceback' not in err
    assert out == ''
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize('how', ['same', 'link', 'take'])
def test_a_model_is_not_written_over(capsys, model, phrase_file, tmp_path, how):
    target = tmp_path / 'model.mid'  # a model may be called anything
    read = tmp_path / 'model-2.mid' if how == 'take' else target
    read.write_bytes(Path(model).read_bytes())
    if how == 'link':
        target = tmp_path / 'link.mid'
        target.symlink_to(read)
    words = ['continue', str(phrase_file), '-o', str(target), '--model', str(read)]
    code, out, err = run(capsys, *words, *(['--takes', '3'] if how == 'take' else []))
    assert code == 2 and out == '' and err.count('\n') == 1
    assert 'the input itself' in err and '(-o)' in err
    assert read.read_bytes() == Path(model).read_bytes()


COMMANDS = {
    'continue': ['continue', '{in}', '-o', '{o}'],
    'generate': ['generate', '-o', '{o}'],
    'accompany': ['accompany', '{in}', '-o', '{o}', '--instruments', 'flute'],
    'infill': ['infill', '{in}', '-o', '{o}', '--bars', '2'],
    'arrange': ['arrange', '{in}', '-o', '{o}', '--instruments', 'violin,cello'],
}
SAMPLING = ('continue', 'generate', 'accompany', 'infill')
NUMBERS = [
    (COMMANDS, '--seed', ('-1', '1e99', 'nan', '1.5', '9' * 30, 'x', '')),
    (COMMANDS, '--threads', ('-3', '0', 'inf', '99999', '2.5')),
    (COMMANDS, '--temperature', ('nan', '-1', 'inf', '-inf', '1e99')),
    (SAMPLING, '--temperature', ('0', '1e-320')),
    (SAMPLING, '--top-p', ('nan', '0', '1.1', '-inf')),
    (SAMPLING, '--top-k', ('-1', '1e99', 'nan')),
    (SAMPLING, '--min-p', ('nan', '1', '-0.1')),
    (SAMPLING, '--density', ('nan', 'inf', '-inf', '1e308', '-1e3')),
    (SAMPLING, '--lowest', ('-1', '128', 'nan', 'C4')),
    (SAMPLING, '--highest', ('-1', '128', 'inf')),
    (('continue', 'generate'), '--beats', ('inf', 'nan', '0', '-0.0', '-1', '-1e9', '1e9', 'x')),
    (('continue', 'generate'), '--takes', ('0', '-1', '1e9', '1.5', 'nan')),
    (('generate',), '--tempo', ('0', 'nan', 'inf', '-120', '1e9')),
    (('generate',), '--meter', ('0/4', '4/0', '3/-4', 'nan', '3/4/4')),
    (('infill',), '--bars', ('0', '-1', '3-2', '2-999999999', '999999999', '9' * 5000, 'nan', '1e3')),
    (('infill',), '--candidates', ('0', '-1', 'nan', '1e9')),
]


@pytest.mark.parametrize(
    ('command', 'option', 'value'),
    [(command, option, value) for commands, option, values in NUMBERS for command in commands for value in values],
)
def test_a_number_that_makes_no_sense_is_one_line(capsys, phrase_file, tmp_path, command, option, value):
    places = {'in': str(phrase_file), 'o': str(tmp_path / 'o.mid')}
    code, out, err = run(capsys, *(word.format(**places) for word in COMMANDS[command]), option, value)
    assert code == 2 and out == ''
    assert option in err or 'meter' in err
    assert err.count('\n') == 1 and 'Traceback' not in err and len(err) < 6000
    assert not (tmp_path / 'o.mid').exists()


def test_no_note_between_lowest_and_highest_is_told(capsys, phrase_file, tmp_path):
    code, _, err = run(capsys, 'continue', str(phrase_file), '-o', str(tmp_path / 'o.mid'), '--lowest', '70',
                       '--highest', '60')  # fmt: skip
    assert code == 2 and err.startswith('error: --lowest 70 is above --highest 60')


@pytest.mark.parametrize('command', COMMANDS)
@pytest.mark.parametrize(
    ('out', 'told'),
    [('x.wav', 'would be a MIDI file'), ('x.png', 'would be a MIDI file'), ('folder', 'is a folder'),
     ('pipe.mid', 'is a device'), ('no/x.mid', 'does not exist'), ('n' * 300 + '.mid', 'too long'),
     ('in.mid/x.mid', 'does not exist')],
)  # fmt: skip
def test_an_impossible_output_is_told_before_any_work(monkeypatch, capsys, phrase_file, tmp_path, command, out, told):
    import bridge.commands.offline._scores

    monkeypatch.setattr(bridge.commands.offline._scores, 'load', lambda *_: pytest.fail('work began'))
    (tmp_path / 'folder').mkdir()
    os.mkfifo(tmp_path / 'pipe.mid')
    before = phrase_file.read_bytes()
    places = {'in': str(phrase_file), 'o': str(tmp_path / out)}
    code, text, err = run(capsys, *(word.format(**places) for word in COMMANDS[command]))
    assert code == 2 and text == '' and told in err and err.count('\n') == 1
    assert phrase_file.read_bytes() == before and not (tmp_path / 'x.wav').exists()


def test_stdout_takes_one_file_and_no_terminal(monkeypatch, capsys, phrase_file):
    code, out, err = run(capsys, 'continue', str(phrase_file), '-o', '-', '--takes', '2')
    assert (code, out) == (2, '') and 'one file' in err
    monkeypatch.setattr('sys.stdout.isatty', lambda: True)
    code, out, err = run(capsys, 'continue', str(phrase_file), '-o', '-')
    assert (code, out) == (2, '') and 'terminal' in err


def test_drums_alone_need_a_model_with_drums(capsys, tmp_path):
    write_midi(Score([Track(0, True, notes=[Note(i, 0.25, 36) for i in range(8)])]), tmp_path / 'in.mid')
    code, _, err = run(capsys, 'continue', str(tmp_path / 'in.mid'), '-o', str(tmp_path / 'o.mid'),
                       '--model', str(small_decoders.file('mmt')))  # fmt: skip
    assert code == 2 and 'only drums' in err


def test_unknown_commands_are_met_with_a_guess(capsys):
    code, _, err = run(capsys, 'contniue')
    assert code == 2 and "Did you mean 'continue'" in err
