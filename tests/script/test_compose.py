"""From rows to a composition with stand-ins for the makers; then the command with real recordings and voices."""

import csv
import json
import resource
import shutil
import subprocess
import sys
import wave
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from script_sounds import RATE, Beeper, NoiseMaker, noise, noise_makers
from test_audio_script import scripts

from bridge.cli import main
from genaudio_core.errors import GenaudioError
from genaudio_core.files import presets_dir
from genaudio_core.script.composition import check, compose
from genaudio_core.script.makers import Effects, Made, Makers, Music, Recordings, Speech
from genaudio_core.script.speech import Espeak
from genaudio_core.script.table import EFFECT, FOREGROUND, MUSIC, SPEECH, Faults, Row, Script
from genaudio_core.sound.audio_files import read_audio, write_audio
from genaudio_core.sound.soundfont import FontRenderer
from genaudio_core.synthesis.synthesizer import MAX_SECONDS, MIN_SECONDS

espeak = pytest.mark.skipif(shutil.which('espeak-ng') is None, reason='needs espeak-ng')


def foreground(*rows):
    return Script(tuple(Row(i, kind, FOREGROUND, content, **more) for i, (kind, content, more) in enumerate(rows, 1)))


@given(scripts())
def test_every_row_is_made_once_and_lasts_as_the_timeline_says(script):
    small = NoiseMaker(0.01)
    rows = [r if r.kind == SPEECH or r.layout != FOREGROUND else
            Row(r.number, r.kind, r.layout, r.content, r.volume, seconds=0.02) for r in script.rows]  # fmt: skip
    made = compose(Script(tuple(rows)), Makers(small, small, small, small))
    wanted = sorted(row.number for row in rows if row.action in ('', 'begin'))
    assert sorted(number for number, _, _ in small.made) == wanted
    assert sorted(stem.part.row.number for stem in made.mixdown.stems) == wanted
    n_foreground = {SPEECH: 441, EFFECT: 882, MUSIC: 882}
    assert made.mixdown.audio.shape[1] == sum(n_foreground[row.kind] for row in rows if row.layout == FOREGROUND)


def test_auto_and_asked_lengths():
    makers = noise_makers()
    rows = ((SPEECH, 'hi', {}), (EFFECT, 'bang', {}), (EFFECT, 'bang', {'seconds': 0.5}), (MUSIC, 'calm', {}),
            (EFFECT, 'Silence', {'seconds': 0.25}))  # fmt: skip
    stems = compose(foreground(*rows), makers).mixdown.stems
    assert [s.part.n_samples for s in stems] == [RATE, 2 * RATE, RATE // 2, 10 * RATE, RATE // 4]
    assert not stems[4].audio.any()


def test_same_seed_same_mix_and_no_two_footsteps_alike():
    script = foreground((EFFECT, 'step', {}), (EFFECT, 'step', {}))
    mixes = [compose(script, noise_makers(), seed=seed).mixdown.audio for seed in (1, 1, 2)]
    assert np.array_equal(mixes[0], mixes[1]) and not np.array_equal(mixes[0], mixes[2])
    assert not np.array_equal(mixes[0][:, : 2 * RATE], mixes[0][:, 2 * RATE :])


def test_a_row_sounds_the_same_when_others_change():
    def seeds(*contents):
        makers = noise_makers()
        compose(foreground(*((EFFECT, content, {}) for content in contents)), makers)
        return {content: seed for content, (_, _, seed) in zip(contents, makers.effects.made, strict=True)}

    assert seeds('rain', 'door')['door'] == seeds('wind', 'thunder', 'door')['door']


def test_effects_ask_the_sound_model_for_as_long_as_is_needed():
    beeper = Beeper()
    makers = noise_makers()
    makers.effects = Effects(lambda: beeper, lambda words: f'query of {words}')
    made = compose(foreground((EFFECT, 'rain', {'seconds': 7.5}), (EFFECT, 'bang', {})), makers, seed=4)
    assert [(query, seconds) for query, seconds, _ in beeper.asked] == [('query of rain', 7.5), ('query of bang', 2.0)]
    assert [stem.part.n_samples for stem in made.mixdown.stems] == [int(7.5 * RATE), 2 * RATE]


def test_an_effect_without_words_is_told_and_each_text_is_understood_once():
    said = []

    def encode(words):
        said.append(words)
        if words == '!!!':
            raise GenaudioError('no word in it')
        return words

    effects = Effects(Beeper, encode)
    assert effects.fault(Row(1, EFFECT, content='!!!')) == 'no word in it'
    assert effects.fault(Row(2, EFFECT, content='rain')) == ''
    effects.make(Row(2, EFFECT, content='rain'), None, 1)
    assert said == ['!!!', 'rain']


def test_a_fault_while_making_names_its_row():
    class Broken(NoiseMaker):
        def make(self, row, n_samples, seed):
            raise GenaudioError('the wire is cut.')

    makers = noise_makers()
    makers.effects = Broken()
    with pytest.raises(GenaudioError, match='row 2: the wire is cut'):
        compose(foreground((SPEECH, 'hi', {}), (EFFECT, 'bang', {})), makers)


def test_nothing_said_and_an_hour_too_much():
    makers = noise_makers()
    makers.speech = NoiseMaker(1e-9)
    with pytest.raises(GenaudioError, match='came out empty'):
        compose(foreground((SPEECH, 'hi', {})), makers)

    class Long(NoiseMaker):
        def make(self, row, n_samples, seed):
            return Made(np.zeros((1, 1), np.float32))

    makers = Makers(Long(), Long(), Long(), Long())
    with pytest.raises(GenaudioError, match='row 7: the mix would be longer than 60 minutes'):
        compose(foreground(*[(EFFECT, 'x', {'seconds': 600.0})] * 8), makers)


# --- the command ---


@pytest.fixture
def play(tmp_path):
    """A script of recordings only: rain under two knocks, 1 s and 0.5 s long, and a pause between."""
    write_audio(tmp_path / 'rain.wav', noise(10 * RATE, 1), RATE)
    write_audio(tmp_path / 'knock.flac', noise(RATE, 2, 0.05)[:1], RATE)
    rows = [
        'Audio Type,Layout,ID,Volume dB,Action,Content,Duration,Fade in,Fade out',
        'Sound effect,Foreground,,-20,,knock.flac,',
        'Sound effect,Background,rain,-30,Begin,rain.wav,Auto,0,0',
        'Sound effect,Foreground,,,,silence,0.75',
        'Sound effect,Foreground,,-20,,knock.flac,0.5',
        'Sound effect,Background,rain,,End,,',
    ]
    (tmp_path / 'play.csv').write_text('\n'.join(rows))
    return tmp_path


def command(*arguments):
    return main(['compose', *map(str, arguments)])


def test_mix_stems_session_and_cues(play, capsys):
    assert command(play / 'play.csv', '-o', play / 'mix.wav', '--stems', '--session', '--json') == 0
    told = json.loads(capsys.readouterr().out)
    mix = read_audio(play / 'mix.wav')
    assert mix.shape == (2, RATE + 3 * RATE // 4 + RATE // 2) and told['length_seconds'] == 2.25
    with open(play / 'mix-session/cues.csv', newline='') as file:
        cues = list(csv.DictReader(file))
    assert [(cue['row'], int(cue['start_sample']), int(cue['end_sample'])) for cue in cues] == [
        ('1', 0, 44100), ('2', 44100, 99225), ('3', 44100, 77175), ('4', 77175, 99225),
    ]  # fmt: skip
    total = np.zeros_like(mix)
    for cue, path in zip(cues, told['stems'], strict=True):
        total[:, int(cue['start_sample']) : int(cue['end_sample'])] += read_audio(path)
    assert np.array_equal(total, mix)
    # Alone there, under a silence: the recording itself from its first sample on, at one gain.
    ratio = mix[:, 44100:77175] / read_audio(play / 'rain.wav')[:, :33075]
    assert np.ptp(ratio) < 1e-5 * ratio.mean()
    labels = (play / 'mix-session/labels.txt').read_text().splitlines()
    assert labels[1] == '1.000000\t2.250000\t2 rain'


def test_a_stem_says_where_it_begins(play):
    """The bext chunk of Broadcast Wave: any DAW can place it."""
    assert command(play / 'play.csv', '-o', play / 'mix.wav', '--stems') == 0
    data = (play / 'mix-stems/04-knock-flac.wav').read_bytes()
    at = data.index(b'bext') + 8
    assert int.from_bytes(data[at + 338 : at + 346], 'little') == 77175
    assert int.from_bytes(data[4:8], 'little') == len(data) - 8


def test_check_makes_nothing(play, capsys):
    before = sorted(play.iterdir())
    assert command(play / 'play.csv', '--check', '--json') == 0
    assert json.loads(capsys.readouterr().out)['rows'] == 5
    assert sorted(play.iterdir()) == before


def test_a_broken_script_is_told_before_any_work(play, capsys):
    text = (play / 'play.csv').read_text().replace('Sound effect,Background,rain,,End,,', '')
    (play / 'play.csv').write_text(text + 'Musik,,,,,x,\nSpeech,Foreground,,-90,,hi,\n')
    before = sorted(play.iterdir())
    assert command(play / 'play.csv', '-o', play / 'mix.wav', '--stems', '--session') == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == 'error: play.csv has 3 faults; nothing was made:'
    assert (
        lines[1].startswith("  row 2 (line 3): 'rain' never ends")
        and 'Musik' in lines[2]
        and 'from -70 to 0 dB' in lines[3]
    )
    assert sorted(play.iterdir()) == before


def test_again_over_the_same_files_but_not_over_somebodys_work(play, capsys):
    where = (play / 'play.csv', '-o', play / 'mix.wav', '--session')
    assert command(*where) == 0 and command(*where) == 0
    session = play / 'mix-session/mix.ardour'
    session.write_text(session.read_text().replace('mix', 'my mix'))
    work = session.read_text()
    assert command(*where) == 2
    assert (
        'was changed since it was made (mix.ardour is new)' in capsys.readouterr().err and session.read_text() == work
    )
    shutil.rmtree(play / 'mix-session')
    (play / 'mix-session').mkdir()
    (play / 'mix-session/mine.txt').touch()
    assert command(*where) == 2 and 'was not made by genaudio' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'told'),
    [
        ((), 'Say where to write the mix'),
        (('-o', 'gone/mix.wav'), 'does not exist'), (('-o', 'mix.xyz'), 'Cannot write'),
        (('-o', 'rain.wav'), 'is a recording that row 2 plays'), (('-o', 'm.wav', '--duck', '-3'), '--duck must be'),
        (('-o', 'm.wav', '--seed', '-3'), '--seed must be'),
        (('-o', 'm.wav', '--speech', 'say'), '--speech needs {out}'),
        (('-o', 'm.wav', '--voice', 'Host'), '--voice takes'), (('-o', 'm.wav', '--voice', 'H=en,pich=3'), "'pitch'"),
        (('-o', 'm.wav', '--voice', 'Host=en'), "no character called 'Host'"),
        (('-o', 'm.wav', '--voices', 'gone'), 'the folder gone cannot be read'),
    ],
)  # fmt: skip
def test_wrong_arguments(play, capsys, arguments, told, monkeypatch):
    monkeypatch.chdir(play)
    before = sorted(play.iterdir())
    assert command('play.csv', *arguments) == 2
    assert told in capsys.readouterr().err and sorted(play.iterdir()) == before


def test_a_full_disk_leaves_nothing_half_written(play):
    """A file-size limit of 300 kB stands in for the disk; the mix is 794 kB."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))  # noqa: E731
    before = sorted(play.iterdir())
    done = subprocess.run(
        [sys.executable, '-m', 'bridge.cli', 'compose', str(play / 'play.csv'), '-o', str(play / 'mix.wav')],
        capture_output=True, text=True, preexec_fn=limit,
    )  # fmt: skip
    assert done.returncode == 2 and 'Cannot write' in done.stderr and 'Traceback' not in done.stderr
    assert sorted(play.iterdir()) == before


def test_other_formats_and_mono(play):
    assert command(play / 'play.csv', '-o', play / 'mix.flac', '--mono') == 0
    assert read_audio(play / 'mix.flac').shape == (1, 99225)


def speech_script(folder):
    rows = ['type,character,content', 'speech,Host,Good evening.', 'speech,Guest,Hello.', 'speech,Host,Good night.']
    (folder / 'talk.csv').write_text('\n'.join(rows))
    return folder / 'talk.csv'


def test_recorded_voices(tmp_path, capsys):
    script = speech_script(tmp_path)
    (tmp_path / 'voices').mkdir()
    for name, seconds in (('host-1', 0.5), ('row-2', 0.25), ('host-2', 1.0)):
        write_audio(tmp_path / f'voices/{name}.wav', noise(int(seconds * RATE)), RATE)
    assert command(script, '-o', tmp_path / 'm.wav', '--voices', tmp_path / 'voices') == 0
    assert read_audio(tmp_path / 'm.wav').shape[1] == int(1.75 * RATE)
    assert 'row 3: plays host-2.wav' in capsys.readouterr().err


@espeak
def test_spoken_voices_are_the_same_every_time_and_different_people(tmp_path, capsys):
    script = speech_script(tmp_path)
    for name in ('a', 'b'):
        assert command(script, '-o', tmp_path / f'{name}.wav', '--voice', 'Guest=en-gb,pitch=10,speed=120') == 0
    told = capsys.readouterr().err.splitlines()
    assert (tmp_path / 'a.wav').read_bytes() == (tmp_path / 'b.wav').read_bytes()
    assert told[0].split(': ')[1] == told[2].split(': ')[1] and 'en-gb, pitch 10, 120 words' in told[1]


def test_another_speech_program(tmp_path):
    """A program that writes 0.1 s for each word it reads."""
    script = speech_script(tmp_path)
    program = tmp_path / 'speak.py'
    program.write_text(
        'import sys, wave\n'
        'with wave.open(sys.argv[1], "wb") as f:\n'
        '    f.setnchannels(1); f.setsampwidth(2); f.setframerate(22050)\n'
        '    f.writeframes(b"\\x00\\x10\\x00\\xf0" * (1103 * len(sys.stdin.read().split())))\n'
    )
    assert command(script, '-o', tmp_path / 'm.wav', '--speech', f'{sys.executable} {program} {{out}}') == 0
    with wave.open(str(program.with_name('x.wav')), 'wb') as file:  # what it writes, for the length
        file.setparams((1, 2, 22050, 0, 'NONE', ''))
        file.writeframes(bytes(4 * 1103))
    per_word = read_audio(tmp_path / 'x.wav', RATE).shape[1]
    assert abs(read_audio(tmp_path / 'm.wav').shape[1] - 5 * per_word) <= 5


def test_a_missing_program_is_told_for_each_row(tmp_path, capsys):
    assert command(speech_script(tmp_path), '--check', '--speech', 'no-such-program {out}') == 2
    assert capsys.readouterr().err.count("the program 'no-such-program'") == 3


def test_a_damaged_midi_file_says_what_is_missing_where_it_is_played(tmp_path):
    from types import SimpleNamespace

    from genaudio_core.score.notes import Note, Score, Track
    from genaudio_core.score.reading import midi_bytes

    data = midi_bytes(Score([Track(0, notes=[Note(i, 1, 60 + i) for i in range(8)])]))
    (tmp_path / 'cut.mid').write_bytes(data[:-20])
    silent: Any = SimpleNamespace(
        fault=lambda: '', left_out=lambda score: '', render=lambda score, n: np.zeros((2, n), np.float32)
    )
    made = Recordings(silent).make(Row(1, MUSIC, file=tmp_path / 'cut.mid'), 100, 0)
    assert 'plays cut.mid' in made.told and 'truncated' in made.told


def test_missing_engines_are_faults_of_their_rows(tmp_path):
    renderer = FontRenderer(folders=[tmp_path])
    assert 'apt-get install fluid-soundfont-gm' in Music(renderer).fault(Row(1, MUSIC, content='calm piano'))
    assert 'apt-get install espeak-ng' in Speech(Espeak('no-such-espeak')).fault(Row(1, SPEECH, content='hi'))
    (tmp_path / 'a.wav').write_text('no sound')
    assert 'Cannot read' in Recordings(renderer).fault(Row(1, EFFECT, file=tmp_path / 'a.wav'))
    (tmp_path / 'x.sf2').write_text('no font')
    assert 'is not a SoundFont' in FontRenderer(tmp_path / 'x.sf2').fault()
    assert 'There is no SoundFont' in FontRenderer(tmp_path / 'gone.sf2').fault()


# --- what passes --check can be made ---


class LimitedBeeper(Beeper):
    """With the limits of the synthesizer."""

    def make(self, query, seconds=2.0, takes=1, seed=1, guidance=3.0, steps=None, pitch=0.0):
        assert MIN_SECONDS <= seconds <= MAX_SECONDS
        return super().make(query, seconds, takes, seed)


@pytest.mark.parametrize('seconds', [0.01, 1.0, MAX_SECONDS, MAX_SECONDS + 1, 300.0, 600.0, 3600.0])
def test_an_effect_may_have_any_length_that_a_row_may_have(seconds):
    maker = Effects(LimitedBeeper, lambda words: words)
    row = Row(1, EFFECT, content='rain')
    n = round(seconds * RATE)
    made = maker.make(row, n, 1)
    assert made.audio.shape[1] == n and np.isfinite(made.audio).all()
    assert ('repeats' in made.told) == (seconds > MAX_SECONDS)
    # At equal power, without a hole where it repeats.
    power = np.square(made.audio[:, : n // 4410 * 4410]).reshape(-1, 4410).mean(axis=1)
    assert n < 4410 or power.min() > 0.3 * power.max() / 2


def test_check_adds_up_what_the_mix_will_last():
    makers = noise_makers()
    script = foreground(*[(EFFECT, 'x', {'seconds': 600.0})] * 8)
    check(script, makers, faults := Faults())
    assert faults.lines == ['row 7: the mix would be longer than 60 minutes from here on.']


def test_check_reads_recordings_to_their_end(tmp_path):
    bad = np.zeros((1, 3 * RATE), np.float32)
    bad[:, -10] = np.nan
    write_audio(tmp_path / 'nan.wav', bad, RATE)
    write_audio(tmp_path / 'good.wav', bad[:, :RATE], RATE)
    recordings = Recordings(FontRenderer(folders=[tmp_path]))
    assert 'NaN' in recordings.fault(Row(1, EFFECT, file=tmp_path / 'nan.wav'))
    good = Row(2, EFFECT, file=tmp_path / 'good.wav')
    assert recordings.fault(good) == '' and recordings.length(good) == RATE
    (tmp_path / 'x.sf2').write_bytes(b'RIFF\x40\0\0\0sfbkLIST' + bytes(40))
    assert 'damaged SoundFont' in FontRenderer(tmp_path / 'x.sf2').fault()


def test_check_asks_for_the_music_model_as_making_does(tmp_path):
    other = presets_dir() / 'models' / 'query-text.onnx'
    assert "a 'decoder' is needed" in Music(FontRenderer(), other).fault(Row(1, MUSIC, content='calm piano'))


@pytest.mark.parametrize('error', [RuntimeError('onnx\nbroke'), ValueError('no'), GenaudioError('told')])
def test_whatever_a_maker_raises_names_its_row(error):
    class Breaks(NoiseMaker):
        def make(self, row, n_samples, seed):
            raise error

    makers = Makers(NoiseMaker(), Breaks(), NoiseMaker(), NoiseMaker())
    with pytest.raises(GenaudioError, match='row 1: ') as caught:
        compose(foreground((EFFECT, 'x', {})), makers)
    assert '\n' not in str(caught.value)


def test_a_sound_that_is_no_number_is_told_with_its_row():
    class Nothing(NoiseMaker):
        def make(self, row, n_samples, seed):
            return Made(np.full((1, n_samples or 9), np.nan, np.float32))

    with pytest.raises(GenaudioError, match=r'row 1: .*NaN or infinite'):
        compose(foreground((EFFECT, 'x', {})), Makers(NoiseMaker(), Nothing(), NoiseMaker(), NoiseMaker()))


def test_what_is_cut_off_a_recording_is_told(play, capsys):
    assert command(play / 'play.csv', '-o', play / 'mix.wav') == 0
    assert '0.5 s are left out' in capsys.readouterr().err


def test_the_script_and_recorded_lines_are_not_overwritten(tmp_path, capsys):
    script = speech_script(tmp_path)
    voices = tmp_path / 'voices'
    voices.mkdir()
    for number in (1, 2, 3):
        write_audio(voices / f'row-{number}.wav', noise(RATE, 1), RATE)
    before = (voices / 'row-1.wav').read_bytes()
    assert command(script, '-o', voices / 'row-1.wav', '--voices', voices) == 2
    assert 'is a recording of speech' in capsys.readouterr().err
    assert (voices / 'row-1.wav').read_bytes() == before


@pytest.mark.parametrize('program', ['false {out}', 'touch {out}', 'mkdir {out}', 'sh -c "echo hi > {out}"'])
def test_check_lets_a_speech_program_say_a_word(tmp_path, capsys, program):
    assert command(speech_script(tmp_path), '--check', '--speech', program) == 2
    assert (
        capsys.readouterr().err.count('no speech' if 'echo' not in program else 'made a file that cannot be read') == 3
    )
