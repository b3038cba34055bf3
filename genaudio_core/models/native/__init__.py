"""A block of `dual_path.py` in C++, for training on processors with AMX: some five times as fast as torch's operators.

Of torch's time a quarter is products; the rest goes through memory, operator by operator, and a GRU's products cannot
be large. Here a frame stays in the fastest caches through the whole block (`block.cpp`). It is compiled when first
needed, with the system's compiler, for the processor it is on, and kept in the user's cache folder. Whoever has neither
trains with torch, as exports and evaluations run; what is learned is the same but for bfloat16's rounding.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genaudio_core.command import notice

SOURCE = Path(__file__).with_name('block.cpp')
CHANNELS, HEADS, MAX_PLACES = 64, 4, 32
FLAGS = ('-std=c++17', '-O3', '-march=native', '-fopenmp', '-shared', '-fPIC')


def _cache() -> Path:
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'genaudio'


@functools.cache
def library() -> Any:
    """Return the compiled library, or None where it cannot be had; the reason is told once."""
    if platform.machine() != 'x86_64' or not torch.cpu._is_amx_tile_supported():
        return None
    compiler = shutil.which('g++') or shutil.which('c++')
    if compiler is None:
        notice("Training is slower without a C++ compiler: 'apt install g++' makes it some three times as fast.")
        return None
    cpu = Path('/proc/cpuinfo').read_text().split('\n\n')[0]
    made_for = [line for line in cpu.splitlines() if line.startswith(('model', 'flags', 'stepping'))]
    key = hashlib.sha256(repr((SOURCE.read_bytes(), FLAGS, made_for)).encode()).hexdigest()[:16]
    path = _cache() / f'block-{key}.so'
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                made = Path(folder) / path.name
                subprocess.run([compiler, *FLAGS, '-o', made, SOURCE], check=True, capture_output=True)
                made.replace(path)
        found = ctypes.CDLL(str(path))
    except (OSError, subprocess.CalledProcessError) as error:
        notice(f'Training goes on without its compiled part, some three times slower ({error}).')
        return None
    return None if found.genaudio_begin() else found


def suits(x: Tensor, width: int, units: int, heads: int) -> bool:
    """Whether a block over x (rows, T, places, channels) can be run here: in training in half precision only."""
    return (
        not x.is_cuda and x.requires_grad and torch.is_autocast_enabled('cpu')
        and (width, units, heads) == (CHANNELS, CHANNELS, HEADS) and x.shape[1] > 1 and x.shape[2] <= MAX_PLACES
        and library() is not None
    )  # fmt: skip


def _at(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def _each(tensors: list[Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


class _Block(torch.autograd.Function):
    """x (rows, T, places, 64), state (rows, places, 64), twelve weights -> the same of x, and the state after it."""

    @staticmethod
    def forward(ctx, x: Tensor, first: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        x, first = x.float().contiguous(), first.float().contiguous()
        kept = [weight.detach().contiguous() for weight in weights]
        out, hidden = torch.empty_like(x), torch.empty_like(x)
        rows, frames, places, _ = x.shape
        library().genaudio_forward(
            _at(x), _at(first), _each(kept), _at(out), _at(hidden), rows, frames, places, torch.get_num_threads()
        )
        ctx.save_for_backward(x, first, hidden, *kept)
        last = hidden[:, -1].clone()
        ctx.mark_non_differentiable(last)  # training begins every mixture anew
        return out, last

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, first, hidden, *kept = ctx.saved_tensors
        given = grads[0].float().contiguous()
        dx, to_weights = torch.empty_like(x), [torch.zeros_like(weight) for weight in kept]
        rows, frames, places, _ = x.shape
        library().genaudio_backward(
            _at(x), _at(first), _each(kept), _at(hidden), _at(given), _at(dx), _each(to_weights), rows, frames, places,
            torch.get_num_threads(),
        )  # fmt: skip
        return dx, None, *to_weights


def block(x: Tensor, first: Tensor | None, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Run a block over x (rows, T, places, 64) from a state (rows, places, 64), zeros if None; return the new ones.

    `weights`: norm and shift before the GRU; its weights of input and state and their biases; its output; norm and
    shift before the attention; its input, that's bias, and its output.
    """
    first = x.new_zeros(x.shape[0], *x.shape[2:]) if first is None else first
    return _Block.apply(x, first, *weights)
