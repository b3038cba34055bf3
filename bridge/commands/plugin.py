"""``genaudio plugin``: the plug-ins for a DAW, put where it finds them."""

import argparse
from pathlib import Path
from typing import Any

HELP = 'install the plug-ins for a DAW (VST3, CLAP, LV2), or remove them'
EXAMPLE = 'genaudio plugin install'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'what', choices=('install', 'uninstall', 'status'),
        help='install: build (with g++ and DPF) and put them into ~/.vst3, ~/.clap and ~/.lv2; status: what is there',
    )  # fmt: skip
    parser.add_argument('--to', type=Path, metavar='DIR', help='a folder instead of the home folder')


def run(args: argparse.Namespace) -> dict[str, Any]:
    from bridge.daw import installing, meeting_place

    if args.what == 'install':
        return {'installed': [str(path) for path in installing.install(args.to)], 'engine': str(installing.record())}
    if args.what == 'uninstall':
        return {'removed': [str(path) for path in installing.uninstall(args.to)]}
    return {
        'installed': [str(path) for path in installing.installed(args.to)],
        'engine': str(installing.record()) if installing.record().exists() else '',
        'running': meeting_place.discovery(),
    }
