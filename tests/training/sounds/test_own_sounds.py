"""A user's folders of sounds, songs and videos."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from genaudio_core.commands.cli import main
from genaudio_core.sound.audio_files import write_audio
from genaudio_core.training.sounds.packed_clips import SoundSet

RATE = 44100


def tone(hz, seconds=1.0, rate=RATE, channels=1):
    t = np.arange(round(seconds * rate)) / rate
    return np.tile(0.2 * np.sin(2 * np.pi * hz * t), (channels, 1)).astype(np.float32)


def write(path, audio, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, audio, rate)


def prepare(capsys, mine, out) -> tuple[int, dict, str]:
    code = main(['prepare-sounds', '--own', str(mine), '-o', str(out), '--json'])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else {}, said.err


def test_labels_songs_and_what_is_left_out(tmp_path, capsys):
    mine = tmp_path / 'mine'
    write(mine / 'Fiddle' / 'a.flac', tone(440, 2.0, 48000), 48000)
    write(mine / 'rain' / 'deep' / 'b.wav', tone(100, 65.0))
    write(mine / 'my song' / 'Bass Guitar.wav', tone(60, 1.5))
    write(mine / 'my song' / 'drums.wav', tone(900, 2.0, channels=2))
    write(mine / 'my song' / 'my vilin.wav', tone(300))
    write(mine / 'violin' / 'silent.wav', 0 * tone(300))
    (mine / 'violin' / 'broken.wav').write_bytes(b'no sound')
    (mine / 'violin' / 'notes.txt').write_text('x')
    code, result, said = prepare(capsys, mine, tmp_path / 'out')
    assert code == 0 and result['own'] == {'clips': 6, 'minutes': 1.18, 'songs': 1, 'labels': 4}
    assert 'silent.wav is silent' in said and 'broken.wav' in said and 'my vilin' in said and 'notes.txt' not in said
    sounds = SoundSet(tmp_path / 'out')
    solo = next(clip for clip in sounds.clips if clip.label == 'violin')
    assert (solo.kind, solo.sample_rate, solo.channels) == ('solo', RATE, 1)
    assert abs(solo.n_samples - 2 * RATE) < 3  # resampled
    # A long file is cut, and all of it stays in one split.
    rain = [clip for clip in sounds.clips if clip.label == 'rain']
    assert [round(clip.seconds) for clip in rain] == [30, 30, 5] and len({clip.split for clip in rain}) == 1
    (stems,) = (clips for split in ('train', 'valid', 'test') for clips in sounds.groups(split=split).values())
    assert {clip.label for clip in stems} == {'electric bass', 'drums'}
    assert all(clip.n_samples == 2 * RATE and clip.channels == 2 for clip in stems)  # the shorter one is filled up
    bass, drums = (sounds.read(next(c for c in stems if c.label == label)) for label in ('electric bass', 'drums'))
    assert np.abs(bass[:, :RATE]).max() == pytest.approx(np.abs(drums).max(), rel=0.02)  # the balance is kept
    assert not bass[:, round(1.6 * RATE) :].any()


@pytest.mark.skipif(shutil.which('ffmpeg') is None, reason='needs ffmpeg')
def test_a_video_gives_its_sound(tmp_path, capsys):
    write(tmp_path / 'tone.wav', tone(440, 2.0, 48000), 48000)
    video = tmp_path / 'mine' / 'violin' / 'concert.mkv'
    video.parent.mkdir(parents=True)
    subprocess.run(
        ['ffmpeg', '-v', 'error', '-f', 'lavfi', '-i', 'color=size=32x32:rate=5', '-i', str(tmp_path / 'tone.wav'),
         '-shortest', '-c:v', 'mpeg4', '-c:a', 'flac', str(video)], check=True,
    )  # fmt: skip
    (tmp_path / 'mine' / 'violin' / 'mute.mp4').write_bytes(b'no video')
    code, result, said = prepare(capsys, tmp_path / 'mine', tmp_path / 'out')
    assert code == 0 and result['own']['clips'] == 1 and 'ffmpeg cannot read' in said
    sounds = SoundSet(tmp_path / 'out')
    heard = sounds.read(sounds.clips[0])[0, RATE // 2 : RATE]
    peak = np.argmax(np.abs(np.fft.rfft(heard * np.hanning(len(heard)))))
    assert peak * RATE / len(heard) == pytest.approx(440, abs=3)


@pytest.mark.parametrize('make', ['missing', 'empty', 'unknown'])
def test_nothing_usable_is_one_clear_line(tmp_path, capsys, make):
    mine = tmp_path / 'mine'
    if make != 'missing':
        mine.mkdir()
    if make == 'unknown':
        write(mine / 'things' / 'gizmo.wav', tone(440))
    code, _, said = prepare(capsys, mine, tmp_path / 'out')
    assert code == 2 and ('does not exist' if make == 'missing' else 'No usable sound') in said
    assert 'Traceback' not in said and not (tmp_path / 'out').exists()
