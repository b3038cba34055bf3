"""What the runner of jobs costs by itself: items of nothing. ``python tests/benchmarks/jobs.py [ITEMS] [WORKERS]``

Each item writes an empty file. Prints one JSON line: milliseconds, by the clock and of the processor, for an item of
the first run and of the second, which finds all done; and the most memory that this process has held.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from genaudio_core.jobs.items import Item
from genaudio_core.jobs.job import Options, run_job
from genaudio_core.processes.memory import peak_memory


class Nothing:
    """The step: an empty file."""

    def open(self):
        return None

    def close(self, tools):
        pass

    def do(self, tools, task):
        task.outputs[0].touch()


def main(count: int, workers: int | None) -> None:
    told: dict[str, float | int | None] = {'items': count, 'workers': workers}
    with tempfile.TemporaryDirectory() as folder:
        items = [Item((f'{i // 1000:05d}/{i:08d}.txt',)) for i in range(count)]
        for run in ('first', 'second'):
            began, used = time.perf_counter(), processor_seconds()
            report = run_job(Path(folder, 'out'), Nothing(), items, {}, Options(workers))
            assert report.done + report.already == count and not report.failed
            told[f'{run}_ms'] = round((time.perf_counter() - began) / count * 1000, 3)
            told[f'{run}_processor_ms'] = round((processor_seconds() - used) / count * 1000, 3)
        most = peak_memory()
        told['peak_mb'] = most and most // 1_000_000
    print(json.dumps(told))


def processor_seconds() -> float:
    """Of this process and those of its children that have ended."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


if __name__ == '__main__':
    numbers = [int(word) for word in sys.argv[1:3]]
    main(numbers[0] if numbers else 100_000, numbers[1] if len(numbers) > 1 else None)
