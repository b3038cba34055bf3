"""A pack of synthetic mels and untrained synthesis models, small enough for tests."""

import json

import numpy as np

from genaudio_core.sound.mel import BANDS, pack_mel
from genaudio_core.training.sounds.packed_mels import FRAMES

NAMES = ['piano', 'drums', 'rain', 'violin', 'snare drum', 'flute']


def write_pack(path, per_label=6, names=NAMES):
    """Write a pack in which each label is a bump at its own height; return the names."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    mels, labels, splits, starts = [], [], [], []
    for number in range(len(names)):
        for i in range(per_label):
            place = (number + 0.5) * BANDS / len(names)
            bump = -8 + 6 * np.exp(-(((np.arange(BANDS) - place) / 6) ** 2))
            fall = np.linspace(0, -3 * rng.random(), FRAMES)[:, None]
            mels.append(pack_mel(bump[None] + fall + rng.standard_normal((FRAMES, BANDS)) * 0.1))
            labels.append(number)
            splits.append(0 if i < per_label - 2 else 1 + i % 2)
            starts.append(i % 3 != 0)
    query = rng.standard_normal((len(names), 128))[labels] + rng.standard_normal((len(labels), 128)) * 0.2
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    tensors = {
        'mel': np.stack(mels), 'query': query.astype(np.float16), 'label': np.array(labels, np.int16),
        'split': np.array(splits, np.uint8), 'start': np.array(starts, np.uint8),
    }  # fmt: skip
    save_file(tensors, path, {'labels': json.dumps(names)})
    return names
