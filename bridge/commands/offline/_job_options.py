"""The options of commands that do many things."""

import argparse
import functools
import os
import re
from collections.abc import Callable
from pathlib import Path

from genaudio_core.errors import GenaudioError
from genaudio_core.jobs.job import Options
from genaudio_core.jobs.options import add_worker_options, cluster_of
from genaudio_core.jobs.places import is_address


def add_job_options(parser: argparse.ArgumentParser) -> None:
    """Add --workers, --ray, --shard, --retry-failed, --dry-run and --force."""
    group = parser.add_argument_group('many files', 'A second run does only what is missing; docs/scale.md tells more.')
    add_worker_options(group, 'processes, each with a model of its own (default: this one)')
    group.add_argument('--shard', type=shard('--shard'), default=(1, 1), metavar='I/N',
                       help='only the files of part I of N: for N machines, each with another I')  # fmt: skip
    group.add_argument('--retry-failed', action='store_true', help='only what failed when it was last tried')
    group.add_argument('--dry-run', action='store_true', help='only say what there is to do')
    group.add_argument('--force', action='store_true', help='do again what is done')


def job_options(args: argparse.Namespace) -> Options:
    """Return the options of a job from those of the command line."""
    # A graphics card for each only where one is asked for: what is made for the processor is no faster there.
    cluster = cluster_of(args, threads_of(args), float(getattr(args, 'provider', None) == 'cuda'))
    return Options(args.workers, args.shard, args.retry_failed, args.dry_run, args.force, args.debug, cluster)


def is_asked_for(args: argparse.Namespace) -> bool:
    """Whether the command line has an option of a job: then also a single file is one, with a side-car."""
    return job_options(args) != Options(debug=args.debug)


def threads_of(args: argparse.Namespace, alone: int = 2) -> int:
    """Threads of a worker: as given, or one where there are workers; `alone` where there are none."""
    if getattr(args, 'threads', None) is not None:
        return args.threads
    if args.ray is not None:
        return 1
    return alone if args.workers is None else max(1, (os.cpu_count() or 1) // args.workers)


def place(text: str) -> str | Path:
    """An argparse type: a path, or an address as it is."""
    return text if is_address(text) else Path(text)


def shard(option: str) -> Callable[[str], tuple[int, int]]:
    """Return an argparse type for a part of so many, such as 2/5; it raises GenaudioError for what is none."""
    return functools.partial(_shard, option)


def _shard(option: str, text: str) -> tuple[int, int]:
    found = re.fullmatch(r'(\d{1,9})/(\d{1,9})', text.strip())
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise GenaudioError(f"{option} must be a part of so many, such as 2/5, not '{text}'.")
    return int(found[1]), int(found[2])
