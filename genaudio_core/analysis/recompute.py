"""The published way to generate: no cache, every event runs the whole sequence through the network again (torch).

    python -m genaudio_core.analysis.recompute CONFIG_JSON CONTEXT THREADS

prints one JSON line. The reference that `genaudio bench continue` compares with; weights are random, which costs the
same as trained ones.
"""

import json
import statistics
import sys
import time

import torch

from genaudio_core.models.mmt import MMT, MMTConfig

EVENTS = 4


@torch.no_grad()
def measure(config: dict, context: int, threads: int) -> dict:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = MMT(MMTConfig(**config)).eval()
    layout = model.config.layout
    events = torch.stack([torch.randint(0, size, (1, context)) for size in layout.sizes], dim=-1)
    step = torch.arange(context)[None] * 3
    phase = step % 48 // 6
    seconds = []
    for i in range(EVENTS + 1):
        begin = time.perf_counter()
        hidden = model(events, step, phase)[:, -1]
        chosen = torch.zeros(1, len(layout.fields), dtype=torch.int64)
        for field in layout.order:
            logits = model.heads.logits(field, hidden, chosen, phase[:, -1])
            chosen[0, layout.index(field)] = torch.multinomial(logits[0].softmax(-1), 1)[0]
        events = torch.cat((events[:, 1:], chosen[:, None]), dim=1)  # as published: the window slides
        if i:  # the first run warms up
            seconds.append(time.perf_counter() - begin)
    return {
        'events_per_s': 1 / statistics.median(seconds), 'step_ms_p50': 1e3 * statistics.median(seconds),
        'context': context, 'threads': threads,
    }  # fmt: skip


if __name__ == '__main__':
    print(json.dumps(measure(json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
