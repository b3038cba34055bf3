"""Sounds pulled out of a mix: offline, with both sides to hear, and streaming, with a stated latency."""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'offline': ('Separator', 'separate_file'),
        'streaming': ('MaskNetwork', 'StreamingSeparator', 'separate_offline'),
    },
)
