"""Sounds made from a query: diffusion over patches of a mel spectrogram, and the vocoder."""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'synthesizer': ('Synthesizer',),
        'diffusion': ('dpm_solver',),
        'mel_patches': ('PatchCodec',),
    },
)
