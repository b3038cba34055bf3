"""Scores to train on: found, packed, augmented, cut into windows."""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'packed_scores': ('ScoreData', 'prepare'),
        'batches': ('WindowSampler', 'collate'),
        'tokenizers': ('Tokenizer',),
    },
)
