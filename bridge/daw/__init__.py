"""In the track: the plug-ins (C++, `plugin/`), the memory and lines that they share with their engine, and the engine.

The plug-ins are thin. *Stems* writes what it hears into a ring and takes from another what belongs to the block a
constant latency ago; *band* tells what its host does, and plays the notes that were sent ahead, each at its beat.
`server` gives each instance a process of its own, which works in between.
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
