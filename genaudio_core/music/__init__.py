"""The contents of scores: events that models read, keys and chords, figures on it, its picture."""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'layouts': ('DESCRIBED', 'LIVE', 'MMT', 'Encoding'),
        'events': ('decode_table', 'encode'),
        'keys': ('Chord', 'parse_key'),
        'chord_recognition': ('recognise_score',),
        'piano_roll': ('draw',),
    },
)
