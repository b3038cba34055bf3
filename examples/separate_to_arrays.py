"""Pull sounds out of a recording as numpy arrays, mix them anew (drums down by 6 dB), and write the mix and the stems.
Run: python examples/separate_to_arrays.py song.wav new-mix.wav drums "a flute" ..."""

import sys
from pathlib import Path

import numpy as np

import genaudio_core as ga


def level_db(audio: np.ndarray) -> float:
    """Root mean square of audio (channels, n_samples), dB below full scale."""
    return 10 * np.log10(np.mean(audio**2) + 1e-20)


def main(source: str, target: str, *queries: str) -> None:
    stems = ga.separate(source, queries or ('drums',), residual=True)  # {name: float32 (channels, n_samples)}
    for name, audio in stems.items():
        print(f'{name}: {audio.shape}, {level_db(audio):.1f} dB')
    mix = np.sum([audio * (0.5 if name == 'drums' else 1.0) for name, audio in stems.items()], axis=0)
    ga.write_audio(target, mix, stems.sample_rate)
    stems.save(Path(target).with_suffix(''))  # new-mix/drums.wav ...


if __name__ == '__main__':
    main(*sys.argv[1:])
