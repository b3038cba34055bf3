"""The same measurements for the baselines REMI+ and MMM, which have a sampler of their own.

They are sampled unconditionally, as in the paper; MMM writes track after track and cannot continue in time.
"""

import time
from pathlib import Path

from genaudio_core.analysis.evaluation import MusicSet, Progress, describe, excerpts, save_set
from genaudio_core.models.tokens import TokenModel
from genaudio_core.music.layouts import LIVE
from genaudio_core.music.metrics import PUBLISHED_BEATS
from genaudio_core.training.fit.baselines import evaluate, token_windows
from genaudio_core.training.scores.packed_scores import ScoreData
from genaudio_core.training.scores.tokenizers import Tokenizer, note_starts


def baseline_likelihood(model: TokenModel, tokenizer: Tokenizer, data: ScoreData, split: str, per_source: int) -> dict:
    """As `evaluation.likelihood`; an event is a token, and there are no fields."""
    windows = token_windows(data, tokenizer, model.config.context, split, per_source=per_source)
    rows = evaluate(model, windows, note_starts(tokenizer))
    mean = rows.pop('mean')
    sources = {
        source: {'per_note': row['nll_per_note'], 'per_event': row['nll'], 'pieces': len(windows[source])}
        for source, row in rows.items()
    }
    return {
        'per_note': mean['nll_per_note'], 'per_event': mean['nll'], 'fields': {},
        'pieces': sum(map(len, windows.values())), 'sources': sources,
    }  # fmt: skip


def measure_baseline(
    model: TokenModel, tokenizer: Tokenizer, data: ScoreData, split: str, n: int, seed: int, balance: float,
    exclude: tuple[str, ...], progress: Progress, save: Path | None = None,
) -> dict:  # fmt: skip
    """Truth and unconditional samples side by side."""
    began, tables = time.perf_counter(), []
    for i in range(n):
        tables.append(tokenizer.decode(model.sample([tokenizer.begin], tokenizer.end, seed + i)))
        progress('pieces out of nothing', i + 1, n)
    made = MusicSet(tables, time.perf_counter() - began)
    found = excerpts(data, split, LIVE, n, beats=PUBLISHED_BEATS / 2, balance=balance, exclude=exclude)
    truth = MusicSet([piece.table for piece in found], meters=[piece.meter for piece in found])
    if save is not None:
        save_set(save / 'truth', truth)
        save_set(save / 'unconditional', made)
    return {'truth': describe(truth, PUBLISHED_BEATS), 'unconditional': describe(made, PUBLISHED_BEATS)}
