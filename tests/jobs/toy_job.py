"""A job of nothing much: each item writes its name into its outputs."""

import os
import time
from pathlib import Path

from genaudio_core.errors import GenaudioError
from genaudio_core.jobs.items import Item
from genaudio_core.jobs.job import Options, run_job


class Toy:
    """Writes name and inputs; items called 'bad', 'dies', 'raises', 'slow' behave so."""

    def __init__(self, extra='', log=None):
        self.extra, self.log = extra, log

    def open(self):
        if self.extra == 'no model':
            raise GenaudioError('there is no model')
        return self.extra

    def close(self, tools):
        pass

    def do(self, tools, task):
        name = task.item.name
        if self.log:
            with open(self.log, 'a') as file:
                file.write(f'{name!r} {os.getpid()}\n')
        if 'bad' in name:
            raise GenaudioError(f'{task.item.label} is bad')
        if 'raises' in name:
            raise ValueError('not\nwhat was meant')
        if 'dies' in name:
            os._exit(9)
        for output in task.outputs:
            output.write_text(name + tools + ''.join(path.read_text() for path in task.inputs))
            if 'slow' in name:
                time.sleep(1000)
        return {'name': name}


def items(*names):
    return [Item((name,)) for name in names]


def run(root, what, step=None, asked=None, **options):
    return run_job(root, step or Toy(), what, asked or {'x': 1}, Options(**options))


def made(root):
    """Names of what is in a folder, without what is hidden."""
    return sorted(path.relative_to(root).as_posix() for path in Path(root).rglob('*')
                  if path.is_file() and '.genaudio' not in path.parts)  # fmt: skip


def done_by(log):
    """The items that were begun, in their order."""
    return [line.rpartition(' ')[0].strip("'") for line in Path(log).read_text().splitlines()]
