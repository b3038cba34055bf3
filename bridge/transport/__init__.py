"""Where in the song we are: the line of beats, MIDI clock and song position, and which of the possible leaders
leads."""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'beat_line': ('Line',),
        'midi_clock': ('ClockFollower',),
        'leader_choice': ('LeaderChoice',),
        'transport': ('InternalLeader', 'JackLeader', 'LinkLeader', 'Transport'),
    },
)
