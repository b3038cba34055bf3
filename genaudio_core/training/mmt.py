"""Training the Multitrack Music Transformer: `genaudio-train fit mmt`."""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from genaudio_core.command import notice
from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.models.mmt import CONFIGS, MMT, MMTConfig, count_parameters
from genaudio_core.training.loop import Optimizers, Run, learning_rate, limit_threads, read_checkpoint
from genaudio_core.training.score_batches import Sampler, collate, fixed_windows
from genaudio_core.training.score_data import ScoreData

HELP = 'the music model (MMT and its live extension)'
EXAMPLE = 'genaudio-train fit mmt --data data/scores.safetensors --config live --out runs/live --minutes 60'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--data', type=Path, required=True, help='file made by genaudio-train prepare')
    parser.add_argument('--config', default='live', help=f'one of {", ".join(CONFIGS)} (default: live)')
    parser.add_argument('--out', type=Path, required=True, help='run folder; a run in it goes on')
    parser.add_argument('--init', type=Path, help='checkpoint to begin from')
    parser.add_argument('--steps', type=int, default=200_000, help='stop after this many steps')
    parser.add_argument('--minutes', type=float, help='stop, saved, after this many minutes')
    parser.add_argument('--decay-at', type=int, help='step at which the learning rate begins to fall to zero')
    parser.add_argument('--decay-steps', type=int, default=500)
    parser.add_argument('--length', type=int, default=512, help='events in a sequence')
    parser.add_argument('--batch', type=int, default=8, help='sequences in a batch, per process')
    parser.add_argument('--rate', type=float, default=2e-3, help='peak learning rate')
    parser.add_argument('--warmup', type=int, default=200, help='steps')
    parser.add_argument('--optimizer', choices=('muon', 'adam'), default='muon')
    parser.add_argument('--balance', type=float, default=0.5, help='1: sources by size, 0: all alike')
    parser.add_argument('--exclude', default='', help='sources to leave out, comma-separated')
    parser.add_argument('--as-published', action='store_true', help="MMT's own crops, augmentation and loss")
    parser.add_argument('--validate-every', type=int, default=250, help='steps')
    parser.add_argument('--validate-pieces', type=int, default=8, help='held-out pieces per source')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--threads', type=int, help='CPU threads per process')
    parser.add_argument('--devices', type=int, default=1, help='processes, or GPUs')
    parser.add_argument('--nodes', type=int, default=1)
    parser.add_argument('--accelerator', default='auto', choices=('auto', 'cpu', 'cuda'))
    parser.add_argument('--bf16', choices=('auto', 'yes', 'no'), default='auto', help='bfloat16 (auto: on GPUs)')


def build(name: str) -> MMTConfig:
    """Configuration by name.

    Raises
    ------
    GenaudioError
        If there is none of this name.
    """
    if name not in CONFIGS:
        raise GenaudioError(f"Unknown configuration '{name}'.{did_you_mean(name, CONFIGS)} Known: {', '.join(CONFIGS)}.")
    return CONFIGS[name]


def load_mmt(path: Path) -> tuple[MMT, dict]:
    """Rebuild a model from its checkpoint; returns it in eval mode, and the checkpoint's info.

    Raises
    ------
    GenaudioError
        If the checkpoint is none of ours or of another layout.
    """
    weights, config, info = read_checkpoint(path)
    try:
        model = MMT(MMTConfig(**config))
        model.load_state_dict(weights)
    except (TypeError, ValueError, RuntimeError) as error:
        line = str(error).splitlines()[0]
        raise GenaudioError(f'{path} is a checkpoint of another layout than the music model ({line}).') from None
    return model.eval(), info


@torch.no_grad()
def evaluate(model: MMT, windows: dict[str, list[np.ndarray]], *, batch: int = 8) -> dict[str, dict[str, float]]:
    """Held-out NLL in nats, per source and over all ('mean' weighs every source alike).

    Returns
    -------
    dict
        source -> {'nll': nats per event, one per field, 'events': count}
    """
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    layout = model.config.layout
    result = {}
    for source, sequences in windows.items():
        total, events = torch.zeros(len(layout.fields), dtype=torch.float64), 0
        for i in range(0, len(sequences), batch):
            b = {k: v.to(device) for k, v in collate(sequences[i : i + batch], layout).items()}
            hidden = model(b['events'], b['step'], b['phase'])
            losses, counts = model.field_losses(hidden, b['target'], b['target_phase'])
            total += losses.double().cpu()
            events += int(counts[0])
        fields = {field: float(total[i] / events) for i, field in enumerate(layout.fields)}
        result[source] = {'nll': sum(fields.values()), **fields, 'events': events}
    model.train(training)
    keys = ('nll', *layout.fields)
    result['mean'] = {key: float(np.mean([row[key] for row in result.values()])) for key in keys}
    return result


def run(args: argparse.Namespace) -> dict:
    if args.minutes is not None and args.minutes <= 0:
        raise GenaudioError('--minutes must be more than 0.')
    config = build(args.config)
    if config.positions == 'learned' and args.length > config.context:
        raise GenaudioError(f'--length {args.length} is more than the {config.context} positions of {args.config}.')
    config = replace(config, context=max(config.context, args.length))
    data = ScoreData(args.data)
    limit_threads(args.threads)
    accelerator = args.accelerator if args.accelerator != 'auto' else ('cuda' if torch.cuda.is_available() else 'cpu')
    bf16 = args.bf16 == 'yes' or (args.bf16 == 'auto' and accelerator == 'cuda')
    # The meter head has no targets in many a batch; DDP must not wait for its gradients.
    strategy = 'auto' if args.devices * args.nodes == 1 else DDPStrategy(find_unused_parameters=True)
    fabric = Fabric(
        accelerator=accelerator, devices=args.devices, num_nodes=args.nodes, strategy=strategy,
        precision='bf16-mixed' if bf16 else '32-true',
    )  # fmt: skip
    fabric.launch()

    torch.manual_seed(args.seed)
    model = MMT(config)
    if args.init:
        model.load_state_dict(load_mmt(args.init)[0].state_dict())
    settings = {
        'model': config.to_dict(), 'rate': args.rate, 'batch': args.batch, 'seed': args.seed,
        'optimizer': args.optimizer, 'as_published': args.as_published, 'balance': args.balance,
    }  # fmt: skip
    run_ = Run(args.out, settings, minutes=args.minutes, main=fabric.is_global_zero)
    optimizers = Optimizers(model, muon=args.optimizer == 'muon')
    step = run_.load(model, optimizers)
    wrapped = _wrap(fabric, model, optimizers)
    exclude = tuple(name for name in args.exclude.split(',') if name)
    sampler = Sampler(
        data, config.layout, args.length, balance=args.balance, exclude=exclude, as_published=args.as_published
    )
    windows = fixed_windows(data, config.layout, args.length, 'valid', per_source=args.validate_pieces, exclude=exclude)
    if not windows:
        raise GenaudioError(f'{args.data} holds no held-out pieces to validate on; prepare at least three works.')
    if fabric.is_global_zero:
        notice(f'{args.config}: {count_parameters(model):,} parameters, from step {step}, log in {args.out}/log.csv')
    decay_at = args.decay_at if args.decay_at is not None else args.steps
    last_step = min(args.steps, decay_at + args.decay_steps)
    began, events_seen, loss_sum, loss_events = time.monotonic(), 0, 0.0, 0
    while step < last_step:
        b = {k: v.to(fabric.device) for k, v in sampler.batch(args.batch, args.seed, step, fabric.global_rank).items()}
        torch.manual_seed(hash((args.seed, step, fabric.global_rank)))  # dropout, the same when resumed
        loss, events = wrapped(b, args.as_published)
        fabric.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(learning_rate(step, args.rate, args.warmup, decay_at, args.decay_steps))
        loss_sum, loss_events = loss_sum + float(loss.detach()) * int(events), loss_events + int(events)
        events_seen += int(events)
        step += 1
        stop = bool(fabric.broadcast(run_.time_is_up)) if fabric.world_size > 1 else run_.time_is_up
        if step % args.validate_every == 0 or stop or step == last_step:
            fabric.barrier()
            if fabric.is_global_zero:
                held_out = evaluate(model, windows)
                seconds = time.monotonic() - began
                mean = held_out.pop('mean')
                run_.log({
                    'step': step, 'seconds': seconds, 'events_per_s': events_seen / seconds,
                    'train_nll': loss_sum / max(loss_events, 1), 'valid_nll': mean['nll'],
                    **{field: mean[field] for field in config.layout.fields},
                    **{source: row['nll'] for source, row in sorted(held_out.items())},
                })  # fmt: skip
                notice(f'step {step}  train {loss_sum / max(loss_events, 1):.3f}  valid {mean["nll"]:.3f}')
                run_.save_best(model, mean['nll'], config.to_dict(), step=step, valid=mean, settings=settings)
                run_.save(model, optimizers, step)
            loss_sum, loss_events = 0.0, 0
            fabric.barrier()
        if stop:
            break
    seconds = time.monotonic() - began
    return {'out': str(args.out), 'step': step, 'best_valid_nll': run_.best, 'seconds': seconds,
            'events_per_s': events_seen * fabric.world_size / seconds if seconds else 0.0}  # fmt: skip


class _Loss(torch.nn.Module):
    """Model and loss in one module, so that DDP sees one forward."""

    def __init__(self, model: MMT):
        super().__init__()
        self.model = model

    def forward(self, b: dict[str, torch.Tensor], as_published: bool) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.model(b['events'], b['step'], b['phase'])
        losses, counts = self.model.field_losses(hidden, b['target'], b['target_phase'], as_published=as_published)
        if as_published:  # sum of six means
            return (losses / counts).sum(), counts[0]
        return losses.sum() / counts[0], counts[0]  # nats per event


def _wrap(fabric: Fabric, model: MMT, optimizers: Optimizers):
    wrapped = fabric.setup_module(_Loss(model))
    for part in optimizers.parts:  # restored states follow their parameters to the device
        part.load_state_dict(part.state_dict())
    return wrapped
