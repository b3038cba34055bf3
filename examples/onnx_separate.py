"""One sound out of a WAV file (44.1 kHz, 16 bits) with numpy and onnxruntime alone: docs/onnx.md tells every number.
Run: python examples/onnx_separate.py presets/models song.wav violin violin.wav"""

import functools
import itertools
import sys
import wave

import numpy as np
from onnxruntime import InferenceSession

N, HOP, BANDS, FRAMES = 4096, 1024, 192, 192
folder, source, text, target = sys.argv[1:]
words = [f'<{word}>' for word in text.lower().split()]
features = [f'w:{word[1:-1]}' for word in words] + [f'p:{a[1:-1]} {b[1:-1]}' for a, b in itertools.pairwise(words)]
features += [word[i : i + n] for word in words for n in (2, 3, 4, 5) for i in range(len(word) - n + 1)]
hashed = (functools.reduce(lambda h, b: (h ^ b) * 16777619 % 2**32, word.encode(), 2166136261) for word in features)
ids = np.array(sorted({value % 16384 for value in hashed}))
query = np.asarray(InferenceSession(f'{folder}/query-text.onnx').run(None, {'ids': ids}))
with wave.open(source) as file:
    sound = np.frombuffer(file.readframes(file.getnframes()), '<i2').reshape(-1, file.getnchannels()).T / 32768
window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N) / N)
padded = np.pad(sound, ((0, 0), (N // 2, N // 2)))
spectrum = np.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, N, axis=1)[:, ::HOP] * window).swapaxes(1, 2)
count = spectrum.shape[2]  # frames; it is channels, bins, frames
place = np.log(50 * np.linspace(-1, 1, N // 2 + 1) + 51) / np.log(101) * (BANDS - 1)  # of each bin among the bands
spread = np.maximum(1 - abs(place[:, None] - np.arange(BANDS)), 0)  # bins, bands
energy = np.pad(np.float32(spread.T @ (abs(spectrum) ** 2).mean(0)), ((0, 0), (0, -count % FRAMES)))[None, None]
session = InferenceSession(f'{folder}/separator.onnx')  # mask_power 0.9
feeds = [{'spectrum': energy[..., i : i + FRAMES], 'query': query} for i in range(0, energy.shape[3], FRAMES)]
mask = np.concatenate([np.asarray(session.run(None, feed))[0, 0] for feed in feeds], axis=1)[:, :count] ** 0.9
frames = np.fft.irfft((spectrum * (spread @ mask)).swapaxes(1, 2)) * window
out, weight = np.zeros_like(padded), np.full(padded.shape[1], 1e-8)
for i, place in enumerate(range(0, frames.shape[1] * HOP, HOP)):
    out[:, place : place + N] += frames[:, i]
    weight[place : place + N] += window**2
stem = (out / weight)[:, N // 2 : N // 2 + sound.shape[1]]
with wave.open(target, 'wb') as file:
    file.setparams((len(stem), 2, 44100, 0, 'NONE', ''))
    file.writeframes(np.int16(np.clip(stem.T, -1, 1) * 32767).tobytes())
