"""The command `genaudio-export`."""

import sys
from collections.abc import Sequence

from genaudio_core.entry import Group, names_of, run_command

ABOUT = 'Turn trained checkpoints into .onnx files that are checked before they are written.'
GROUPS = (
    Group(
        'export',
        {'all': 'export every model of a manifest', 'one': 'export one checkpoint'},
        'genaudio-export all presets/models/manifest.toml',
    ),
    Group('check', {'verify': 'check existing .onnx files again'}, 'genaudio-export verify presets/models/live.onnx'),
    Group(
        'published checkpoints',
        {'import': 'convert a published checkpoint (MMT, CLIPSep)'},
        'genaudio-export import mmt best_model.pt mmt.onnx',
    ),
)
COMMANDS = names_of(GROUPS)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command('genaudio-export', ABOUT, 'export.commands', GROUPS, argv)


if __name__ == '__main__':
    sys.exit(main())
