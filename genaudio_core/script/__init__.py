"""Audio scripts: a table whose rows (music, speech, effects) become a mix, an Ardour session and a cue list."""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'table': ('Row', 'Script'),
        'reading': ('read_script',),
        'timetable': ('timeline',),
        'composition': ('Composition', 'compose'),
        'mixing': ('MixSettings',),
        'ardour_session': ('write_session',),
    },
)
