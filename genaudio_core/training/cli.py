"""The command `genaudio-train`."""

import sys
from collections.abc import Sequence

from genaudio_core.command import main as run_command

ABOUT = 'Prepare data, train, evaluate and study the models.'
COMMANDS = {
    'prepare': 'make one compact data file from folders of scores',
    'fit': 'train a model from a data file; resumes where it stopped',
    'finetune': 'make a personal model from a handful of your own files',
    'evaluate': 'measure a trained model against held-out music',
}


def main(argv: Sequence[str] | None = None) -> int:
    return run_command('genaudio-train', ABOUT, 'genaudio_core.training.commands', COMMANDS, argv)


if __name__ == '__main__':
    sys.exit(main())
