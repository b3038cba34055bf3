"""`import genaudio_core as ga`: names that load lazily, and the same music and sound as on the command line."""

import ast
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_decoders import file as small_decoder
from stream_models import music

import genaudio_core as ga
from bridge.cli import main
from genaudio_core.query.encoder import QueryEncoder
from genaudio_core.query.text_encoder import TextEncoder
from genaudio_core.score.reading import midi_bytes
from genaudio_core.synthesis.synthesizer import Synthesizer

# --- names ---


def test_importing_the_library_loads_nothing_else():
    code = (
        'import sys; before = set(sys.modules); import genaudio_core as ga\n'
        'loaded = {name.split(".")[0] for name in set(sys.modules) - before}\n'
        'assert loaded <= {"genaudio_core"} | sys.stdlib_module_names, loaded\n'
        'assert not {"logging", "argparse", "pathlib"} & loaded, loaded\n'
        'assert {name for name in sys.modules if name.startswith("genaudio_core.")} == set()\n'
        'ga.GenaudioError\n'
        'assert "numpy" not in sys.modules and "genaudio_core.errors" in sys.modules\n'
        'ga.load, ga.separate, ga.synthesize, ga.MusicModel\n'
        'assert "torch" not in sys.modules\n'
    )
    # Without the site's own imports (editable installations import much).
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('name', ga.__all__)
def test_every_public_name_is_there_and_listed(name):
    assert getattr(ga, name) is not None and name in dir(ga)


def test_what_type_checkers_see_is_what_there_is():
    tree = ast.parse(Path(ga.__file__).read_text())
    seen = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING':
            for line in node.body:
                assert isinstance(line, ast.ImportFrom)
                seen[line.module] = tuple(alias.name for alias in line.names)
    assert seen == ga._PUBLIC
    assert sorted(ga.__all__) == sorted([*(name for names in ga._PUBLIC.values() for name in names), '__version__'])


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'genaudio_core' has no attribute 'spearate'"):
        _ = ga.spearate  # type: ignore[attr-defined]
    assert not hasattr(ga, 'notice')


def test_the_tour_names_what_there_is():
    """Each name in the tour's backquotes, and each that its example calls, is public."""
    assert ga.__doc__
    for name in re.findall(r'`([A-Za-z_.]+)`', ga.__doc__):
        first, *rest = name.split('.')
        if first in ('bridge', 'examples', 'genaudio_core', 'genaudio', 'examples/'):
            continue
        found = getattr(ga, first)
        for part in rest:
            found = getattr(found, part)
    for name in re.findall(r'\bga\.(\w+)', ga.__doc__):
        assert name in ga.__all__


def test_the_tour_works_line_by_line(phrase, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    phrase.save('phrase.mid')
    ga.write_audio('song.wav', music(1.0, 44100), 44100)
    names: dict[str, Any] = {}
    code = re.search(r'::\n\n((?:(?: {4}.*)?\n)+)', ga.__doc__ or '')
    assert code
    exec(textwrap.dedent(code[1]), names)
    assert names['song'].end > phrase.end and ga.read_midi('song.mid').n_notes == names['song'].n_notes
    assert set(names['stems']) >= {'drums', 'a flute'} and (tmp_path / 'stems' / 'a-flute.wav').is_file()
    assert names['snare'].shape[1] == 44100 and (tmp_path / 'snare.wav').is_file()


# --- models ---


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('live', 'MusicModel'), ('separator', 'Separator'), ('stems-live', 'MaskNetwork'),
        ('synth-denoiser', 'Synthesizer'), ('synth-prior', 'Prior'), ('synth-vocoder', 'Vocoder'),
        ('arranger', 'Arranger'), ('query-text', 'TextEncoder'), ('query-audio', 'AudioEncoder'),
    ],
)  # fmt: skip
def test_load_gives_an_object_for_what_the_model_does(name, kind):
    assert type(ga.load(name)).__name__ == kind
    assert type(ga.load(ga.bundled_models()[name])).__name__ == kind


def test_every_bundled_model_loads():
    assert {'live', 'separator', 'stems-live'} <= set(ga.bundled_models())
    for name in ga.bundled_models():
        assert ga.load(name) is not None


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('separater', "Did you mean 'separator'"), ('gone/model.onnx', 'No model file at'),
        ('{tmp}/live.safetensors', 'is a checkpoint'), ('{tmp}/empty.onnx', 'empty.onnx'), ('', 'No bundled model'),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_one_line(name, said, tmp_path):
    (tmp_path / 'live.safetensors').write_bytes(b'x')
    (tmp_path / 'empty.onnx').touch()
    with pytest.raises(ga.GenaudioError, match=said) as caught:
        ga.load(name.format(tmp=tmp_path))
    assert '\n' not in str(caught.value)


# --- music ---

CASES = {
    'continue': (['IN', '--beats', '6', '--key', 'C major', '--seed', '3', '--chords', 'Am F'],
                 lambda m, p: m.continue_(p, 6, key='C major', seed=3, chords='Am F')),
    'generate': (['--beats', '6', '--instruments', 'piano,viola', '--tempo', '90', '--meter', '3/4', '--seed', '4'],
                 lambda m, p: m.generate(6, instruments='piano, viola', tempo=90.0, meter='3/4', seed=4)),
    'accompany': (['IN', '--instruments', 'flute', '--density', '1', '--seed', '5', '--chords', 'F | C G7'],
                  lambda m, p: m.accompany(p, ['flute'], density=1.0, seed=5, chords='F | C G7')),
    'infill': (['IN', '--bars', '2-3', '--candidates', '2', '--temperature', '0.9', '--seed', '6', '--chords', 'Dm G'],
               lambda m, p: m.infill(p, (2, 3), candidates=2, temperature=0.9, seed=6, chords='Dm G')),
    'arrange': (['IN', '--instruments', 'violin,cello', '--seed', '7'],
                lambda m, p: m.arrange(p, 'violin,cello', seed=7)),  # by the bundled arranger
}  # fmt: skip


@pytest.mark.parametrize('command', CASES)
def test_the_same_notes_as_the_command(command, phrase, tmp_path, capsys):
    phrase.save(tmp_path / 'in.mid')
    arguments, call = CASES[command]
    arguments = [str(tmp_path / 'in.mid') if item == 'IN' else item for item in arguments]
    out = tmp_path / 'out.mid'
    path = ga.bundled_models()['arranger'] if command == 'arrange' else small_decoder('live')
    assert main([command, *arguments, '-o', str(out), '--model', str(path), '--json']) == 0
    model = ga.load(path)
    made = call(model, tmp_path / 'in.mid')
    assert midi_bytes(made) == out.read_bytes()
    assert midi_bytes(call(model, ga.read_midi(tmp_path / 'in.mid'))) == out.read_bytes()
    made.save(tmp_path / 'saved.mid')
    assert (tmp_path / 'saved.mid').read_bytes() == out.read_bytes()


def test_what_went_in_stays_as_it_was(phrase):
    before = midi_bytes(phrase)
    ga.load(small_decoder('live')).continue_(phrase, 4)
    assert midi_bytes(phrase) == before


def test_a_wish_that_could_not_be_met_is_logged_and_remarked(phrase, caplog):
    phrase.tracks.append(ga.Track(0, True, notes=[ga.Note(0.0, 0.25, 36)]))  # the published layout has no drums
    made = ga.load(small_decoder('mmt')).continue_(phrase, 4)
    assert made.remarks and made.remarks == [record.getMessage() for record in caplog.records]
    assert "has no 'drums'" in made.remarks[0] and not phrase.remarks


@pytest.mark.parametrize(
    ('wish', 'said'),
    [
        ({'key': 'X major'}, 'X major'), ({'instruments': 'vioin'}, 'violin'), ({'temperature': 0}, 'temperature must'),
        ({'lowest': 70, 'highest': 60}, '`lowest` 70 is above `highest` 60'), ({'beats': 0}, '`beats` must be'),
        ({'key': 'C major', 'chord': 'F#'}, 'no note in the key'),
    ],
)  # fmt: skip
def test_a_wish_that_makes_no_sense_is_one_line(wish, said, phrase):
    with pytest.raises(ga.GenaudioError, match=said):
        ga.load(small_decoder('live')).continue_(phrase, **wish)


# --- sounds ---


@pytest.fixture(scope='module')
def song(tmp_path_factory):
    """Seven seconds of something like music, in stereo: more than one window of the separator."""
    path = tmp_path_factory.mktemp('song') / 'song.wav'
    ga.write_audio(path, music(7.0, 44100), 44100)
    return path


def test_the_same_stems_as_the_command(song, tmp_path, capsys):
    arguments = ['separate', str(song), '-q', 'drums', '-q', 'a flute', '--residual', '-o', str(tmp_path), '--json']
    assert main(arguments) == 0
    files = json.loads(capsys.readouterr().out)['files'][0]
    written = [ga.read_audio(path) for path in (*files['stems'], files['residual'])]
    stems = ga.separate(song, ['drums', 'a flute'], residual=True)
    assert list(stems) == ['drums', 'a flute', 'residual'] and stems.sample_rate == 44100
    for mine, theirs in zip(stems.values(), written, strict=True):
        assert mine.dtype == np.float32 and mine.shape == (2, 7 * 44100)
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_allclose(sum(stems.values()), ga.read_audio(song), atol=1e-6)
    with ga.load('separator') as separator:  # a loaded model and samples: the same again
        again = ga.separate(ga.read_audio(song), ['drums', 'a flute'], sample_rate=44100, model=separator)
    for name, stem in again.items():
        np.testing.assert_array_equal(stem, stems[name])


@pytest.mark.parametrize('rate', [22050, 48000])
def test_stems_have_the_shape_of_their_source(rate):
    audio = music(1.5, rate)[0]
    stems = ga.separate(audio, 'drums', sample_rate=rate)
    assert stems.sample_rate == rate and {name: stem.shape for name, stem in stems.items()} == {
        'drums': (1, len(audio))
    }


def test_queries_may_be_words_recordings_or_queries(song, tmp_path):
    query = QueryEncoder().query('drums')
    ga.write_audio(tmp_path / 'hit.wav', music(1.0, 44100), 44100)
    stems = ga.separate(music(1.0, 44100), ['drums', query, tmp_path / 'hit.wav'], sample_rate=44100)
    assert list(stems) == ['drums', 'drums-2', 'hit']


def test_stems_are_saved_under_their_names(tmp_path):
    stems = ga.Stems({'A flute!': music(0.1), 'a flute': music(0.1, seed=1)}, 48000)
    files = stems.save(tmp_path / 'new' / 'folder')
    assert [path.name for path in files] == ['a-flute.wav', 'a-flute-2.wav']
    np.testing.assert_array_equal(ga.read_audio(files[1]), stems['a flute'])


@pytest.mark.parametrize(
    ('source', 'options', 'said'),
    [
        (np.zeros((2, 100)), {}, '`sample_rate` in Hz'),
        (np.zeros((44100, 2)), {'sample_rate': 44100}, 'Transpose them'),
        (np.zeros((2, 3, 4)), {'sample_rate': 44100}, r'\(channels, n_samples\)'),
        (np.zeros((2, 100), np.int16), {'sample_rate': 44100}, 'floats with full scale 1'),
        (np.full((2, 100), np.nan), {'sample_rate': 44100}, 'finite'),
        (np.zeros((2, 0)), {'sample_rate': 44100}, '0 seconds long'),
        (np.zeros((2, 100)), {'sample_rate': 44100}, 'is silent'),
        (np.ones((2, 100)), {'sample_rate': 1}, 'sample rate of 1 Hz'),
        (np.ones((2, 100)), {'sample_rate': 44100, 'sharpness': 0}, 'sharpness'),
        ('gone.wav', {}, 'no file gone.wav'),
        ('gone.wav', {'sample_rate': 44100}, 'own `sample_rate`'),
    ],
)
def test_what_cannot_be_separated_is_one_line(source, options, said):
    with pytest.raises(ga.GenaudioError, match=said) as caught:
        ga.separate(source, ['drums'], **options)
    assert '\n' not in str(caught.value)


def test_no_query_is_one_line():
    with pytest.raises(ga.GenaudioError, match='`queries` is empty'):
        ga.separate(np.ones((2, 100)), [], sample_rate=44100)


def test_the_same_sounds_as_the_command(tmp_path, capsys):
    arguments = [
        'synth',
        'snare drum',
        '--seconds',
        '0.5',
        '--takes',
        '2',
        '--seed',
        '7',
        '--steps',
        '3',
        '--not',
        'rain',
    ]
    assert main([*arguments, '-o', str(tmp_path / 'snare.wav'), '--json']) == 0
    made = ga.synthesize('snare drum', seconds=0.5, takes=2, seed=7, steps=3, negative=['rain'])
    assert made.dtype == np.float32 and made.shape == (2, 22050)
    for number, take in enumerate(made, 1):
        np.testing.assert_array_equal(take[None], ga.read_audio(tmp_path / f'snare-{number}.wav'))


def test_a_loaded_synthesizer_makes_the_same():
    synthesizer = ga.load('synth-denoiser')
    assert isinstance(synthesizer, Synthesizer)
    query = QueryEncoder(TextEncoder.load()).query('rain')
    mine = ga.synthesize(query, seconds=0.2, steps=2, model=synthesizer)
    np.testing.assert_array_equal(mine, ga.synthesize('rain', seconds=0.2, steps=2))
    with pytest.raises(ga.GenaudioError, match='query is empty'):
        ga.synthesize()
