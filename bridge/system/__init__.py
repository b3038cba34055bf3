"""The services of the machine, in the words of the live side: clock, priorities, signals, pipes, JACK clients, players
in processes of their own, memory that processes share. It knows nothing of music.
"""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'clock': ('Clock', 'RealClock', 'SimulatedClock'),
        'jack_client': ('JackClient', 'NoServer', 'open_client'),
        'line_input': ('LineInput',),
        'signals': ('SignalWatch',),
        'sound_process': ('SoundProcess',),
        'waiting': ('wait_until',),
    },
)
