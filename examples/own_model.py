"""A model of one's own: a small network, trained for some steps on your MIDI files, exported, checked and played.
Run: python examples/own_model.py my-songs/ mine.onnx song.mid  (needs: pip install 'genaudio[train]')"""

import sys
from pathlib import Path

import torch

import genaudio_core as ga
from export.job import export
from export.manifest import Job
from genaudio_core.models.mmt import MMT, TINY
from genaudio_core.music.events import encode
from genaudio_core.training.fit.mmt import Loss
from genaudio_core.training.loops.checkpoints import save_checkpoint
from genaudio_core.training.scores.batches import collate

STEPS = 20  # enough to see the loss fall; `genaudio-train fit mmt` is the real thing


def main(source: str, target: str, song: str) -> None:
    torch.manual_seed(1)
    files = sorted(Path(source).glob('*.mid'))
    pieces = [encode(ga.read_midi(path), TINY.layout)[: TINY.context] for path in files]  # events, (n, fields)
    model = MMT(TINY)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(STEPS):
        loss, _ = Loss(model)(collate([pieces[step % len(pieces)]], TINY.layout))  # nats per event
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(f'loss {loss.item():.3f} after {STEPS} steps')
    checkpoint = Path(target).with_suffix('.safetensors')
    save_checkpoint(checkpoint, model.eval(), TINY.to_dict(), step=STEPS, names=[])
    export(Job('mine', 'decoder', checkpoint, Path(target), licence='MIT', training_data=['mine']), 'by hand')
    ga.load(target).continue_(files[0], beats=8, seed=1).save(song)


if __name__ == '__main__':
    main(*sys.argv[1:])
