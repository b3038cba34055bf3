"""An .onnx file: the card inside it, checked, and a session that runs it."""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'model_card': ('ModelCard', 'read_card', 'write_model'),
        'session': ('LoadedModel', 'load_model'),
    },
)
