"""How a job grows with its workers, and what it costs: ``python tests/benchmarks/scaling.py [--files N] [--price X]``

Separates files and continues phrases with one worker and with two, on a machine that does nothing else. From what an
item takes, what the driver does for each item by itself, and how long a worker takes to load its model, the time with
more workers is simulated as the pool hands items out. Prints the tables of ``docs/scale.md``.
"""

import argparse
import heapq
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from jobs import Nothing  # beside this file; what is left of its step is what the runner does

from genaudio_core.jobs.items import Item
from genaudio_core.jobs.job import Options, run_job
from genaudio_core.jobs.journal import entries, journals_of
from genaudio_core.jobs.pool import AHEAD
from genaudio_core.score.notes import Note, Score, Track
from genaudio_core.score.reading import write_midi
from genaudio_core.sound.audio_files import write_audio

WORKERS = (1, 2, 4, 8, 64)
BEATS = 16


def simulate(seconds, n_items, workers, loading, handing):
    """Seconds that a job takes: a worker loads once and has `AHEAD` items in hand; the driver serves one at a time."""
    rng = random.Random(0)
    driver, free = 0.0, [(loading, i) for i in range(workers)]
    heapq.heapify(free)
    handed = [0.0] * (workers * AHEAD)  # when the places in the queue were filled
    end = 0.0
    for item in range(n_items):
        driver = max(driver, handed[item % len(handed)]) + handing
        at, worker = heapq.heappop(free)
        end = max(at, driver) + rng.choice(seconds)
        handed[item % len(handed)] = end
        heapq.heappush(free, (end, worker))
    return max(at for at, _ in free)


def run(words, workers, folder):
    """Wall seconds of a command, and what each of its items took."""
    began = time.monotonic()
    command = [sys.executable, '-m', 'bridge.cli', *words, '-o', str(folder), '--workers', str(workers)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    whole = time.monotonic() - began
    took = [entry['seconds'] for data in journals_of(str(folder)) for entry in entries(data)]
    return whole, took


def overhead(folder, n):
    """Seconds of the driver for an item of nothing on one worker, by the clock."""
    items = [Item((f'{i}',)) for i in range(n)]
    run_job(folder / 'warm', Nothing(), items[:8], {}, Options(1))
    began = time.monotonic()
    run_job(folder / 'few', Nothing(), items[:8], {}, Options(1))
    few = time.monotonic()
    run_job(folder / 'many', Nothing(), items, {}, Options(1))
    return ((time.monotonic() - few) - (few - began)) / (n - 8)


def make_inputs(folder, n, seconds):
    (folder / 'songs').mkdir()
    (folder / 'phrases').mkdir()
    for i in range(n):
        rng = np.random.default_rng(i)
        sound = rng.standard_normal((2, int(seconds * 44100))).astype(np.float32) * 0.1
        write_audio(folder / 'songs' / f'{i}.wav', sound, 44100)
        notes = [Note(beat / 2, 0.5, int(60 + rng.integers(-7, 8)), 80) for beat in range(16)]
        write_midi(Score(tracks=[Track(notes=notes)]), folder / 'phrases' / f'{i}.mid')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--files', type=int, default=16)
    parser.add_argument('--seconds', type=float, default=60.0, help='of each file')
    parser.add_argument('--price', type=float, default=0.04, help='of a processor for an hour')
    args = parser.parse_args()
    told = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_inputs(folder, args.files, args.seconds)
        told['overhead_ms'] = round(1000 * (handing := overhead(folder, 500)), 2)
        jobs = {
            'separate': (['separate', str(folder / 'songs'), '-q', 'vocals'], args.seconds / 3600, 1000, '1,000 hours'),
            'continue': (['continue', str(folder / 'phrases'), '--beats', str(BEATS)], 1, 10**6, 'a million scores'),
        }
        for job, (words, amount, wanted, unit) in jobs.items():
            walls = {}
            for workers in (1, 2):
                walls[workers], took = run(words, workers, folder / f'{job}-{workers}')
                if workers == 1:
                    single = took
            loading = max(0.0, walls[1] - sum(single) - handing * len(single))
            times = {n: simulate(single, 10_000, n, loading, handing) for n in WORKERS}
            hours = wanted / amount * sum(single) / len(single) / 3600
            told[job] = {
                'item_s': round(sum(single) / len(single), 3), 'start_s': round(loading, 2),
                'wall_s': {n: round(wall, 2) for n, wall in walls.items()},
                'ratio_2_workers': round((walls[1] - loading) / max(walls[2] - loading, 1e-6), 2),
                'simulated_speed_of_10000_items': {n: round(times[1] / t, 2) for n, t in times.items()},
                f'processor_hours_for_{unit.replace(" ", "_").replace(",", "")}': round(hours, 1),
                'price': round(hours * args.price, 2),
            }  # fmt: skip
            print(f'\n| {job}: workers | ' + ' | '.join(map(str, WORKERS)) + ' |')
            print('| --- |' + ' --- |' * len(WORKERS))
            print('| measured, times one | 1 | ' + f'{told[job]["ratio_2_workers"]} |' + ' |' * (len(WORKERS) - 2))
            print('| simulated, 10,000 items | ' + ' | '.join(f'{times[1] / t:.2f}' for t in times.values()) + ' |')
            print(f'\n{hours:,.0f} processor hours for {unit}: {hours * args.price:,.2f} at {args.price} an hour')
    print('\n' + json.dumps(told))


if __name__ == '__main__':
    main()
