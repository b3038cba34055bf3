"""The band in time with the player: what is heard, what is asked of the musicians, which notes are due, who owns each
that sounds; and the modes (respond, take over, accompany, free, arrange).
"""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'answer': ('Answer',),
        'listener': ('Listener',),
        'mode': ('BaseMode', 'Mode'),
        'modes': ('MODES',),
        'note_output': ('NoteOutput', 'Owner'),
        'scheduler': ('Scheduler',),
    },
)
