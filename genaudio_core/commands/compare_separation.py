"""`genaudio-train compare-separation`: see HELP."""

import argparse
from functools import partial
from pathlib import Path

from genaudio_core.command_line import check_outputs, say, share, whole
from genaudio_core.progress import counting
from genaudio_core.training.loops.arguments import add_optimizer_argument, add_run_arguments, limit_threads

HELP = 'Train CLIPSep-small and its baselines alike (text, NIT, BERTSep, LabelSep, PIT) and measure them in one table.'
EXAMPLE = """genaudio-train compare-separation --sounds data/sounds --space runs/query/space.npz --out runs/compare \\
    --steps 700 -n 200 --report docs/separation-baselines.md"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--sounds', type=Path, required=True, help='folder made by prepare-sounds')
    parser.add_argument('--space', type=Path, help='query space (.npz); needed to begin a run')
    add_run_arguments(parser, rate=2e-3, batch=16, steps=700, least_steps=0, cpu_threads=1, start_from=True)
    add_optimizer_argument(parser, 'adam')
    parser.add_argument('--ways', default='text,nit,bert,label,pit', help='which, of text,nit,bert,label,pit')
    parser.add_argument('--frames', type=whole('--frames', 1, 100_000), default=64,
                        help='of a training mixture, 23 ms each')  # fmt: skip
    parser.add_argument('--width', type=whole('--width', 1, 8192), default=16)
    parser.add_argument('--film', type=whole('--film', 0, 8192), default=0,
                        help='width of what steers the decoder; 0: late fusion alone')  # fmt: skip
    parser.add_argument('--loss', choices=('db', 'published'), default='db', help='of text and nit; db: ours')
    parser.add_argument('--warmup', type=whole('--warmup', 0), default=300,
                        help="steps after which nit goes on from text's weights")  # fmt: skip
    parser.add_argument('--noise', type=share('--noise'), default=1 / 3, help='share of mixtures with unlabelled noise')
    parser.add_argument('-n', '--number', type=whole('--number', 0, 1_000_000), default=200,
                        help='test mixtures; 0 only trains')  # fmt: skip
    parser.add_argument('--report', type=Path, help='.md file to write the table to')


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.analysis.separation_baselines import about, as_table, evaluate
    from genaudio_core.errors import GenaudioError
    from genaudio_core.files import atomic_write
    from genaudio_core.training.fit.separation_baselines import Plan, Rows, train
    from genaudio_core.training.loops.time_limit import TimeLimit
    from genaudio_core.training.queries.space import QuerySpace
    from genaudio_core.training.sounds.packed_clips import SoundSet

    limit_threads(args.threads)
    check_outputs(args, 'report', folders=['out'])
    sounds = SoundSet(args.sounds)
    plan = Plan(ways=tuple(args.ways.split(',')), batch=args.batch, frames=args.frames, width=args.width,
                film=args.film, optimizer=args.optimizer, rate=args.rate, loss=args.loss,
                warmup=args.warmup, noise=args.noise, seed=args.seed)  # fmt: skip
    begun = (args.out / 'tables.npz').exists()
    if not begun and args.space is None:
        raise GenaudioError('Give --space FILE, which genaudio-train query-space makes.')
    rows = Rows(args.out, plan, None if begun else QuerySpace.load(args.space), args.start_from)
    train(rows, sounds, args.steps, TimeLimit.of(args))
    result: dict = about(rows)
    if not args.number:
        return result

    with counting() as show:
        found = {
            title: evaluate(rows, sounds, n=args.number, noise=noise, seed=args.seed, progress=partial(show, title))
            for title, noise in (('clean', False), ('with noise', True))
        }
    lines = as_table(found)
    for line in lines:
        say(line)
    if args.report:
        with atomic_write(args.report) as temporary:
            temporary.write_text('\n'.join(lines) + '\n', encoding='utf-8')
    return result | found
