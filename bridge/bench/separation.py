"""`genaudio bench separate`: what pulling sounds out of a long recording costs, and whether the stems add up.

A recording of `--minutes` is made (or the file of `--input` heard again and again), separated with a residual as
`genaudio separate` would, and read back beside the input: stems and residual must be exactly as long, and add up.
Audio of an hour takes 1.3 GB a file; all of it is gone afterwards.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genaudio_core.command_line import number, threads, whole

HELP = 'Speed and memory of offline separation of a long file, and whether stems and residual add up.'
EXAMPLE = 'genaudio bench separate --minutes 60 --json'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--minutes', type=number('--minutes', above=0, high=24 * 60), default=10.0,
                        help='length of the recording (default: 10)')  # fmt: skip
    parser.add_argument('--input', type=Path, help='audio file to repeat to that length (default: made up)')
    parser.add_argument('--model', type=Path, help='.onnx file (default: the bundled one)')
    parser.add_argument('--queries', type=whole('--queries', 1), default=2, help='stems at once, 1 to 16 (default: 2)')
    parser.add_argument('--threads', type=threads(), default=2)
    parser.add_argument('--sample-rate', type=whole('--sample-rate', 4000, 384000, unit='Hz'), default=44100,
                        help='Hz of the made-up recording (default: 44100)')  # fmt: skip
    parser.add_argument('--folder', type=Path, help="where the audio goes meanwhile (default: the system's own place)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    import shutil

    import numpy as np

    from genaudio_core.errors import GenaudioError
    from genaudio_core.processes.memory import peak_memory
    from genaudio_core.query.vector import Query
    from genaudio_core.separation.offline import MAX_QUERIES, Separator, separate_file

    if args.queries > MAX_QUERIES:
        raise GenaudioError(f'--queries must be 1 to {MAX_QUERIES}.')
    if args.folder is not None and not args.folder.is_dir():
        raise GenaudioError(f'There is no folder {args.folder}.')
    separator = Separator.load(args.model, threads=args.threads)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((args.queries, separator.query_dim)).astype(np.float32)
    queries = [Query(str(i), ((1.0, vector),)) for i, vector in enumerate(vectors)]
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        # Input, stems and residual, of two channels and four bytes a sample.
        wanted = args.minutes * 60 * args.sample_rate * 8 * (args.queries + 2)
        if shutil.disk_usage(folder).free < 1.1 * wanted:
            raise GenaudioError(f'{folder.parent} has no {1.1 * wanted / 1e9:.1f} GB free; give another --folder.')
        source = folder / 'input.wav'
        n_samples = _write_input(source, args)
        outputs = [folder / f'{i}.wav' for i in range(args.queries)]
        residual = folder / 'residual.wav'
        wall, cpu = time.perf_counter(), time.process_time()
        told = separate_file(separator, source, outputs, queries, residual=residual)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        lengths, error = _add_up(source, [*outputs, residual])
        most = peak_memory()
    seconds = told['seconds']
    return {
        'minutes': seconds / 60, 'sample_rate': told['sample_rate'], 'channels': told['channels'],
        'queries': args.queries, 'threads': args.threads, 'seconds_wall': wall, 'seconds_cpu': cpu,
        'times_real_time': seconds / wall, 'times_real_time_per_core': seconds / cpu,
        'peak_memory_mb': most and most / 1e6,
        'exact_length': all(length == n_samples for length in lengths), 'largest_sum_error': error,
    }  # fmt: skip


def _write_input(path: Path, args: argparse.Namespace) -> int:
    """Write the recording; return its samples."""
    import numpy as np

    from genaudio_core.sound.audio_files import AudioReader, AudioWriter

    if args.input is not None:
        with AudioReader(args.input) as reader:
            rate, channels = reader.sample_rate, reader.channels
    else:
        rate, channels = args.sample_rate, 2
    n_samples, written = round(args.minutes * 60 * rate), 0

    def made_up() -> Iterator[np.ndarray]:
        """A tone and a noise that swell and fade, another pair every second: stereo."""
        rng, t = np.random.default_rng(1), np.arange(rate) / rate
        while True:
            tone = 0.2 * np.sin(2 * np.pi * rng.uniform(60, 1500) * t) * np.exp(-3 * t)
            noise = rng.standard_normal((2, rate)) * np.exp(-rng.uniform(1, 20) * t) * 0.1
            yield (tone * rng.uniform(0.3, 1, (2, 1)) + noise).astype(np.float32)

    def again() -> Iterator[np.ndarray]:
        while True:
            with AudioReader(args.input) as reader:
                yield from reader.blocks()

    with AudioWriter(path, rate, channels) as writer:
        for block in made_up() if args.input is None else again():
            writer.write(block[:, : n_samples - written])
            written = min(n_samples, written + block.shape[1])
            if written == n_samples:
                return n_samples
    raise AssertionError('the recording has no end')


def _add_up(source: Path, parts: list[Path]) -> tuple[list[int], float]:
    """Return the length of each part, and how far their sum is from the source at worst."""
    import contextlib

    import numpy as np

    from genaudio_core.sound.audio_files import AudioReader

    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(AudioReader(path)) for path in (source, *parts)]
        worst = 0.0
        for blocks in zip(*(reader.blocks() for reader in readers), strict=False):
            n = min(block.shape[1] for block in blocks)  # a part that is too short is told by its length
            own, *others = (block[:, :n].astype(np.float64) for block in blocks)
            worst = max(worst, float(np.abs(own - sum(others)).max()))
        return [reader.n_samples for reader in readers[1:]], worst
