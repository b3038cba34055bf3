"""Scores: notes, tracks, tempo and meter in beats, instruments, and Standard MIDI Files read and written so that
nothing of them is lost.
"""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'notes': ('Meter', 'Note', 'Score', 'Tempo', 'Track'),
        'reading': ('midi_bytes', 'read_midi', 'to_midi', 'write_midi'),
        'instruments': ('find_instrument', 'find_instruments', 'instrument_name'),
        'joining': ('append_notes',),
    },
)
