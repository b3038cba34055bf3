"""Broadcast Wave: a sound file that knows where in the session it lies."""

import struct
from pathlib import Path

import numpy as np

from genaudio_core import __version__
from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write


def write_broadcast_wav(path: str | Path, audio: np.ndarray, sample_rate: int, start: int, description: str) -> None:
    """Write float32 (channels, n_samples) as Broadcast Wave (EBU Tech 3285) that begins at sample `start`.

    Raises
    ------
    GenaudioError
        If it cannot be written, or is over 4 GB.
    """
    channels, n_samples = audio.shape
    text = description.encode('ascii', 'replace')[:255]
    bext = struct.pack(
        '<256s32s32s10s8sQH64s190s', text, f'genaudio {__version__}'.encode(), b'', b'', b'', start, 1, b'', b''
    )
    layout = struct.pack('<HHIIHHH', 3, channels, sample_rate, sample_rate * channels * 4, channels * 4, 32, 0)
    chunks = [(b'fmt ', layout), (b'bext', bext), (b'fact', struct.pack('<I', n_samples))]
    n_bytes = 4 * channels * n_samples
    size = 4 + sum(8 + len(body) for _, body in chunks) + 8 + n_bytes
    if size >= 1 << 32:
        raise GenaudioError(f'{path} would be over 4 GB, which a wav file cannot be.')
    with atomic_write(path) as temporary, open(temporary, 'wb') as file:
        file.write(b'RIFF' + struct.pack('<I', size) + b'WAVE')
        for name, body in chunks:
            file.write(name + struct.pack('<I', len(body)) + body)
        file.write(b'data' + struct.pack('<I', n_bytes))
        file.write(np.ascontiguousarray(audio.T, '<f4').tobytes())
