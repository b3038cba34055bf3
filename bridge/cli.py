"""The command `genaudio`."""

import sys
from collections.abc import Sequence

from genaudio_core.entry import run_command

ABOUT = 'A band that listens: continues, accompanies and separates music in time with the player.'
COMMANDS = {
    'doctor': 'check ports, clock, model and timing, and say what to fix',
    'live': 'play with a band that answers in time, inside a DAW session',
    'rehearse': 'play a preset against a MIDI file, without a DAW',
    'devices': 'list MIDI and audio ports',
    'presets': 'list the presets, or check and show one',
    'continue': 'continue a MIDI file',
    'generate': 'make new music, for chosen instruments or from nothing',
    'accompany': 'write other instruments beside a MIDI file',
    'infill': 'write some bars of a MIDI file anew',
    'arrange': 'spread a MIDI file over other instruments',
    'separate': 'pull sounds out of recordings, by words, by example or by picture',
    'compose': 'make a mix from an audio script: music, speech and sound effects',
    'synth': 'make a sound from words or from an example',
    'bench': 'measure how fast this machine plays',
    'isolate': 'pull sounds out of a live input while they play',
    'instrument': 'play an instrument plug-in by MIDI, in a process of its own',
    'pads': 'play sound files by MIDI notes; new takes appear on the next pad',
    'demo': 'hear and see what genaudio does, without any set-up',
}


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:2] == ['live', 'isolate']:  # plays live too, with options of its own
        argv[:2] = ['isolate']
    return run_command('genaudio', ABOUT, 'bridge.commands', COMMANDS, argv)


if __name__ == '__main__':
    sys.exit(main())
