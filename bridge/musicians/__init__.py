"""Who makes the music: a musician hears notes and answers a request with notes, by a model or by rules, here or in a
process of its own.
"""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'heard_notes': ('HeardNotes',),
        'musician': ('HeardNote', 'MusicControls', 'Musician', 'PlannedMusic', 'PlannedNote', 'Request'),
        'rule_musician': ('FallbackMusician',),
        'model_musician': ('ModelMusician',),
        'musician_process': ('Engine', 'ProcessEngine', 'SimulatedEngine'),
        'choose': ('make_musician',),
    },
)
