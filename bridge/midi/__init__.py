"""MIDI messages and the ports they come and go through (RtMidi, JACK), the sender that is on time, and the table of
what sounds.
"""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'messages': ('decode', 'note_off', 'note_on'),
        'sender': ('PrecisionSender', 'Sender', 'SimulatedSender'),
        'sounding_notes': ('Sounding',),
        'jack_ports': ('JackMidi',),
        'rtmidi_ports': ('PortSet', 'list_ports'),
        'input_queue': ('Inbox',),
        'wire_check': ('WireCheck',),
    },
)
