"""Shared by the three commands: subcommands in modules of their own, ``--json``, ``--debug``, one-line errors.

A subcommand is a module with

* ``HELP``: one line; ``EXAMPLE``: one command line, shown under ``--help``;
* ``add_arguments(parser)``: its argparse arguments;
* ``DETAILS`` (optional): a function that returns lines for below the options, such as the settings of ``--set``;
* ``ARGUMENTS`` (optional): what arguments of the library are called on the command line, where the names differ;
* ``run(args) -> dict | None``: does the work. The returned mapping is printed: one JSON object with ``--json``,
  ``key: value`` lines without. Progress and notices go to stderr.

The library speaks of arguments, in backquotes as its documentation does, and logs its notices. Here both become what a
person at the command line reads: one line each on stderr, with options instead of arguments (`as_options`).

Modules are imported when their subcommand is chosen, so that ``genaudio devices`` loads no model runtime.
"""

import argparse
import contextlib
import errno
import functools
import importlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from genaudio_core import __version__
from genaudio_core.entry import Group, names_of
from genaudio_core.errors import GenaudioError, did_you_mean, one_line, printable
from genaudio_core.help_text import example, overview, wrapped
from genaudio_core.standard_streams import close_no_stream, lead_nowhere, write_anything

if TYPE_CHECKING:
    from pathlib import Path

    from genaudio_core.tables import Setting

MAX_SECONDS = 366 * 24 * 3600  # that anything runs for
MAX_MINUTES = MAX_SECONDS // 60
_TRAIN_PACKAGES = ('torch', 'onnx', 'onnxscript', 'safetensors', 'lightning_fabric', 'miditok', 'music21')


# What argparse takes for a value and not for an option; by itself it lets only plain numbers be negative.
_NEGATIVE = r'(?i)-(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$|-(inf|infinity|nan)$'


class _Parser(argparse.ArgumentParser):
    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._negative_number_matcher = re.compile(_NEGATIVE)

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """As argparse does it, but no number that is typed is NaN or infinite, and what is wrong names the option."""
        if options.get('type') in (int, float):
            options['type'] = taken(names[-1], _setting(kind=options['type']))
        return super().add_argument(*names, **options)

    def _print_message(self, message: str, file: Any = None) -> None:
        if message and file is not None:  # argparse's own way says nothing where the help cannot be written
            file.write(message)

    def error(self, message: str):
        self.exit(2, f'error: {printable(message)}. See: {self.prog} --help\n')


def number(
    option: str, low: float | None = None, high: float | None = None, *, above: float | None = None, unit: str = ''
) -> Callable[[str], float]:
    """Return an argparse type for a finite number.

    Parameters
    ----------
    option : str
        Its name for messages, such as ``'--beats'``.
    low, high : float
        Smallest and largest number that is taken.
    above : float, optional
        Instead of `low`: numbers must be more than this.
    unit : str
        Such as ``'BPM'``, for messages.

    Returns
    -------
    callable
        Raises GenaudioError, in one line that names option and range, for everything else (NaN too).
    """
    return taken(option, _setting(kind=float, low=low, high=high, above=above, unit=unit))


def whole(option: str, low: int = 0, high: int = 2**31 - 1, *, unit: str = '') -> Callable[[str], int]:
    """Return an argparse type for a whole number from `low` to `high`; as `number`."""
    return taken(option, _setting(kind=int, low=low, high=high, unit=unit))


def _setting(**limits: Any) -> 'Setting':
    from genaudio_core.tables import Setting  # not for the help alone, which is to be there at once

    return Setting(**limits)


def taken(option: str, setting: 'Setting') -> Callable[[str], Any]:
    """Return an argparse type for what a setting takes, such as a level in dB; as `number`."""
    return functools.partial(setting.check, option)


def seed(option: str = '--seed') -> Callable[[str], int]:
    """Return an argparse type for the seed of a random generator."""
    return whole(option, 0, 2**63 - 1)


def share(option: str) -> Callable[[str], float]:
    """Return an argparse type for a share, from 0 to 1."""
    return number(option, 0, 1)


def minutes(option: str = '--minutes') -> Callable[[str], float]:
    """Return an argparse type for how long something runs, in minutes."""
    return number(option, above=0, high=MAX_MINUTES)


def threads(option: str = '--threads') -> Callable[[str], int]:
    """Return an argparse type for a number of threads."""
    return whole(option, 1, 1024)


def check_outputs(
    args: argparse.Namespace, *names: str, files: 'Sequence[Path] | None' = None, folders: 'Sequence[str]' = ()
) -> None:
    """Check before anything is done that the files in the arguments `names` can be written, and are none of the others.

    `files` are those that they come to, where that is not what they say (several takes). `folders` are the names of
    arguments that are folders to write into: they are made later.

    Raises
    ------
    GenaudioError
        As `files.check_writable` and `files.check_targets` do.
    """
    files = [path for name in names if (path := getattr(args, name)) is not None] if files is None else files
    from pathlib import Path

    from genaudio_core.files import check_targets, check_writable

    written = [check_writable(path) for path in files]
    written += [path for name in folders if (path := getattr(args, name)) is not None]
    names += tuple(folders)
    others = (value for name, value in vars(args).items() if name not in names)
    read = [one for value in others for one in (value if isinstance(value, list) else [value])]
    _options.setdefault('targets', _options.get(names[0], names[0].upper()))  # what the library calls them
    # A word such as in `fit mmt --out mmt` is a file only where there is one of its name.
    read = [one for one in read if isinstance(one, Path) or (isinstance(one, str) and os.path.isfile(one))]
    check_targets(written, [Path(one) for one in read])


_ARGUMENT = r'`([^`\n]+)`'
_options: dict[str, str] = {}  # of the command that runs: an argument of the library -> how to give it here


def _options_of(parser: argparse.ArgumentParser, differing: Mapping[str, str]) -> dict[str, str]:
    """The options of this command line by the names of the library's arguments, as argparse gives them."""
    options = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):  # 'bench WHAT', 'fit MODEL': alike where they have both
            for inner in action.choices.values():
                options |= _options_of(inner, {})
        elif action.option_strings:
            options[action.dest] = action.option_strings[0]
            negated = [name for name in action.option_strings if name.startswith('--no-')]
            if isinstance(action, argparse.BooleanOptionalAction) and negated:
                options[f'{action.dest}=False'] = negated[0]
            if action.nargs == 0:
                options[f'{action.dest}=True'] = action.option_strings[0]
    return options | dict(differing)


def as_options(text: str) -> str:
    """Return a message of the library as it reads on the command line that runs.

    Backquoted ``beats`` becomes --beats, ``encoder=FOLDER`` becomes --encoder FOLDER; other words stay as they are.
    """

    def option(found: re.Match[str]) -> str:
        name, equals, value = found[1].partition('=')
        if found[1] in _options:
            return _options[found[1]]
        return f'{_options[name]} {value}' if equals and name in _options else _options.get(found[1], found[0])

    return re.sub(_ARGUMENT, option, text)


def notice(text: str) -> None:
    """Tell the person something that is neither a result nor an error (on stderr), in terms of the command line."""
    say(as_options(text))


def say(line: str) -> None:
    """Print `line` on stderr. Where that takes nothing, the line is lost, and nothing else."""
    try:
        print(printable(line), file=sys.stderr, flush=True)
    except BrokenPipeError:  # its reader is gone for good
        lead_nowhere(sys.stderr)
    except OSError:  # a log on a full disk, say, and there may be room again
        pass


@contextlib.contextmanager
def _notices_shown() -> Iterator[None]:
    """Show what our packages log as lines on stderr, whatever another library has set up; only while a command runs."""
    import logging  # not for the help alone, as above

    handler, before = logging.Handler(), []
    handler.emit = lambda record: notice(record.getMessage())
    for package in ('genaudio_core', 'bridge', 'export'):
        logger = logging.getLogger(package)
        before.append((logger, logger.handlers, logger.propagate))
        logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate


def _json_default(value: Any) -> Any:
    if hasattr(value, 'tolist'):  # numpy scalars and arrays
        return value.tolist()
    return str(value)


GONE = 'the current folder is gone. Change to one that is there (cd) and run the command again.'


def _is_here() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def show(result: Mapping[str, Any], as_json: bool, file: TextIO | None = None) -> None:
    """Print a result: one JSON object, or ``key: value`` lines, `printable`; on stdout, or into `file`."""
    import json  # not for the help alone, as above

    if as_json:
        print(json.dumps(result, default=_json_default), file=file, flush=True)
        return
    for key, value in result.items():
        if isinstance(value, float):
            value = f'{value:.4g}'
        elif isinstance(value, (dict, list)):
            value = json.dumps(value, default=_json_default)
        print(printable(f'{key}: {value}'), file=file, flush=True)


def print_rows(rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as their widest cell, never wrapped: a report is read in files too."""
    plain = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    for row in plain:
        first, *others = (cell.rjust(width) if i else cell.ljust(width)
                          for i, (cell, width) in enumerate(zip(row, widths, strict=True)))  # fmt: skip
        print('  '.join([first, *others]))


_NOBODY_READS = (errno.EIO, errno.EBADF)  # the terminal is gone
_NO_MEMORY = r"(?i)can't allocate memory|out of memory|failed to allocate"  # torch, onnxruntime


def _tell_error(text: str) -> None:
    """Show the one line of an error; where a full disk or a terminal that is gone takes it, it is lost."""
    try:
        print(f'error: {printable(text)}', file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        lead_nowhere(sys.stderr)


def _show_where_somebody_reads(result: Mapping[str, Any], as_json: bool) -> None:
    """Print a result on stdout; a terminal that is gone by now loses it, and that is not a fault."""
    try:
        show(result, as_json)
    except OSError as error:
        lead_nowhere(sys.stdout)  # Python flushes once more when it ends
        if error.errno not in _NOBODY_READS:
            raise


def place_of(package: str, name: str) -> str:
    """Return the module of subcommand `name`: in `package`, or in one of the packages in it."""
    import importlib.util
    import pkgutil

    own = f'{package}.{name.replace("-", "_")}'
    if own in sys.modules or importlib.util.find_spec(own):
        return own
    inside = pkgutil.iter_modules(importlib.import_module(package).__path__)
    places = (f'{package}.{found.name}.{name.replace("-", "_")}' for found in inside if found.ispkg)
    return next((place for place in places if importlib.util.find_spec(place)), own)


def main(program: str, about: str, package: str, groups: Sequence[Group], argv: Sequence[str] | None = None) -> int:
    """Run one of the commands of `groups`, found by `place_of`; return the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    close_no_stream()
    for stream in (sys.stdout, sys.stderr):
        write_anything(stream)
    _options.clear()
    done = False
    try:
        code = _told_in_one_line(lambda: _run(program, about, package, groups, argv), debug='--debug' in argv)
        done = code in (0, 1)
        return code
    except BrokenPipeError:  # the reader of our output went away (| head)
        lead_nowhere(sys.stdout)
        lead_nowhere(sys.stderr)
        return 141
    finally:
        if not done:
            from genaudio_core.files import leave_no_empty_folder

            leave_no_empty_folder()


def _run(program: str, about: str, package: str, groups: Sequence[Group], argv: list[str]) -> int:
    """The command itself; whatever goes wrong is raised."""
    began, commands = time.monotonic(), names_of(groups)
    if not argv or argv[0] in ('-h', '--help'):
        print(overview(program, about, groups))
        return 0
    if argv[0] == '--version':
        print(f'{program} {__version__}')
        return 0
    name = argv[0]
    if name not in commands:
        _tell_error(f"unknown command '{name}'.{did_you_mean(name, commands)} See: {program} --help")
        return 2
    module = importlib.import_module(place_of(package, name))
    parser = _Parser(
        prog=f'{program} {name}',
        description=wrapped(module.HELP),
        epilog=getattr(module, 'DETAILS', str)() + example(module.EXAMPLE),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parser.set_defaults(began=began)  # for limits of time: loading counts
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    _options.update(_options_of(parser, getattr(module, 'ARGUMENTS', {})))
    from genaudio_core.interruption import signals_clean_up

    with _notices_shown(), signals_clean_up():
        result = module.run(parser.parse_args(argv[1:]))
    exit_code = int(result.pop('exit_code', 0)) if isinstance(result, dict) else 0
    if result is not None:
        _show_where_somebody_reads(result, '--json' in argv)
    return exit_code


def _told_in_one_line(work: Callable[[], int], *, debug: bool) -> int:
    """Do the work and return the exit code, its own or that of what went wrong, which is shown as one line."""
    try:
        try:
            return work()
        finally:  # after argparse's help, too, which ends in SystemExit; at its own end Python would show a traceback
            if sys.stdout is not None and not sys.stdout.closed:
                sys.stdout.flush()
    except GenaudioError as error:
        if debug:
            raise
        gone = isinstance(error.__cause__, FileNotFoundError) and not _is_here()
        _tell_error(GONE if gone else as_options(str(error)))
        return error.exit_code
    except ModuleNotFoundError as error:
        if debug or error.name is None:
            raise
        extra = 'train' if error.name.split('.')[0] in _TRAIN_PACKAGES else 'live'
        _tell_error(f"this needs the package '{error.name}': pip install 'genaudio[{extra}]'")
        return 2
    except KeyboardInterrupt as error:
        with contextlib.suppress(OSError):  # the terminal may be what went away
            print('stopped', file=sys.stderr)
        return getattr(error, 'exit_code', 130)  # of a signal
    except BrokenPipeError:
        raise
    except Exception as error:
        from genaudio_core.files import no_room

        if not debug and (why := no_room(error)):
            told = f'{why}. Make room and run the command again; files made before are whole.'
        elif not debug and isinstance(error, FileNotFoundError) and not _is_here():
            told = GONE
        elif not debug and isinstance(error, OSError) and error.strerror:
            named = f'{os.fsdecode(error.filename)}: ' if isinstance(error.filename, (str, bytes)) else ''
            told = f'{named}{error.strerror}.'
        elif not debug and (isinstance(error, MemoryError) or re.search(_NO_MEMORY, str(error))):
            told = f'there is not enough memory for this ({one_line(error) if str(error) else "no more"}).'
        else:
            raise
        lead_nowhere(sys.stdout)  # what it still holds might not be taken either
        _tell_error(told)
        return 2
