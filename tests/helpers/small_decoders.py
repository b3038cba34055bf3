"""Tiny decoders with random weights, exported once for a whole test run: the live and the published layout."""

import contextlib
import functools
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.job import export
from export.manifest import Job
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.models.mmt import MMT, PUBLISHED, TINY, MMTConfig
from genaudio_core.training.loops.checkpoints import save_checkpoint

CONTEXT = 160
CONFIGS: dict[str, MMTConfig] = {
    'live': replace(TINY, context=CONTEXT),
    'described': replace(TINY, encoding='described', context=CONTEXT),
    'mmt': replace(PUBLISHED, dim=32, layers=2, heads=2, head_dim=16, context=CONTEXT),
}


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[bool]:
    """Whether there is no such file yet; the processes that the tests are spread over wait for who makes it."""
    import fcntl

    with open(path.with_name(f'{path.name}.lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not path.exists()


@functools.cache
def model(name: str) -> MMT:
    """The torch model, in eval mode. Its weights are larger than fresh ones, so that attention is not flat."""
    torch.manual_seed(5)
    made = MMT(CONFIGS[name]).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(1.5).add_(0.02 * torch.randn(parameter.shape))
    return made


@functools.cache
def checkpoint(name: str) -> Path:
    path = Path(os.environ['GENAUDIO_TESTS'], f'{name}.safetensors')
    with one_at_a_time(path) as is_missing:
        if is_missing:
            save_checkpoint(path, model(name), CONFIGS[name].to_dict(), step=7, names=['a vocabulary'])
    return path


@functools.cache
def file(name: str) -> Path:
    """The exported file."""
    saved = checkpoint(name)
    output = saved.with_suffix('.onnx')
    measured = {'nll_per_note': 3.9}
    job = Job(name, 'decoder', saved, output, licence='MIT', training_data=['none'], measured=measured)
    with one_at_a_time(output) as is_missing:
        if is_missing:
            export(job, 'hash of ' + name)
    return output


@functools.cache
def decoder(name: str) -> Decoder:
    return Decoder.load(file(name), provider='cpu')


def events(name: str, n: int, seed: int = 0) -> np.ndarray:
    """Random legal events (n, fields) whose times go on and on."""
    from export.kinds.decoder import random_events

    return random_events(CONFIGS[name].layout, n, np.random.default_rng(seed))


@torch.no_grad()
def torch_hidden(name: str, rows: np.ndarray) -> np.ndarray:
    """Hidden states (n, dim) of the torch model, the whole sequence at once."""
    from genaudio_core.music.events import timeline

    step, phase = timeline(rows, CONFIGS[name].layout)
    tensors = (torch.from_numpy(np.asarray(a, np.int64))[None] for a in (rows, step, phase))
    return model(name)(*tensors)[0].numpy()


def check_cache(musician: Any) -> None:
    """Check the memory of a `ModelMusician`: its hidden state is that of a fresh prefill of the same events, and the
    events are the notes wanted.
    """
    from bridge.musicians.model_events import DescriptionEvent, Event
    from genaudio_core.continuation.continuer import Continuer
    from genaudio_core.music.descriptions import told_in
    from genaudio_core.music.events import timeline
    from genaudio_core.music.layouts import NOTE

    continuer = musician._continuer
    fresh = Continuer(musician.decoder)
    fresh.feed(continuer.events[0])
    np.testing.assert_allclose(fresh.hidden, continuer.hidden, atol=1e-5)
    rows = continuer.events[0]
    steps = timeline(rows, musician.encoding)[0][rows[:, 0] == NOTE] + musician._origin
    assert steps.tolist() == [event.step for event in musician._fed if isinstance(event, Event)]
    steps, told = told_in(rows) if musician.encoding.has_descriptions else ([], [])
    fed = [entry for entry in musician._fed if isinstance(entry, DescriptionEvent)]
    assert [entry.step for entry in fed] == [step + musician._origin for step in steps][len(steps) - len(fed) :]
    assert [entry.fields[3:] for entry in fed] == [tuple(row.tolist()[3:]) for row in told][len(steps) - len(fed) :]
    assert (np.diff(steps) >= 0).all()
