"""The command `genaudio`."""

import sys
from collections.abc import Sequence

from genaudio_core.entry import Group, names_of, run_command

ABOUT = 'A band that listens: continues, accompanies and separates music in time with the player.'
GROUPS = (
    Group(
        'begin here',
        {
            'welcome': 'ask what you want to do, and start it, as genaudio alone does',
            'demo': 'hear and see what genaudio does, without any set-up',
            'doctor': 'check ports, clock, model, plug-ins and timing, and say what to fix',
            'devices': 'list MIDI and audio ports',
        },
        'genaudio demo --fast',
    ),
    Group(
        'play',
        {
            'live': 'play with a band that answers in time, inside a DAW session',
            'presets': 'list the presets, or check and show one with every setting',
            'rehearse': 'play a preset against a MIDI file, without a DAW',
            'isolate': 'pull sounds out of a live input while they play',
            'pads': 'play sound files by MIDI notes; new takes appear on the next pad',
            'instrument': 'play an instrument plug-in by MIDI, in a process of its own',
            'mcp': 'let an assistant set up and play a band (Model Context Protocol)',
        },
        'genaudio live duet --set temperature=0.9',
    ),
    Group(
        'MIDI files',
        {
            'continue': 'continue a MIDI file',
            'accompany': 'write other instruments beside a MIDI file',
            'generate': 'make new music, for chosen instruments or from nothing',
            'infill': 'rewrite some bars of a MIDI file',
            'arrange': 'spread a MIDI file over other instruments',
        },
        'genaudio accompany tune.mid --instruments "bass,drums" -o band.mid',
    ),
    Group(
        'sound',
        {
            'separate': 'pull sounds out of recordings, by words, by example or by picture',
            'synth': 'make a sound from words or from an example',
            'compose': 'make a mix from an audio script: music, speech and sound effects',
        },
        'genaudio separate song.wav -q drums -q vocals --residual -o stems/',
    ),
    Group(
        'in a DAW',
        {
            'plugin': 'install the plug-ins for a DAW (VST3, CLAP, LV2), or remove them',
            'serve': 'serve the plug-ins that play in a DAW (they start it themselves)',
        },
        'genaudio plugin install',
    ),
    Group('measure', {'bench': 'measure how fast this machine plays'}, 'genaudio bench continue --json'),
)
COMMANDS = names_of(GROUPS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``genaudio``; return its exit code. `argv` is by default that of the process."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:2] == ['live', 'isolate']:  # plays live too, with options of its own
        argv[:2] = ['isolate']
    if not argv and all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        argv = ['welcome']
    return run_command('genaudio', ABOUT, 'bridge.commands', GROUPS, argv)


if __name__ == '__main__':
    sys.exit(main())
