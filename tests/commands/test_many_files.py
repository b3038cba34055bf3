"""`separate`, `synth` and `compose` with many files: jobs that are gone on with."""

import json

import numpy as np
import pytest
from separation_fakes import fake_separator, low
from test_synth_command import Fake

import genaudio_core.synthesis.synthesizer as synthesis
from bridge.cli import main
from genaudio_core.sound.audio_files import read_audio, write_audio


def song(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, np.random.default_rng(seed).standard_normal((2, 9000)).astype(np.float32) * 0.1, 44100)


@pytest.fixture
def separator(monkeypatch):
    from bridge.commands.offline import separate
    from genaudio_core.separation.offline import Separator

    monkeypatch.setattr(Separator, 'load', classmethod(lambda cls, *_, **__: fake_separator()))
    monkeypatch.setattr(separate, '_queries', lambda args, _: [low(0.5, name) for name in args.query])


def run(capsys, *words):
    code = main([*map(str, words), '--json'])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else {}, err


def visible(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*')
                  if path.is_file() and '.genaudio' not in path.parts)  # fmt: skip


def test_a_folder_is_separated_once_and_then_only_what_is_new(tmp_path, capsys, separator):
    songs, out = tmp_path / 'songs', tmp_path / 'songs' / 'stems'
    song(songs / 'a.wav')
    song(songs / 'live' / 'new\nline.wav')
    words = ['separate', songs, '-q', 'x', '-o', out]
    code, told, _ = run(capsys, *words)
    assert code == 0 and len(told['files']) == 2 and told['already_done'] == 0
    assert visible(out) == ['a.x.wav', 'live/new\nline.x.wav']
    song(songs / 'b.wav')
    code, again, _ = run(capsys, *words)
    assert code == 0 and again['already_done'] == 2
    assert {one['input'] for one in again['files']} == {
        str(path) for path in songs.rglob('*.wav') if out not in path.parents
    }
    assert set(told['files'][0]) == set(again['files'][-1])
    code, dry, _ = run(capsys, *words, '--sharpness', '2', '--dry-run')
    assert code == 0 and dry['to_do'] == 3 and dry['already_done'] == 0
    assert run(capsys, *words, '-q', 'y', '--dry-run')[1]['to_do'] == 3
    assert run(capsys, *words, '--dry-run')[1].get('to_do', 0) == 0


def test_a_single_file_leaves_stems_alone_unless_it_is_to_be_a_job(tmp_path, capsys, separator):
    song(tmp_path / 'a.wav')
    assert run(capsys, 'separate', tmp_path / 'a.wav', '-q', 'x', '-o', tmp_path / 'o')[0] == 0
    assert [path.name for path in (tmp_path / 'o').iterdir()] == ['a.x.wav']
    assert (
        run(capsys, 'separate', tmp_path / 'a.wav', '-q', 'x', '-o', tmp_path / 'o', '--shard', '1/1', '--force')[0]
        == 0
    )
    assert (tmp_path / 'o' / '.genaudio' / 'a.x.wav.json').exists()


def test_what_fails_is_named_by_its_place_and_not_by_where_it_was_made(tmp_path, capsys, separator):
    song(tmp_path / 'a.wav')
    write_audio(tmp_path / 'loud.wav', np.random.default_rng(0).standard_normal((2, 40_000)), 44100)
    (tmp_path / 'bad.wav').write_text('no sound')
    files = [tmp_path / name for name in ('a.wav', 'loud.wav', 'bad.wav')]
    code, told, err = run(capsys, 'separate', *files, '-q', 'x', '-f', 'flac', '-o', tmp_path / 'o')
    assert code == 1 and told['skipped'] == [str(tmp_path / 'bad.wav')]
    assert 'loud.x.flac was clipped' in err and '.genaudio' not in err
    assert '--shard must be a part' in run(capsys, 'separate', *files, '-q', 'x', '--shard', '3/2')[2]


def test_people_are_told_numbers_and_names_of_what_is_still_to_do(tmp_path, capsys, separator):
    for i in range(23):
        song(tmp_path / 'songs' / f'{i:02d}.wav')
    (tmp_path / 'songs' / 'bad\n.wav').write_text('no sound')
    out = tmp_path / 'o'
    words = ['separate', str(tmp_path / 'songs'), '-q', 'x', '-o', str(out)]

    def told(*options):
        code = main([*words, *options])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err.splitlines()

    code, (to_do, already, items, more), said = told('--dry-run')
    assert (code, to_do, already, said) == (0, 'to_do: 24', 'already_done: 0', [])
    assert len(json.loads(items.removeprefix('items: '))) == 20 and more == 'more_items: 4'
    code, lines, said = told()
    assert (code, lines) == (1, ['done: 23', 'already_done: 0', 'failed: 1', f'folder: {out}'])
    assert len(said) == 2 and said[0].startswith('skipped: ') and r'bad\n.wav' in said[0]
    assert said[1] == '1 of 24 files could not be separated; the others are done.'
    code, lines, said = told('--retry-failed')
    assert (code, lines, said[1:]) == (2, [], ['error: The file could not be separated.'])
    (tmp_path / 'songs' / 'bad\n.wav').unlink()
    code, lines, said = told('--retry-failed')
    assert (code, lines[0], said) == (0, 'done: 0', ['No file of these failed when it was last tried.'])
    code, (to_do, already, items), said = told('--dry-run')
    assert (to_do, already, items, said) == ('to_do: 0', 'already_done: 23', 'items: []', [])


def test_a_list_of_words_becomes_sounds(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(synthesis, 'Synthesizer', Fake)
    (tmp_path / 'list.txt').write_text('snare drum\n\nrain\nSnare Drum!\nsnare drum\n')
    words = ['synth', '--list', tmp_path / 'list.txt', '--seconds', '0.25', '-o', tmp_path / 'o']
    code, told, _ = run(capsys, *words)
    assert code == 0 and told['done'] == 3
    assert visible(tmp_path / 'o') == ['rain.wav', 'snare-drum-2.wav', 'snare-drum.wav']
    assert told['files'][0]['files'] == [str(tmp_path / 'o' / 'snare-drum.wav')]
    assert run(capsys, *words)[1]['already_done'] == 3
    assert run(capsys, *words, '--takes', '2')[1]['done'] == 3
    assert 'rain-2.wav' in visible(tmp_path / 'o')
    assert run(capsys, 'synth', 'rain', '--list', tmp_path / 'list.txt', '-o', tmp_path / 'o')[0] == 2


SCRIPT = 'Audio Type,Content,Duration,File\nSound effect,silence,0.1,\nSound effect,x,,{file}\n'


def test_scripts_become_mixes_and_a_recording_that_changes_is_noticed(tmp_path, capsys):
    scripts = tmp_path / 'scripts'
    song(scripts / 'drop.wav')
    for name in ('a', 'b'):
        (scripts / f'{name}.csv').write_text(SCRIPT.format(file='drop.wav' if name == 'a' else ''))
    (scripts / 'b.csv').write_text('Audio Type,Content,Duration\nSound effect,silence,0.2\n')
    (scripts / 'bad.csv').write_text('Audio Type,Content\nnoise,\n')
    words = ['compose', scripts, '--format', 'flac', '--stems', '-o', tmp_path / 'o']
    code, told, err = run(capsys, *words)
    assert code == 1 and told['done'] == 2 and told['skipped'] == [str(scripts / 'bad.csv')], err
    mixes = [path for path in visible(tmp_path / 'o') if path.endswith('.flac')]
    assert mixes == ['a.flac', 'b.flac'] and (tmp_path / 'o' / 'a-stems').is_dir()
    assert all(str(tmp_path / 'o') in text and '.genaudio' not in text for text in [told['files'][0]['out']])
    (scripts / 'bad.csv').unlink()
    before = read_audio(tmp_path / 'o' / 'a.flac')
    assert run(capsys, *words)[1]['already_done'] == 2
    song(scripts / 'drop.wav', seed=1)
    code, told, err = run(capsys, *words)
    assert (code, told['done'], told['already_done']) == (0, 1, 1), err
    assert not np.array_equal(before, read_audio(tmp_path / 'o' / 'a.flac'))
    (tmp_path / 'o' / 'a-stems' / 'mine.txt').write_text('work of somebody')
    song(scripts / 'drop.wav', seed=2)
    code, told, err = run(capsys, *words)
    assert code == 1 and 'was changed since it was made' in err and (tmp_path / 'o' / 'a-stems' / 'mine.txt').exists()
    assert run(capsys, 'compose', scripts, '--check')[1] == {'scripts': 2, 'with_faults': []}
