"""The space of queries, and the encoders that lead into it."""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'space': ('QuerySpace',),
        'audio_encoder': ('train_audio',),
        'text_encoder': ('train_text',),
    },
)
