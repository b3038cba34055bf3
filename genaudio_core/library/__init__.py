"""The names of `import genaudio_core as ga`: whole jobs in one call, and a model of music as one object."""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'calls': ('Stems', 'load', 'separate', 'synthesize'),
        'music_model': ('MusicModel',),
    },
)
