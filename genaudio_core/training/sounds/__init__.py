"""Sounds to train on: rendered, recorded, sung, labelled and packed."""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'packed_clips': ('SoundSet', 'SoundWriter'),
        'packed_mels': ('SynthesisData',),
        'lexicon': ('CONCEPTS',),
        'recordings': ('read_manifest',),
    },
)
