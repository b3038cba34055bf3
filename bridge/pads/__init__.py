"""Sound files on notes: finished takes that a pad plays."""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'pad_player': ('PadPlayer',),
        'clip_store': ('PadBank', 'load_take'),
        'jack_pads': ('JackPads', 'PadsProcess'),
    },
)
