"""What `genaudio bench` can measure: one small module each, with HELP, EXAMPLE, add_arguments(parser), run(args) -> dict.

Modules import what is heavy inside ``run``: all of them are loaded to build the command line.
"""

BENCHES = {
    'continue': 'bridge.benches.continuation',
    'stems': 'bridge.benches.stems',
}
"""name -> module."""
