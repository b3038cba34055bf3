"""A live session from end to end: the loop that plays, its process and who looks after it, takes, OSC, the view in the
terminal, and rehearsals without a player.
"""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'in_process': ('InProcessBand', 'preset_of'),
        'live_band': ('LiveBand',),
        'session': ('Session',),
        'port_process': ('Setup',),
        'supervisor': ('Supervisor',),
        'osc': ('OscServer',),
        'rehearsal': ('perform', 'simulate'),
        'takes': ('Takes',),
        'terminal_view': ('View',),
    },
)
