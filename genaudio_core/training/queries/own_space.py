"""A query space out of the user's own encoder (CLIP, CLAP): what to train a separator on that is asked by pictures.

    genaudio-train query-space --encoder clip-vit-b-32 --own mine -o clip.npz --variants clip-variants.npz
    genaudio-train fit clipsep --sounds data/mine --space clip.npz --queries clip-variants.npz --out runs/mine

A label's place is where the encoder puts its words. Its variants are its other names, and what is in the folders of
`--own` that are named after it: pictures and the middle frames of videos for CLIP, recordings for CLAP. So training
hears (and sees) what people will ask with. Vectors are brought to length one.
"""

import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.processes.programs import run_program
from genaudio_core.query.own_encoder import PROBE, EncoderProcess, QuerySource, probe_of
from genaudio_core.sound.audio_files import READABLE
from genaudio_core.training.queries.space import QuerySpace, unit
from genaudio_core.training.sounds.lexicon import CONCEPTS
from genaudio_core.training.sounds.own_sounds import FFMPEG_TIMEOUT, VIDEO
from genaudio_core.training.sounds.recordings import concept_of

PICTURES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')
N_FRAMES, FRAME_STEP = 3, 1.0  # frames around the middle of a video, and the seconds between them, as published


def middle_frames(video: Path, folder: Path) -> list[Path]:
    """Write the frames around the middle of `video` into `folder`; return them.

    Raises
    ------
    GenaudioError
        If ffmpeg is missing, or there is no picture in the file.
    """
    probe = ['ffprobe', '-v', 'error', '-show_entries', 'format=duration', '-of', 'csv=p=0', str(video)]
    advice = f'{video} needs ffmpeg: apt-get install ffmpeg.'
    length = run_program(probe, timeout=FFMPEG_TIMEOUT, advice=advice).stdout.decode(errors='replace').strip()
    found = []
    try:
        middle = float(length or 0) / 2
    except ValueError:
        middle = math.nan
    for i in range(N_FRAMES if math.isfinite(middle) else 0):
        at = max(0.0, middle + (i - N_FRAMES // 2) * FRAME_STEP)
        target = folder / f'{video.stem}-{i}.png'
        command = ['ffmpeg', '-v', 'error', '-nostdin', '-y', '-ss', f'{at:.3f}', '-i', str(video), '-an',
                   '-frames:v', '1', str(target)]  # fmt: skip
        done = run_program(command, timeout=FFMPEG_TIMEOUT, advice=advice)
        if done.returncode == 0 and target.exists():
            found.append(target)
    if not found:
        raise GenaudioError(f'{video} contains no pictures.')
    return found


def build_own_space(
    encoder: EncoderProcess, folders: Sequence[Path] = (), notify: Callable[[str], None] = print
) -> tuple[QuerySpace, dict[str, np.ndarray]]:
    """Return the space of all labels, and label -> (n, dim) variants.

    Raises
    ------
    GenaudioError
        If a folder is missing, or the encoder cannot be used.
    """
    files: dict[str, list[Path]] = defaultdict(list)
    for folder in folders:
        if not folder.is_dir():
            raise GenaudioError(f'The folder {folder} does not exist.')
        for path in sorted(p for p in folder.rglob('*') if p.is_file()):
            label = concept_of(path.relative_to(folder).parts[0])
            if label and path.suffix.lower() in PICTURES + VIDEO + READABLE:
                files[label].append(path)
    words = [word for concept in CONCEPTS for word in (concept.name, *concept.synonyms)]
    # The encoder is loaded twice: what it takes is not known before it was asked.
    told = encoder.ask(text=[*words, PROBE])
    vectors = dict(zip(words, unit(told['text'][:-1]), strict=True))
    sees, hears = 'image' in told['inputs'], 'audio' in told['inputs']
    variants = {c.name: [vectors[word] for word in c.synonyms] for c in CONCEPTS}
    with tempfile.TemporaryDirectory() as scratch:
        # One entry for each thing to encode: the frames of a video are one.
        wanted: list[tuple[str, list[Path]]] = []
        for label, paths in files.items():
            for number, path in enumerate(paths):
                suffix = path.suffix.lower()
                if (sees and suffix in PICTURES) or (hears and suffix in READABLE):
                    wanted.append((label, [path]))
                elif sees and suffix in VIDEO:
                    place = Path(scratch) / f'{label}-{number}'
                    place.mkdir()
                    try:
                        wanted.append((label, middle_frames(path, place)))
                    except GenaudioError as error:
                        notify(str(error))
        if wanted:
            kind = 'image' if sees else 'audio'
            found = encoder.ask(**{kind: [path for _, paths in wanted for path in paths]})[kind]
            for label, paths in wanted:
                variants[label].append(unit(found[: len(paths)].mean(axis=0)))
                found = found[len(paths) :]
        elif folders:
            notify(f'No files in folders named after sounds that {told["family"].upper()} could use.')
    queries = QuerySource(told['family'], tuple(told['inputs']), True, probe_of(told['text'][-1])).to_dict()
    nothing = np.zeros((0, 0), np.float32)
    names = [concept.name for concept in CONCEPTS]
    space = QuerySpace(nothing[0:0], nothing, np.stack([vectors[name] for name in names]), names, queries)
    return space, {label: np.stack(rows) for label, rows in variants.items() if rows}
