"""Live isolation: a sound pulled out of a live input by words. Its host, the process of the network, mixer, knobs,
words and lines.
"""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'audio_host': ('AudioHost',),
        'isolate': ('run',),
        'knobs': ('Knobs',),
        'mixer': ('Mixer',),
        'words': ('Words',),
    },
)
