"""Sound devices and the callback: what happens between one block and the next, the ring between processes, JACK and
PortAudio, and the process that runs nothing but the callback.
"""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'callback': ('AudioCore', 'total_latency'),
        'callback_process': ('AudioProcess',),
        'finite_guard': ('FiniteGuard',),
        'jack_device': ('JackAudio',),
        'portaudio_device': ('PortAudio',),
        'jack_sound_client': ('JackSoundClient',),
        'shared_ring': ('Ring',),
    },
)
