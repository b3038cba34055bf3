"""Loops that training stands on: steps, logs, checkpoints, resuming, averages of weights."""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'run_folder': ('Run', 'read_checkpoint', 'write_checkpoint'),
        'sequence_loop': ('Task', 'fit'),
        'average': ('Average',),
    },
)
