"""``genaudio`` alone, in a terminal: what would you like to do? It is started, and its command line shown."""

import argparse
import contextlib
import shlex
from pathlib import Path

from bridge.panel.facts import presets
from bridge.system.jack_client import is_running
from genaudio_core.command_line import notice
from genaudio_core.errors import GenaudioError, printable
from genaudio_core.files import check_readable

HELP = 'ask what to do, and start it'
EXAMPLE = 'genaudio welcome'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(args: argparse.Namespace) -> dict[str, int] | None:
    from bridge.cli import main

    words = choose()
    if words is None:
        return None
    notice(f'$ {shlex.join(["genaudio", *words])}')
    return {'exit_code': main(words)}


def choose() -> list[str] | None:
    """Ask, and return the words of a command; None where nothing is wanted.

    Raises
    ------
    GenaudioError
        If no file was named, or it cannot be read.
    """
    ports = 'JACK runs here' if is_running() else 'through the MIDI ports of the system'
    print('What would you like to do?\n'
          '  1  hear and see what genaudio does (20 seconds, nothing to set up)\n'
          f'  2  play live with a band ({ports})\n'
          '  3  let a band accompany a MIDI file\n'
          '  4  pull sounds out of a recording\n'
          '  5  check this machine\n'
          '  q  nothing')  # fmt: skip
    match _asked('> '):
        case '1':
            return ['demo']
        case '2':
            titles = {name: one['title'] for name, one in presets().items()}
            names = list(titles)
            for number, name in enumerate(names, 1):
                print(f'  {number:>2}  {printable(titles[name])}')
            chosen = _asked('Which? [duet] ') or 'duet'
            if chosen.isdecimal() and 0 < int(chosen) <= len(names):
                chosen = names[int(chosen) - 1]
            return ['live', chosen]
        case '3':
            tune = _file('MIDI file: ')
            instruments = _asked('Instruments [piano, bass, drums]: ') or 'piano, bass, drums'
            return ['accompany', str(tune), '--instruments', instruments, '-o', f'{tune.stem}-band.mid']
        case '4':
            song = _file('Recording: ')
            queries = _asked('Which sounds? [drums, bass, vocals] ') or 'drums, bass, vocals'
            asked = [word for query in queries.split(',') if query.strip() for word in ('-q', query.strip())]
            return ['separate', str(song), *asked, '--residual', '-o', f'{song.stem}-stems']
        case '5':
            return ['doctor']
    return None


def _asked(question: str) -> str:
    try:
        return input(question).strip()
    except EOFError:
        return ''


def _file(question: str) -> Path:
    text = _asked(question)
    if not text:
        raise GenaudioError('No file was named.')
    with contextlib.suppress(ValueError):  # a quote that is not closed
        words = shlex.split(text)  # a terminal quotes the name of a file that is dropped on it
        if not Path(text).exists() and len(words) == 1:
            text = words[0]
    return check_readable(Path(text).expanduser())
