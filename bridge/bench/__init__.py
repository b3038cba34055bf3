"""The measurements of `genaudio bench`: one small module each, and a row in `BENCHES`.

A module has HELP, EXAMPLE, add_arguments(parser) and run(args) -> dict. It imports what is heavy inside ``run``: all
modules are loaded to build the command line.
"""

BENCHES = {
    'chaos': 'bridge.bench.chaos',
    'continue': 'bridge.bench.continuation',
    'live': 'bridge.bench.live',
    'separate': 'bridge.bench.separation',
    'stems': 'bridge.bench.stems',
}
"""name -> module."""
