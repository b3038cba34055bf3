"""Music that goes on: the decoder, the continuer that can rewind, sampling (free, or under direction), and what is
built on them: continue, generate, accompany, fill in.
"""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'decoder': ('Decoder',),
        'continuer': ('Continuer',),
        'sampling': ('Controls', 'EventSampler'),
        'cues': ('Cue', 'Direction', 'PartRules'),
        'directing': ('DirectedSampler',),
        'generation': ('continue_score', 'generate'),
        'accompaniment': ('accompany', 'infill'),
        'description': ('understand',),
    },
)
