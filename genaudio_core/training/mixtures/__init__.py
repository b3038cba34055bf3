"""Mixtures made of packed sounds, while a separator is trained."""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'solo_mixtures': ('MixtureConfig', 'MixtureMaker'),
        'band_mixtures': ('BandMixtures',),
        'device_mixtures': ('BandsOnDevice', 'MixturesOnDevice'),
    },
)
