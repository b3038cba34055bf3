"""A live separator with random weights, exported as the real one is. Needs torch; made once per test run."""

import functools
import tempfile
from pathlib import Path

import numpy as np


@functools.cache
def random_model(hop: int = 256, seed: int = 0, backwards: bool = False) -> Path:
    """Return the path of an exported model with the words drums, bass and piano."""
    import torch

    from export.kinds import Options
    from export.kinds.stream_separator import StreamSeparatorKind
    from genaudio_core.inference.model_card import write_model
    from genaudio_core.models.stream_separator import StreamSeparator, StreamSeparatorConfig

    torch.manual_seed(seed)
    model = StreamSeparator(StreamSeparatorConfig(hop=hop, backwards=backwards)).eval()
    rng = np.random.default_rng(seed)
    words = {word: rng.standard_normal(128).astype(np.float32) for word in ('drums', 'bass', 'piano')}
    kind = StreamSeparatorKind()
    path = Path(tempfile.mkdtemp(prefix='genaudio-stems-')) / f'stems-{hop}-{seed}.onnx'
    write_model(path, kind.build((model, words), Options()), kind.card((model, words), Options()))
    return path


def music(seconds: float, sample_rate: int = 48000, seed: int = 0) -> np.ndarray:
    """Return something like music (2, samples): chords of decaying partials, and hits of noise."""
    rng = np.random.default_rng(seed)
    n = round(seconds * sample_rate)
    t = np.arange(n) / sample_rate
    out = np.zeros((2, n))
    for beat in np.arange(0, seconds, 0.25):
        at = round(beat * sample_rate)
        age = t[at:] - t[at]
        for note in rng.choice([110.0, 220.0, 277.2, 329.6, 440.0, 554.4], 3):
            pan = rng.uniform(0.2, 0.8)
            tone = np.sin(2 * np.pi * note * age) * np.exp(-4 * age) * (1 - np.exp(-age * 500))
            out[:, at:] += 0.1 * np.array([[pan], [1 - pan]]) * tone
        hit = rng.standard_normal((1, n - at)) * np.exp(-40 * age) * (1 - np.exp(-age * 2000))
        out[:, at:] += 0.1 * hit
    return out.astype(np.float32)
