"""Commands that make one file of another, done with many: each file is an item of a job.

Such a command is a module with `load(args)`, which loads what all files need; `make(args, loaded, bar)`, which reads
``args.input``, writes ``args.out`` and tells the result; and `read_by(args)`: what is read for all files, by path.
If it has `check_places(places)`, that is asked before an item is made whether its outputs may take their places.
"""

import argparse
import contextlib
import copy
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bridge.commands.offline._job_options import is_asked_for, job_options
from genaudio_core.command_line import notice
from genaudio_core.errors import GenaudioError
from genaudio_core.files import check_targets
from genaudio_core.jobs.inputs import Found, find_inputs, is_many
from genaudio_core.jobs.items import Item, Task
from genaudio_core.jobs.job import SHOWN, Report, run_job
from genaudio_core.jobs.places import is_address
from genaudio_core.jobs.records import content_sha256

Bar = Callable[..., AbstractContextManager[Callable[..., None]]]  # as `progress_bar`
# What does not decide what comes out, or is said of each item.
_APART = {'input', 'out', 'json', 'debug', 'began', 'not_published', 'threads', 'provider', 'workers', 'ray',
          'shard', 'retry_failed', 'dry_run', 'force', 'check', 'list'}  # fmt: skip


class EachFile:
    """The step of such a job.

    Parameters
    ----------
    command
        The module, by its dotted name.
    args
        Of the command line. ``input`` and ``out`` are those of the item then, and what its `asked` names.
    """

    def __init__(self, command: str, args: argparse.Namespace) -> None:
        self.command, self.args = command, args

    def open(self) -> Any:
        """Load the models of the command, by its `load`."""
        return importlib.import_module(self.command).load(self.args)

    def close(self, tools: Any) -> None:
        """Nothing is held."""

    def files(self) -> list[Path]:
        """Return the files that the command line names: models, examples."""
        named = [value for name, value in vars(self.args).items() if name not in _APART]
        paths = [one for value in named for one in (value if isinstance(value, list) else [value])]
        return list(dict.fromkeys(path for path in paths if isinstance(path, Path) and path.is_file()))

    def with_files(self, places: Mapping[Path, Path]) -> 'EachFile':
        """Return the same with other names of these files on the command line."""

        def placed(value: Any) -> Any:
            return list(map(placed, value)) if isinstance(value, list) else (
                places.get(value, value) if isinstance(value, Path) else value)  # fmt: skip

        moved = {name: value if name in _APART else placed(value) for name, value in vars(self.args).items()}
        return EachFile(self.command, argparse.Namespace(**moved))

    def asked(self, tools: Any = None) -> dict[str, Any]:
        """Return all that decides what comes out, but for the single files."""
        read = importlib.import_module(self.command).read_by(self.args)
        return {'command': self.command.rpartition('.')[2], **_asked(self.args, read)}

    def do(self, tools: Any, task: Task) -> dict[str, Any]:
        """Run the command with one file."""
        args = copy.copy(self.args)
        for name, value in task.item.asked.items():
            setattr(args, name, value)
        module = importlib.import_module(self.command)
        if hasattr(module, 'check_places'):
            module.check_places(task.places)
        args.input = task.inputs[0] if task.inputs else None
        args.out = task.outputs[0].parent / self._own_name(task)

        @contextlib.contextmanager
        def bar(what: str, total: float | None = None) -> Iterator[Callable[..., None]]:
            yield lambda done, all_of_it=total, *_: task.share(min(1.0, done / all_of_it) if all_of_it else 0.0)

        told = module.make(args, lambda: tools, bar)
        told = _placed(told, str(task.outputs[0]).removesuffix(task.item.name), f'{self.args.out}/')
        return {'input': task.item.label, **told} if task.inputs else told

    def _own_name(self, task: Task) -> str:
        """The name that the command numbers where it makes several takes."""
        name = task.outputs[0].name
        takes = getattr(self.args, 'takes', 1) if 'takes' not in task.item.asked else 1
        return name if takes == 1 else f'{name.rpartition("-")[0]}{task.outputs[0].suffix}'


def _placed(told: Any, stage: str, root: str) -> Any:
    """The same with the names of files as they are when all is done."""
    if isinstance(told, dict):
        return {name: _placed(value, stage, root) for name, value in told.items()}
    if isinstance(told, list):
        return [_placed(value, stage, root) for value in told]
    return told.replace(stage, root) if isinstance(told, str) else told


def is_job(args: argparse.Namespace, words: Sequence[str]) -> bool:
    """Whether a command line means many files, or one that is to be done like them."""
    return is_many(words) or is_asked_for(args) or is_address(args.out or '')


def over_files(
    command: str, args: argparse.Namespace, suffixes: Sequence[str], outputs: Callable[[str], Sequence[str]], *,
    doing: str, reads: Callable[[Found], Sequence[str]] = lambda found: (),
) -> dict[str, Any]:  # fmt: skip
    """Run a command with every file that ``args.input`` means, into the folder ``args.out``; return what is told.

    Parameters
    ----------
    suffixes
        Of files in folders.
    outputs
        The names of what is written, by that of the file.
    reads
        What else is read for a file.
    """
    if args.out == Path('-'):
        raise GenaudioError('-o - takes a single file; give a folder for many.')
    found = find_inputs(args.input, suffixes, args.out)
    items = [Item(tuple(outputs(one.name)), (one.place, *reads(one))) for one in found]
    if not is_address(args.out):
        check_targets(
            [Path(args.out, name) for item in items for name in item.outputs],
            [Path(place) for item in items for place in item.inputs if not is_address(place)],
        )
    return told_of(args, run_items(command, args, items, doing=doing), 'file')


def run_items(command: str, args: argparse.Namespace, items: Sequence[Item], *, doing: str) -> Report:
    """Do the items of a job of a command."""
    step = EachFile(command, args)
    return run_job(args.out, step, items, step.asked(), job_options(args), doing=doing)


def told_of(
    args: argparse.Namespace, report: Report, item: str, made: str = 'made', files: Sequence[Any] | None = None
) -> dict[str, Any]:
    """Return the summary of a job that a command prints: for people numbers, for programs each file.

    Parameters
    ----------
    item, made
        What the person calls an item ('file') and what is done with it ('separated').
    files
        What is told of each; by default as the job tells it.

    Raises
    ------
    GenaudioError
        If nothing at all could be done.
    """
    if report.to_do is not None:
        more = len(report.to_do) - SHOWN
        if args.json or more <= 0:
            return report.as_dict()
        return report.as_dict() | {'items': report.to_do[:SHOWN], 'more_items': more}
    if args.retry_failed and not report.asked:
        notice(f'No {item} of these failed when it was last tried.')
    if report.failed:
        if not report.done and not report.already:
            if report.asked == 1:
                raise GenaudioError(f'The {item} could not be {made}.')
            raise GenaudioError(f'None of the {report.asked} {item}s could be {made}.')
        notice(f'{len(report.failed)} of {report.asked} {item}s could not be {made}; the others are done.')
    if args.json:
        return {**report.as_dict(), 'files': report.told if files is None else files}
    return {
        'done': report.done, 'already_done': report.already, 'failed': len(report.failed), 'folder': str(args.out),
        'exit_code': report.exit_code,
    }  # fmt: skip


def _asked(args: argparse.Namespace, read: Mapping[str, Path | None]) -> dict[str, Any]:
    """All that is asked of every file: options as they are, and what they name by its content."""
    options = {name: value for name, value in sorted(vars(args).items()) if name not in _APART and name not in read}
    for name, value in options.items():
        if isinstance(value, Path):
            options[name] = content_sha256(value)
        elif isinstance(value, list):
            options[name] = [content_sha256(one) if isinstance(one, Path) else one for one in value]
    return options | {name: content_sha256(path) for name, path in sorted(read.items()) if path is not None}
