"""A sound that is cut off at any byte: as many samples as are there, and a line on how many are missing; or one line.

Silence is never made up without a word, and a sound that is read in blocks is the sound that is read whole.
"""

import functools
import io
import re

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_audio_containers import RATE, mp3, sound

from genaudio_core.errors import GenaudioError
from genaudio_core.sound.audio_files import AudioReader, read_audio

KINDS = {
    'wav': ('WAV', 'PCM_16'), 'wav float': ('WAV', 'FLOAT'), 'wavex': ('WAVEX', 'PCM_24'), 'w64': ('W64', 'PCM_16'),
    'rf64': ('RF64', 'PCM_16'), 'aiff': ('AIFF', 'PCM_24'), 'au': ('AU', 'PCM_16'), 'caf': ('CAF', 'PCM_16'),
    'flac': ('FLAC', 'PCM_16'), 'ogg': ('OGG', 'VORBIS'), 'mp3': ('', ''),
}  # fmt: skip
PACKED = ('flac', 'ogg', 'mp3')
SECONDS = 3


@functools.cache
def whole(kind):
    """(bytes, what they sound like: float32 (2, samples))."""
    if kind == 'mp3':
        data = mp3(SECONDS * RATE)
    else:
        file = io.BytesIO()
        soundfile.write(file, sound(SECONDS * RATE).T, RATE, format=KINDS[kind][0], subtype=KINDS[kind][1])
        data = file.getvalue()
    return data, soundfile.read(io.BytesIO(data), dtype='float32')[0].T


@pytest.mark.parametrize('kind', KINDS)
@given(share=st.floats(0, 1, exclude_max=True), block=st.integers(1000, 200_000))
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_sound_that_is_cut_off_at_any_byte_is_what_is_there_and_says_what_is_missing(tmp_path, kind, share, block):
    data, full = whole(kind)
    data = data[: int(len(data) * share)]
    path = tmp_path / 'x.bin'
    path.write_bytes(data)
    told: list[str] = []
    try:
        audio = read_audio(path, on_notice=told.append)
    except GenaudioError as error:
        # Of so few bytes there may be no sound yet; the first block of what is packed may be large.
        assert '\n' not in str(error) and len(data) < (6000 if kind not in PACKED else len(whole(kind)[0]) * 0.6)
        with pytest.raises(GenaudioError), AudioReader(path, on_notice=told.append) as reader:
            list(reader.blocks(block))
        return
    n, blocks_told = audio.shape[1], []
    with AudioReader(path, on_notice=blocks_told.append) as reader:
        assert np.array_equal(np.concatenate(list(reader.blocks(block)), axis=1), audio)
        assert reader.n_samples == n or kind in ('flac', 'mp3')  # what these hold is known when they are decoded
    assert blocks_told == told
    assert 0 < n <= full.shape[1]
    same = n if kind != 'mp3' else max(n - 2000, 0)  # the end of a cut MP3 lacks what the next frame would add
    assert np.abs(audio[:, :same] - full[:, :same]).max(initial=0) < 1e-4  # nothing is made up
    if n < full.shape[1]:
        assert len(told) == 1 and 'missing' in told[0]
        if found := re.search(r'([\d.]+) of ([\d.]+) s', told[0]):
            assert float(found[1]) == pytest.approx(n / RATE, abs=0.006)
            assert float(found[2]) == pytest.approx(full.shape[1] / RATE, abs=0.03)
    else:
        assert not told
