"""What every command that does many things can be asked: on how many processes, or on which cluster."""

import argparse
import os

from genaudio_core.command_line import threads
from genaudio_core.jobs.cluster import Cluster


def add_worker_options(parser: argparse._ActionsContainer, workers: str = 'processes (default: all cores)') -> None:
    """Add --workers, with its help, and --ray."""
    parser.add_argument('--workers', type=threads('--workers'), metavar='N', help=workers)
    parser.add_argument('--ray', metavar='ADDRESS', help='work on the nodes of a Ray cluster: auto, HOST:PORT or '
                        'ray://HOST:PORT (with --workers N, on so many at most)')  # fmt: skip


def cluster_of(args: argparse.Namespace, cpus: float = 1, gpus: float = 0) -> Cluster | None:
    """Return the cluster that the command line names, if any, and what a task needs there.

    Raises
    ------
    GenaudioError
        If the address is none.
    """
    return None if args.ray is None else Cluster(args.ray, cpus, gpus)


def workers_of(args: argparse.Namespace) -> int | None:
    """Return how many processes are asked for, one for each core by default; on a cluster None, as many as it takes."""
    return args.workers or (None if args.ray is not None else os.cpu_count() or 1)
