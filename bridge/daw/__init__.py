"""In the track: the plug-ins (C++, `plugin/`), the memory and lines that they share with their engine, and the engine.

The plug-in is thin. It writes what it hears into a ring and takes from another what belongs to the block a constant
latency ago; `server` gives each instance a process of its own, which works between the two rings.
"""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'building': ('build',),
        'meeting_place': ('Meeting', 'runtime_folder'),
        'server': ('serve',),
    },
)
