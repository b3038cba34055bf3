"""Training of the denoiser, on a pack of `genaudio-train prepare-synthesis`.

Half of the queries are what the audio encoder hears in the sound itself (the paper's way), some are the text vector of
its label, marked as words, and a tenth are left out for classifier-free guidance. The loss is the plain squared error
of v, its times spread evenly over each batch.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genaudio_core.command_line import share, whole
from genaudio_core.files import atomic_write, make_folder
from genaudio_core.models.clipsonic import HEARD, NOTHING, WORDS, Denoiser, DenoiserConfig, MelUNet, make_denoiser
from genaudio_core.sound.mel import BANDS, LOG_FLOOR, unpack_mel
from genaudio_core.synthesis.diffusion import schedule
from genaudio_core.synthesis.mel_patches import PatchCodec
from genaudio_core.training.loops.arguments import add_average_arguments
from genaudio_core.training.loops.checkpoints import begin_with, read_checkpoint, rebuild
from genaudio_core.training.loops.synthesis import fit
from genaudio_core.training.queries.space import QuerySpace
from genaudio_core.training.sounds.packed_mels import FRAMES, Balanced, SynthesisData

HELP = 'the bundled synthesis model: a diffusion transformer (or a mel U-Net) that paints spectrograms'
EXAMPLE = (
    'genaudio-train fit clipsonic --data data/synthesis.safetensors --space runs/query/space.npz '
    '--out runs/synth-denoiser --minutes 60'
)
FLOOR = float(np.log(1e-4))  # log mel under which nothing is heard beside the sound itself (-68 dB of its loudest)
DROP = 0.1  # share of queries left out
WORD_SHARE = 0.4  # of the rest that are text vectors
SPREAD = {HEARD: 0.15, WORDS: 0.3}  # length of the noise added to a query vector: neighbours sound alike


def make_codec(data: SynthesisData, net: str, patch: int, keep: int) -> PatchCodec:
    """Fit the codec on the training items; the U-Net's leaves the picture as it is."""
    rows = data.rows('train')
    rows = rows[:: max(1, len(rows) // 3000)]
    mels = unpack_mel(data.mel[rows])
    if net == 'unet':
        return PatchCodec.fit(mels, 1, BANDS, LOG_FLOOR, power=0.0)
    return PatchCodec.fit(mels, patch, keep, FLOOR)


class MelBatches:
    """Items -> what a step of training needs, all from one seed and the step's number."""

    def __init__(self, data: SynthesisData, codec: PatchCodec, concepts: np.ndarray, config: DenoiserConfig, seed: int):
        """`concepts` (labels, dim) are the texts of the labels."""
        self.data, self.codec, self.concepts, self.config, self.seed = data, codec, concepts, config, seed

    def __call__(
        self, rows: np.ndarray, step: int, *, drop: float = DROP, words: float = WORD_SHARE
    ) -> dict[str, Tensor]:
        """Return noisy rows x, times, queries, kinds, starts, and the target v."""
        rng = np.random.default_rng((self.seed, step, 1))
        size = len(rows)
        clean = self.codec.encode(unpack_mel(self.data.mel[rows]))
        kind = np.where(rng.random(size) < words, WORDS, HEARD)
        query = np.where((kind == WORDS)[:, None], self.concepts[self.data.label[rows]], self.data.query[rows])
        spread = np.where(kind == WORDS, SPREAD[WORDS], SPREAD[HEARD])[:, None] * rng.random((size, 1))
        query = query + spread * rng.standard_normal(query.shape) / np.sqrt(query.shape[1])
        query /= np.linalg.norm(query, axis=1, keepdims=True)
        kind[rng.random(size) < drop] = NOTHING
        # One time in each of `size` equal parts: the loss of a step says more with the same batch.
        t = (rng.permutation(size) + rng.random(size)) / size
        alpha, sigma = (a[:, None, None] for a in schedule(t, self.config.shift))
        noise = rng.standard_normal(clean.shape, np.float32)
        arrays = {
            'x': alpha * clean + sigma * noise, 'v': alpha * noise - sigma * clean, 't': t, 'query': query,
            'kind': kind.astype(np.int64), 'start': self.data.start[rows].astype(np.int64),
        }  # fmt: skip
        return {
            name: torch.from_numpy(a if a.dtype == np.int64 else a.astype(np.float32)) for name, a in arrays.items()
        }


def denoising_loss(model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Mean squared error () of the velocity."""
    v = model(batch['x'], batch['t'], batch['query'], batch['kind'], batch['start'])
    return ((v - batch['v']) ** 2).mean()


def load_denoiser(path: Path) -> tuple[Denoiser | MelUNet, dict]:
    """Return the denoiser of a checkpoint and what is known about it.

    Raises
    ------
    GenaudioError
        If it is not a checkpoint of a denoiser.
    """

    def build(config: dict) -> Denoiser | MelUNet:
        config.setdefault('along', False)  # the first checkpoints had no such layer
        return make_denoiser(DenoiserConfig(**config))

    return rebuild(path, build, 'a denoiser')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--data', type=Path, required=True, help='made by genaudio-train prepare-synthesis')
    parser.add_argument('--space', type=Path, required=True, help='query space (.npz)')
    parser.add_argument('--net', choices=('transformer', 'unet'), default='transformer',
                        help='the bundled transformer, or a mel U-Net as the paper has (needs a GPU)')  # fmt: skip
    parser.add_argument('--width', type=whole('--width', 1, 8192), help='default: 208 (transformer), 64 (unet)')
    parser.add_argument('--depth', type=whole('--depth', 1, 256), default=6, help='blocks of the transformer')
    parser.add_argument('--patch', type=whole('--patch', 1, 4096), default=4, help='frames of a token')
    parser.add_argument('--keep', type=whole('--keep', 1, 8192), default=128, help='numbers of a token')
    parser.add_argument('--words', type=share('--words'), default=WORD_SHARE,
                        help='share of queries that are the text of the label (0: the paper)')  # fmt: skip
    add_average_arguments(parser, rate=2e-3, batch=48, average=0.995, log_every=150, start_from=True)


def run(args: argparse.Namespace) -> dict:
    torch.manual_seed(args.seed)
    data, space = SynthesisData(args.data), QuerySpace.load(args.space)
    codec_path = args.out / 'codec.json'
    if codec_path.exists():  # a pack made again must not move the ground under a run
        codec = PatchCodec.load(codec_path)
    elif args.start_from:  # weights mean something only with their own codec
        codec = PatchCodec.of(read_checkpoint(args.start_from)[1].get('codec'), args.start_from)
    else:
        codec = make_codec(data, args.net, args.patch, args.keep)
    unet = args.net == 'unet'
    config = DenoiserConfig(
        net=args.net, tokens=FRAMES // codec.frames, width=args.width or (64 if unet else 208), depth=args.depth,
        shift=1.0 if unet else 2.0, codec=codec.to_dict(),
    )  # fmt: skip
    model = make_denoiser(config)
    if args.start_from:
        begin_with(model, args.start_from)
    make_folder(args.out)
    if not codec_path.exists():
        with atomic_write(codec_path) as temporary:
            temporary.write_text(json.dumps(codec.to_dict()))
    concepts = np.stack([space.vector(name) if name in space.names else space.concepts[0] for name in data.names])
    batches = MelBatches(data, codec, concepts.astype(np.float32), config, args.seed)
    draw = Balanced(data, 'train')
    valid_rows = data.rows('valid')
    valid_rows = np.random.default_rng(0).permutation(valid_rows)[: 192 if len(valid_rows) > 192 else None]

    def loss(step: int) -> Tensor:
        rows = draw.draw(args.batch, np.random.default_rng((args.seed, step, 0)))
        batch = batches(rows, step, words=args.words)
        return denoising_loss(model, {name: value.to(args.device) for name, value in batch.items()})

    def validate(averaged: torch.nn.Module) -> dict[str, float]:
        # The same items, times and noises every time, asked for by ear and by words.
        figures = {}
        for name, told in (('valid_heard', 0.0), ('valid_words', 1.0)):
            parts = np.array_split(valid_rows, max(1, len(valid_rows) // 64)) if len(valid_rows) else []
            values = [
                denoising_loss(averaged, {k: v.to(args.device) for k, v in batches(
                    rows, 10**9 + i, drop=0.0, words=told).items()}).item()
                for i, rows in enumerate(parts)
            ]  # fmt: skip
            figures[name] = float(np.mean(values)) if values else float('nan')
        return figures

    settings = {
        'data': args.data.name, 'net': args.net, 'width': config.width, 'depth': config.depth, 'patch': codec.frames,
        'keep': codec.size, 'words': args.words, 'batch': args.batch, 'seed': args.seed, 'rate': args.rate,
    }  # fmt: skip
    return fit(
        model,
        config.to_dict(),
        settings,
        args,
        loss=loss,
        validate=validate,
        watch='valid_heard',
    )
