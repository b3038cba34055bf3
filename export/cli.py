"""The command `genaudio-export`."""

import sys
from collections.abc import Sequence

from genaudio_core.entry import run_command

ABOUT = 'Turn trained checkpoints into .onnx files that are checked before they are written.'
COMMANDS = {
    'all': 'export every model of a manifest',
    'one': 'export one checkpoint',
    'verify': 'check existing .onnx files again',
    'import': 'convert a published checkpoint (MMT, CLIPSep)',
}


def main(argv: Sequence[str] | None = None) -> int:
    return run_command('genaudio-export', ABOUT, 'export.commands', COMMANDS, argv)


if __name__ == '__main__':
    sys.exit(main())
