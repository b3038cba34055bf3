"""Continue every MIDI file of a folder into another one; a bad file costs a line, and what is done already is left out.
Run: python examples/batch_folder.py phrases/ songs/ [MODEL]"""

import sys
from pathlib import Path

import genaudio_core as ga


def main(source: str, target: str, model_name: str = 'live') -> int:
    model, failed = ga.load(model_name), 0  # loaded once for all files
    Path(target).mkdir(parents=True, exist_ok=True)
    for path in sorted(Path(source).glob('*.mid')):
        out = Path(target) / path.name
        if out.exists():
            continue
        try:
            model.continue_(path, beats=8, seed=1).save(out)
            print(f'{path.name}: done')
        except ga.GenaudioError as error:  # one line that says what is wrong
            failed += 1
            print(f'{path.name}: {error}', file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
