"""The session beside a mix, opened and exported by Ardour itself; and the example script, with every real part."""

import itertools
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from script_sounds import Beeper, noise_makers

from bridge.cli import main
from genaudio_core.errors import GenaudioError
from genaudio_core.files import presets_dir
from genaudio_core.score.notes import Note, Score, Tempo, Track
from genaudio_core.score.reading import write_midi
from genaudio_core.script.ardour_session import write_session
from genaudio_core.script.composition import compose
from genaudio_core.script.cues import cue_rows
from genaudio_core.script.folders import atomic_folder, check_folder
from genaudio_core.script.makers import Effects, Makers, Music, Recordings, Speech
from genaudio_core.script.mixing import MixSettings
from genaudio_core.script.reading import read_script
from genaudio_core.script.speech import Espeak
from genaudio_core.script.stems import write_stems
from genaudio_core.script.table import BACKGROUND, BEGIN, EFFECT, END, FOREGROUND, MUSIC, SPEECH, Row, Script
from genaudio_core.sound.audio_files import read_audio
from genaudio_core.sound.soundfont import FontRenderer

EXAMPLE = presets_dir() / 'scripts/radio-play.csv'
FONT = FontRenderer().fault() == ''
real_parts = pytest.mark.skipif(not FONT or not shutil.which('espeak-ng'), reason='needs espeak-ng and a SoundFont')


def composition(channels=2):
    """Two characters, names that XML and file systems dislike, a background over a border, a level over the ceiling."""
    rows = (
        Row(1, MUSIC, BACKGROUND, 'calm', -20, 'bed & "more"', BEGIN),
        Row(2, SPEECH, FOREGROUND, 'hi', -3, character='Anna <1>'),
        Row(3, EFFECT, FOREGROUND, 'bang/boom: "x"', -10, seconds=0.731),
        Row(4, MUSIC, BACKGROUND, id='bed & "more"', action=END),
        Row(5, SPEECH, FOREGROUND, 'ho', -12, character='master'),
        Row(6, EFFECT, FOREGROUND, '.', -30, seconds=0.1),
    )
    return compose(Script(rows), noise_makers(), MixSettings(channels=channels), seed=3)


@pytest.mark.parametrize('channels', [1, 2])
def test_session_names_every_stem_on_its_sample(tmp_path, channels):
    made = composition(channels)
    file = write_session(tmp_path / 'mix-session', 'my: mix', made)
    root = ElementTree.parse(file).getroot()
    sources = {source.get('id'): source for source in root.iter('Source')}
    regions = list(root.iter('Region'))
    assert len(regions) == len(made.mixdown.stems) == 5 and len(sources) == 5 * channels
    for region in regions:
        length, start = (int(part.strip('a')) for part in region.get('length').split('@'))
        source = sources[region.get('source-0')]
        audio = read_audio(next(file.parent.glob(f'interchange/*/audiofiles/{source.get("name")}')))
        stem = next(s for s in made.mixdown.stems if np.array_equal(s.audio, audio))
        assert (start, length) == (stem.part.start * 6400, stem.part.n_samples * 6400)
    ids = [element.get('id') for element in root.iter() if element.get('id')]
    assert len(ids) == len(set(ids))
    tracks = [route.get('name') for route in root.iter('Route')]
    assert tracks == ['Master', 'bed & "more"', 'Anna <1>', 'Sound effect', 'master 2']


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('ardour7-export'), reason='needs Ardour 7')
@pytest.mark.parametrize('channels', [1, 2])
def test_what_ardour_exports_is_the_mix_bit_by_bit(tmp_path, channels):
    made = composition(channels)
    write_session(tmp_path / 'session', 'mix', made)
    out = tmp_path / 'ardour.wav'
    # With AVX-512, Ardour 7.3 mixes the last three samples of a region wrongly or crashes: plain code for it.
    done = subprocess.run(
        ['ardour7-export', '-b', 'float', '-o', out, tmp_path / 'session', 'mix'], capture_output=True, text=True,
        timeout=200, env={**os.environ, 'HOME': str(tmp_path), 'ARDOUR_FPU_FLAGS': '0'}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    heard = read_audio(out)
    assert heard.shape == made.mixdown.audio.shape
    assert np.array_equal(heard, made.mixdown.audio)


def test_a_folder_is_whole_or_not_there(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / 'x') as folder:
        (folder / 'half').write_text('half')
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    made = composition()
    write_stems(tmp_path / 'stems', made)
    before = {path.name: path.read_bytes() for path in (tmp_path / 'stems').glob('*.wav')}
    made.mixdown.stems[-1].audio = np.broadcast_to(np.float32(0), (2, 1 << 29))
    with pytest.raises(GenaudioError, match='over 4 GB'):
        write_stems(tmp_path / 'stems', made)
    assert {path.name: path.read_bytes() for path in (tmp_path / 'stems').glob('*.wav')} == before
    (tmp_path / 'file').touch()
    with pytest.raises(GenaudioError, match='was not made by genaudio'):
        check_folder(tmp_path / 'file')
    with pytest.raises(GenaudioError, match='does not exist'):
        check_folder(tmp_path / 'gone/stems')


@pytest.mark.skipif(not FONT, reason='needs fluidsynth and a SoundFont')
def test_a_midi_file_plays_through_the_soundfont(tmp_path):
    """Notes sound when the file says, to fluidsynth's 64 samples; tracks play together; the same twice."""
    notes = [Note(2.0, 1.0, 60, 100), Note(4.0, 0.5, 64, 100)]
    score = Score([Track(0, notes=notes), Track(0, is_drum=True, notes=[Note(1.0, 0.1, 38, 110)])], [Tempo(0.0, 60.0)])
    write_midi(score, tmp_path / 'a.mid')
    row = Row(1, MUSIC, content='a.mid', file=tmp_path / 'a.mid')
    maker = Recordings(FontRenderer())
    assert maker.fault(row) == ''
    audio = maker.make(row, None, 0).audio
    assert audio.shape == (2, round((4.5 + 1.5) * 44100))
    loud = np.abs(audio).max(axis=0)
    dither = 1e-4  # fluidsynth's, in the last of its 16 bits
    assert loud[: 44100 - 64].max() < dither < 10 * dither < loud[44100 : 44100 + 2000].max()
    assert loud[2 * 44100 + 2000 : 2 * 44100 + 20000].max() > 3 * loud[int(1.9 * 44100) : 2 * 44100 - 64].max()
    assert np.array_equal(maker.make(row, None, 0).audio, audio)


@pytest.mark.slow
@pytest.mark.skipif(not Path('/usr/share/dpf').is_dir() or not shutil.which('g++'), reason='needs dpf-source and g++')
def test_an_instrument_plug_in_plays_to_the_sample(tmp_path):
    """A VST3 that is built here, in a process of its own: notes begin and end on their samples, twice the same."""
    shutil.copytree(Path(__file__).parents[1] / 'beep_plugin', tmp_path / 'beep')
    subprocess.run(['make', '-C', tmp_path / 'beep', 'vst3'], check=True, capture_output=True)
    code = f"""
import numpy as np
from genaudio_core.score.notes import Note, Score, Tempo, Track
from genaudio_core.sound.soundfont import PluginRenderer
plug_in = PluginRenderer({str(tmp_path / 'beep/bin/beep.vst3')!r})
assert plug_in.fault() == '', plug_in.fault()
tracks = [Track(0, notes=[Note(1, 1, 69, 127), Note(3, 0.5, 57, 64)]), Track(0, is_drum=True, notes=[Note(0, 1, 36)])]
score = Score(tracks, [Tempo(0, 60)])
audio = plug_in.render(score, 4 * 44100)
heard = np.abs(audio[0]) > 1e-6
changes = np.flatnonzero(np.diff(np.convolve(heard, np.ones(64), 'same') > 0))
assert audio.shape == (2, 4 * 44100) and abs(audio[0, 44100] - 0.5) < 1e-6 and not heard[:44100].any()
assert not heard[88200:132300].any() and heard[132300] and not heard[154350:].any(), changes
assert np.array_equal(plug_in.render(score, 4 * 44100), audio)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@real_parts
def test_the_example_script_with_every_kind_of_row():
    """Real music, real speech; the sound model's stand-in. Every row lies where the table says, to the sample."""
    renderer, beeper = FontRenderer(), Beeper()
    speech = Speech(Espeak())
    makers = Makers(speech, Effects(lambda: beeper, str), Music(renderer), Recordings(renderer))
    script = read_script(EXAMPLE, makers.check)
    assert {(row.kind, row.layout) for row in script.rows} == {
        (SPEECH, FOREGROUND), (MUSIC, FOREGROUND), (EFFECT, FOREGROUND), (MUSIC, BACKGROUND), (EFFECT, BACKGROUND),
    }  # fmt: skip
    made = compose(script, makers, seed=1)
    at = {stem.part.row.number: stem for stem in made.mixdown.stems}
    spans = {number: (stem.part.start, stem.part.end) for number, stem in at.items()}
    assert spans[1] == (0, 6 * 44100) and spans[4][1] - spans[4][0] == spans[9][1] - spans[9][0] == 2 * 44100
    foreground = [at[row.number].part for row in script.foreground]
    assert all(a.end == b.start for a, b in itertools.pairwise(foreground))
    assert spans[2] == (spans[3][0], spans[5][1]) and spans[7] == (spans[8][0], spans[12][1])
    assert spans[11] == (spans[12][0], spans[15][1]) and spans[15][1] == made.mixdown.audio.shape[1]
    for row in script.foreground:
        if row.content != 'silence':
            assert np.abs(at[row.number].audio).max() > 1e-3, row
    assert 'D minor' in made.told[2] and 'said by' in made.told[3]


def has_sound_model() -> bool:
    try:
        from genaudio_core.synthesis.synthesizer import Synthesizer

        Synthesizer.load(None)
    except GenaudioError:
        return False
    return True


@real_parts
@pytest.mark.slow
def test_the_example_script_by_the_command(tmp_path: Path, capsys):
    if not has_sound_model():
        pytest.skip('no sound model is bundled')
    assert main(['compose', str(EXAMPLE), '-o', str(tmp_path / 'a.wav'), '--session', '--stems']) == 0
    assert main(['compose', str(EXAMPLE), '-o', str(tmp_path / 'b.wav')]) == 0
    assert (tmp_path / 'a.wav').read_bytes() == (tmp_path / 'b.wav').read_bytes()


def test_cues_tell_the_gain_of_every_row():
    made = composition()
    cues = cue_rows(made)
    assert [cue['row'] for cue in cues] == [1, 2, 3, 5, 6]
    louder = cue_rows(replace(made, mixdown=replace(made.mixdown, gain_db=made.mixdown.gain_db - 6)))
    assert louder[0]['gain_db'] == pytest.approx(cues[0]['gain_db'] - 6)
