"""Loops that training stands on: steps, logs, checkpoints, resuming, averages of weights."""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'loop': ('Trainee', 'train'),
        'checkpoints': ('begin_with', 'read_checkpoint', 'rebuild', 'save_checkpoint', 'write_checkpoint'),
        'optimizers': ('Optimizers',),
        'average': ('Average',),
        'time_limit': ('TimeLimit',),
    },
)
