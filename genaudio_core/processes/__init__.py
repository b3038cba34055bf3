"""Other processes, all by the same rules: `ChildProcess` for one that works beside us, `WorkerPool` for many jobs,
`run_program` for a program of somebody else's.

A child does not hear what a terminal sends to the whole group (Ctrl-C, a closed window): its parent decides. It ends
when its parent does, whatever becomes of that, and it is killed where it does not end when told to. One that hangs is
found by its heartbeat, one that does not come by a deadline.
"""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'child_process': ('ChildProcess', 'begin', 'messages'),
        'child_watch': ('Heartbeat', 'Patience', 'RestartLimit'),
        'deafness': ('born_deaf', 'leave_to_parent'),
        'memory': ('forget_peak', 'peak_memory'),
        'programs': ('run_program',),
        'worker_pool': ('WorkerPool',),
    },
)
