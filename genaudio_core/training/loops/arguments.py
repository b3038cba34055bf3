"""Options that trainers share, so that one thing has one name and one range everywhere. They load no torch."""

import argparse
import os
from pathlib import Path

from genaudio_core.command_line import minutes, number, seed, share, threads, whole
from genaudio_core.errors import GenaudioError


def add_run_arguments(
    parser: argparse.ArgumentParser, *, rate: float, batch: int, minutes_each: float | None = None,
    steps: int = 1_000_000, least_steps: int = 1, cpu_threads: int | None = None, start_from: bool = False,
) -> None:  # fmt: skip
    """Of every run: where, how long, how fast.

    Parameters
    ----------
    minutes_each, cpu_threads
        Defaults of --minutes and --threads; None: no limit, and all that the machine has.
    start_from
        Whether the weights of another run can be begun with.
    """
    parser.add_argument('--out', type=Path, required=True, help='run folder; an existing run is continued')
    ends = '' if minutes_each is None else f' (default: {minutes_each:g})'
    parser.add_argument('--minutes', type=minutes(), default=minutes_each,
                        help=f'save and stop after this many minutes, loading among them{ends}')  # fmt: skip
    parser.add_argument('--steps', type=whole('--steps', least_steps), default=steps,
                        help='stop at this many steps, in all')  # fmt: skip
    parser.add_argument('--batch', type=whole('--batch', 1, 65_536), default=batch, help='of a step, per process')
    parser.add_argument('--rate', type=number('--rate', above=0, high=100), default=rate,
                        help=f'peak learning rate (default: {rate:g})')  # fmt: skip
    parser.add_argument('--seed', type=seed(), default=1)
    parser.add_argument('--threads', type=threads(), default=cpu_threads, help='CPU threads per process')
    if start_from:
        parser.add_argument('--start-from', type=Path, metavar='CHECKPOINT',
                            help='weights of another run to begin with; what they lack is new')  # fmt: skip


def _add_decay(parser: argparse.ArgumentParser, warmup: int) -> None:
    parser.add_argument('--warmup', type=whole('--warmup', 1), default=warmup, help='steps')
    parser.add_argument('--decay-at', type=whole('--decay-at', 0),
                        help='step at which the learning rate begins to fall')  # fmt: skip
    parser.add_argument('--decay-steps', type=whole('--decay-steps', 0), default=500)


def add_optimizer_argument(parser: argparse.ArgumentParser, default: str = 'muon') -> None:
    """Which of `optimizers.Optimizers`."""
    parser.add_argument('--optimizer', choices=('muon', 'adam'), default=default)


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Where one process computes."""
    parser.add_argument('--device', type=a_device, default='cpu', help='cpu or cuda')


def add_process_arguments(parser: argparse.ArgumentParser) -> None:
    """On what `sequences.launch` lets a run of sequences compute."""
    parser.add_argument('--devices', type=whole('--devices', 1, 1024), default=1, help='processes, or GPUs')
    parser.add_argument('--nodes', type=whole('--nodes', 1, 1024), default=1)
    parser.add_argument('--accelerator', default='auto', choices=('auto', 'cpu', 'cuda'))
    parser.add_argument('--bf16', choices=('auto', 'yes', 'no'), default='auto',
                        help='bfloat16 (auto: on GPUs, and inside products of processors with AMX)')  # fmt: skip


def add_sequence_arguments(parser: argparse.ArgumentParser, *, rate: float) -> None:
    """Of models of sequences (`sequences.fit`)."""
    add_run_arguments(parser, rate=rate, batch=8, steps=200_000)
    _add_decay(parser, 200)
    add_optimizer_argument(parser)
    parser.add_argument('--validate-every', type=whole('--validate-every', 1), default=250, help='steps')
    parser.add_argument('--validate-pieces', type=whole('--validate-pieces', 1), default=8,
                        help='held-out pieces per source')  # fmt: skip
    add_process_arguments(parser)


def add_average_arguments(
    parser: argparse.ArgumentParser, *, rate: float, batch: int, average: float, log_every: int,
    start_from: bool = False,
) -> None:  # fmt: skip
    """Of the models of synthesis: a running average of the weights, and a rate that falls at the end."""
    add_run_arguments(parser, rate=rate, batch=batch, start_from=start_from)
    _add_decay(parser, 100)
    parser.add_argument('--average', type=share('--average'), default=average,
                        help='decay of the average of the weights')  # fmt: skip
    parser.add_argument('--log-every', type=whole('--log-every', 1), default=log_every, help='steps')
    add_device_argument(parser)


def add_separator_arguments(parser: argparse.ArgumentParser, *, batch: int, valid_every: float) -> None:
    """Of the separators: a rate that falls with the minutes, mixtures made here or on an accelerator."""
    add_run_arguments(parser, rate=2e-3, batch=batch, minutes_each=60, cpu_threads=1, start_from=True)
    parser.add_argument('--total-minutes', type=minutes('--total-minutes'),
                        help='of all calls together, at which the learning rate has fallen')  # fmt: skip
    parser.add_argument('--valid-every', type=number('--valid-every', 0, 1e6), default=valid_every,
                        help='minutes; 0: never')  # fmt: skip
    add_optimizer_argument(parser)
    add_device_argument(parser)
    parser.add_argument('--hours', type=number('--hours', 0, 100_000), default=40, help='of sound that a GPU holds')


def a_device(name: str) -> str:
    """An argparse type: the name of a device that torch can compute on here, such as 'cpu', 'cuda' or 'cuda:1'.

    Raises
    ------
    GenaudioError
        If it is not such a name, or this machine has no such device.
    """
    import torch

    try:
        found = torch.device(name)
    except RuntimeError:
        raise GenaudioError(f'`device` must be cpu or cuda, not {name}.') from None
    if found.type not in ('cpu', 'cuda'):
        raise GenaudioError(f'`device` must be cpu or cuda, not {name}.')
    if found.type == 'cuda' and (found.index or 0) >= torch.cuda.device_count():
        raise GenaudioError(f'This machine has no {name} that torch can use: leave `device` out.')
    return name


def limit_threads(threads: int | None) -> None:
    """Use `threads` CPU threads (default: what the environment says)."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    elif 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(os.cpu_count() or 1)
