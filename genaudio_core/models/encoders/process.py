"""Other people's query encoders in a process of their own: torch stays out of the program that separates.

    echo '{"text": ["violin"], "image": ["a.jpg"]}' | python -m genaudio_core.models.encoders.process --weights WEIGHTS

prints one JSON object: ``family``, ``inputs`` and, for each input asked for, its vectors. WEIGHTS is a file that
open_clip reads (with ``--model``), or a folder of transformers. See ``genaudio_core/query/own_encoder.py``.
"""

import argparse
import json
import sys
from pathlib import Path

from genaudio_core.errors import GenaudioError
from genaudio_core.models.encoders.clip import ClipEncoder
from genaudio_core.models.encoders.transformers_folder import FolderEncoder


def load_encoder(weights: str | Path, model: str = 'ViT-B-32') -> ClipEncoder | FolderEncoder:
    """Return the encoder of a folder (transformers) or file (open_clip's `model`)."""
    return FolderEncoder.load(weights) if Path(weights).is_dir() else ClipEncoder.load(model, weights)


def answer(encoder, asked: dict[str, list[str]]) -> dict:
    """Return the vectors of what is `asked`: input -> texts or paths.

    Raises
    ------
    GenaudioError
        If the encoder does not take an input, or a file cannot be read.
    """
    told: dict = {'family': encoder.family, 'inputs': list(encoder.inputs)}
    for name, things in asked.items():
        if things and name not in encoder.inputs:
            raise GenaudioError(f'{encoder.family.upper()} takes {" and ".join(encoder.inputs)}, no {name}.')
        told[name] = [[round(v, 7) for v in getattr(encoder, name)(thing).tolist()] for thing in things]
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--weights', required=True)
    parser.add_argument('--model', default='ViT-B-32')
    args = parser.parse_args()
    try:
        told = answer(load_encoder(args.weights, args.model), json.load(sys.stdin))
    except GenaudioError as error:
        print(error, file=sys.stderr)
        return 2
    print()  # libraries may have left a line unfinished
    print(json.dumps(told))
    return 0


if __name__ == '__main__':
    sys.exit(main())
