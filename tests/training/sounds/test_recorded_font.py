"""SoundFonts of recorded notes: what is written is what fluidsynth plays."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaudio_core.commands.cli import main
from genaudio_core.errors import GenaudioError
from genaudio_core.sound.audio_files import AudioWriter
from genaudio_core.training.sounds.recorded_font import (
    SAMPLE_RATE,
    note_of,
    pitch_of,
    read_instrument,
    read_kit,
    write_font,
)


def tone(key: float, seconds: float = 1.5, *, fades: bool = False, level: float = 0.3) -> np.ndarray:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    hertz = 440 * 2 ** ((key - 69) / 12)
    audio = sum(np.sin(2 * np.pi * k * hertz * t) / k for k in range(1, 6) if k * hertz < SAMPLE_RATE / 2)
    return (level * audio * (np.exp(-3 * t) if fades else 1)).astype(np.float32)


def folder_of(path, files: dict[str, np.ndarray]):
    path.mkdir()
    for name, audio in files.items():
        with AudioWriter(path / name, SAMPLE_RATE, 1) as writer:
            writer.write(audio[None])
    return path


@pytest.mark.parametrize(
    ('name', 'key'),
    [('A4', 69), ('c4', 60), ('killer_bass_a5_vl1', 81), ('A_029__F1_3', 29), ('MartinGM2_046_Bb2_1', 46),
     ('027-D#1-FF', 27), ('Fs6', 90), ('C-1', 0), ('Ssld01', None), ('source-0010', None), ('G10', None)],
)  # fmt: skip
def test_a_file_name_says_the_note(name, key):
    assert note_of(name) == key


@given(st.integers(28, 100), st.booleans())
def test_the_pitch_of_a_note_is_heard(key, fades):
    heard = pitch_of(tone(key, fades=fades), SAMPLE_RATE)
    assert heard == pytest.approx(key, abs=0.7)  # a whole number of samples, at the top


def test_what_has_no_pitch_or_is_too_short_has_none():
    noise = np.random.default_rng(1).standard_normal(SAMPLE_RATE).astype(np.float32)
    assert pitch_of(noise, SAMPLE_RATE) is None
    assert pitch_of(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE) is None
    assert pitch_of(tone(60, 0.1), SAMPLE_RATE) is None


def test_an_instrument_named_an_octave_off_is_moved(tmp_path):
    files = {f'bass_{name}_soft.wav': tone(key - 12) for name, key in (('C3', 48), ('F3', 53), ('A#3', 58))}
    notes = read_instrument(folder_of(tmp_path / 'bass', files))
    assert [note.key for note in notes] == [36, 41, 46]
    assert all(note.loop for note in notes)


def test_notes_that_fade_are_not_looped_and_layers_go_by_loudness(tmp_path):
    files = {'A3_f.wav': tone(57, fades=True, level=0.4), 'A3_p.wav': tone(57, fades=True, level=0.02)}
    soft, loud = read_instrument(folder_of(tmp_path / 'guitar', files))
    assert soft.loop is loud.loop is None
    assert soft.loudness < loud.loudness
    assert np.abs(soft.audio).max() == pytest.approx(np.abs(loud.audio).max(), rel=0.05)


def test_fluidsynth_plays_what_was_recorded(tmp_path):
    pytest.importorskip('fluidsynth')
    from genaudio_core.sound.soundfont import FontSampler, PlayedNote

    held = read_instrument(folder_of(tmp_path / 'a', {'A3.wav': tone(57), 'A5.wav': tone(81)}))
    write_font({40: held, 42: held[:1]}, tmp_path / 'own.sf2', 'own')
    sampler = FontSampler(tmp_path / 'own.sf2')
    for program, key in ((40, 57), (40, 62), (40, 84), (42, 45)):
        audio = sampler.play([PlayedNote(0.0, 4.0, key, 100)], program, False, 4.0).mean(axis=0)
        late = audio[3 * sampler.sample_rate :]  # longer than any recording: it is in its loop
        assert pitch_of(late, sampler.sample_rate) == pytest.approx(key, abs=0.4)
        early = audio[sampler.sample_rate // 2 : sampler.sample_rate]
        assert np.std(late) == pytest.approx(np.std(early), rel=0.4)
    sampler.close()


def hit(seconds: float, colour: float, level: float = 0.3) -> np.ndarray:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (level * np.sin(2 * np.pi * colour * t) * np.exp(-t * 3 / seconds)).astype(np.float32)


def kit_of(path: Path) -> Path:
    path.mkdir()
    folder_of(path / 'kick-drum', {'1.wav': hit(0.3, 60, 0.9), '2.wav': hit(0.3, 70, 0.1)})
    folder_of(path / 'snare', {'a.wav': hit(0.2, 200)})
    folder_of(path / 'open hi-hat', {'a.wav': hit(2.0, 9000)})
    folder_of(path / 'closed_hihat', {'a.wav': hit(0.05, 7000)})
    folder_of(path / 'vuvuzela', {'a.wav': hit(0.3, 233)})
    return path


def test_a_folder_of_hits_is_a_drum_kit_on_the_keys_of_general_midi(tmp_path):
    kit = read_kit(kit_of(tmp_path / 'kit'))
    assert {35, 36, 38, 40, 42, 44, 46} <= kit.keys()
    assert [note.loudness for note in kit[36]] == pytest.approx([0.1, 0.9], rel=0.1)  # the softer one first
    assert len(kit[49][0].audio) == len(kit[46][0].audio)  # an open hi-hat stands in for the crash that it lacks
    assert 54 not in kit  # nothing is like a tambourine
    peak = {key: max(np.abs(note.audio).max() for note in kit[key]) for key in (36, 38, 42)}
    assert peak[36] > peak[38] > 2 * peak[42]  # a hi-hat is not as loud as a kick drum


def test_a_kit_is_played_as_one_and_a_closed_hi_hat_ends_an_open_one(tmp_path):
    pytest.importorskip('fluidsynth')
    from genaudio_core.sound.soundfont import FontSampler, PlayedNote

    out = tmp_path / 'kit.sf2'
    assert main(['prepare-font', f'drum kit={kit_of(tmp_path / "kit")}', '-o', str(out)]) == 0
    sampler = FontSampler(out)

    def late(*keys: int) -> float:
        notes = [PlayedNote(0.2 * i, 0.2 * i + 0.05, key, 100) for i, key in enumerate(keys)]
        return float(np.abs(sampler.play(notes, 0, True, 1.2)[:, sampler.sample_rate :]).max())

    ringing = late(46)
    assert ringing > 1e-3  # it rings on after its key is up
    assert late(46, 42) < ringing / 10
    assert late(46, 38) == pytest.approx(ringing, rel=0.2)
    sampler.close()


def test_what_is_no_drum_kit_is_told_what_it_lacks(tmp_path, capsys):
    kit = tmp_path / 'kit'
    kit.mkdir()
    folder_of(kit / 'kick', {'a.wav': hit(0.3, 60)})
    assert main(['prepare-font', f'drum kit={kit}', '-o', str(tmp_path / 'own.sf2')]) == 2
    assert 'no snare and no closed hi-hat' in capsys.readouterr().err
    assert not (tmp_path / 'own.sf2').exists()


def test_a_part_goes_to_a_font_that_holds_it(tmp_path, test_font):
    import mido

    from genaudio_core.training.sounds.bands import BandRenderer

    notes = read_instrument(folder_of(tmp_path / 'a', {'A3.wav': tone(57)}))
    write_font({40: notes}, tmp_path / 'own.sf2')
    renderer = BandRenderer([tmp_path / 'own.sf2', test_font])
    events = [(0.0, mido.Message('program_change', channel=c, program=p)) for c, p in ((0, 40), (1, 56))]
    for c, key in ((0, 60), (1, 67), (9, 38)):
        events += [(0.1, mido.Message('note_on', channel=c, note=key)),
                   (0.8, mido.Message('note_off', channel=c, note=key))]  # fmt: skip
    seen = set()
    for seed in range(12):
        stems = renderer.window(events, 0.0, 1.0, ['own', test_font.stem], np.random.default_rng(seed))
        assert len(stems) == 3 and all(np.abs(audio).max() > 1e-3 for audio in stems.values())
        seen |= stems.keys()
    assert {'drums', 'violin', 'trumpet'} <= seen
    assert renderer._able(['own', test_font.stem], False, [40]) == ['own', test_font.stem]
    assert renderer._able(['own', test_font.stem], False, [40, 41]) == [test_font.stem]
    assert renderer._able(['own'], True, [0]) == ['own']


def test_the_command_makes_a_font_and_says_what_it_cannot_use(tmp_path, capsys):
    folder_of(tmp_path / 'fiddle', {'A4.wav': tone(69)})
    folder_of(tmp_path / 'nameless', {'one.wav': tone(69)})
    out = tmp_path / 'fonts/own.sf2'
    assert main(['prepare-font', f'violin={tmp_path}/fiddle', f'cello={tmp_path}/fiddle', '-o', str(out)]) == 0
    assert out.read_bytes()[8:12] == b'sfbk'
    for text, told in (
        ('violin', 'must be NAME=FOLDER'), ('kazoo=.', 'not an instrument of General MIDI'), ('drums=.', 'not an'),
        (f'violin={tmp_path}/gone', 'is not a folder'), (f'violin={tmp_path}/nameless', 'has a note in its name'),
    ):  # fmt: skip
        capsys.readouterr()
        assert main(['prepare-font', text, '-o', str(out)]) == 2
        assert told in capsys.readouterr().err
    assert main(['prepare-font', *[f'cello={tmp_path}/fiddle'] * 2, '-o', str(out)]) == 2
    assert 'General MIDI has 1 of cello' in capsys.readouterr().err


def test_a_font_without_recordings_is_refused(tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(GenaudioError, match='note in its name'):
        read_instrument(tmp_path / 'empty')


def test_a_full_disk_is_told_in_one_line_and_the_font_before_is_whole(tmp_path, capsys, monkeypatch):
    folder_of(tmp_path / 'fiddle', {'A4.wav': tone(69)})
    command = ['prepare-font', f'violin={tmp_path}/fiddle', '-o', str(tmp_path / 'own.sf2')]
    assert main(command) == 0
    before = (tmp_path / 'own.sf2').read_bytes()
    capsys.readouterr()

    def full(path: Path, data: bytes) -> None:
        with open(path, 'wb') as file:
            file.write(data[:100])
        raise RuntimeError('Error while serializing: I/O error: No space left on device (os error 28)')  # safetensors

    monkeypatch.setattr(Path, 'write_bytes', full)
    assert main(command) == 2
    assert (tmp_path / 'own.sf2').read_bytes() == before
    told = capsys.readouterr().err
    assert told.startswith('error: ') and 'the disk is full' in told and told.count('\n') == 1
