"""Queries: words, an example, a picture, or a mix of them, as one vector."""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'vector': ('QUERY_DIM', 'Query', 'morph'),
        'encoder': ('QueryEncoder',),
        'text_encoder': ('TextEncoder',),
        'audio_encoder': ('AudioEncoder',),
        'own_encoder': ('EncoderProcess',),
        'parsing': ('parse',),
    },
)
