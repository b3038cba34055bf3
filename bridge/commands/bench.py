"""`genaudio bench WHAT`: figures of this machine, as one JSON object with --json."""

import argparse
import importlib
from typing import Any

from bridge.bench import BENCHES
from genaudio_core.help_text import example, wrapped

HELP = 'Measure how fast this machine plays.'
EXAMPLE = 'genaudio bench continue --json'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    benches = parser.add_subparsers(dest='bench', required=True, metavar='WHAT', help=', '.join(BENCHES))
    for name, module_name in BENCHES.items():
        module = importlib.import_module(module_name)
        bench = benches.add_parser(
            name, help=module.HELP, description=wrapped(module.HELP), epilog=example(module.EXAMPLE),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        module.add_arguments(bench)
        # Also after WHAT, where people write them; the default must not undo one given before it.
        bench.add_argument('--json', action='store_true', default=argparse.SUPPRESS)
        bench.add_argument('--debug', action='store_true', default=argparse.SUPPRESS)
        bench.set_defaults(run_bench=module.run)


def run(args: argparse.Namespace) -> dict[str, Any]:
    return args.run_bench(args)
