"""Networks that tell parts as ONNX graphs: ours (`PartTagger`) and the published ones (`PublishedArranger`).

An LSTM layer becomes ONNX's own operator, whose gates stand in the order input, output, forget, cell.
"""

from collections.abc import Sequence

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.graphs.graph import prune, torch_to_onnx
from export.graphs.half_storage import store_halves
from genaudio_core.models.arranger import part_tagger, published
from genaudio_core.models.arranger.part_tagger import PartTagger
from genaudio_core.models.arranger.published import PublishedArranger
from genaudio_core.music.part_features import N_CAUSAL, N_PART, N_WHOLE

OPSET = 20
DIRECTIONS = ('forward', 'reverse', 'bidirectional')


def _gates(weight: Tensor) -> Tensor:
    """Rows (4 * width, ...) of torch's order input, forget, cell, output in ONNX's."""
    i, f, c, o = weight.detach().chunk(4)
    return torch.cat((i, o, f, c))


class OnnxLSTM(nn.Module):
    """One layer over (time, 1, inputs), forwards, backwards or both ways."""

    def __init__(
        self, ways: Sequence[tuple[Tensor, Tensor, Tensor]], direction: str
    ):  # for each way: weights of the inputs, of the state, and a bias
        super().__init__()
        self.direction, self.width = direction, ways[0][1].shape[1]
        kept = [torch.stack([_gates(way[i]) for way in ways]) for i in range(3)]
        self.weight, self.recurrent = nn.Parameter(kept[0]), nn.Parameter(kept[1])
        self.bias = nn.Parameter(torch.cat((kept[2], torch.zeros_like(kept[2])), -1))

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (time, 1, inputs), h and c (ways, 1, width) -> (time, 1, ways * width), and the last h and c."""
        ways = self.weight.shape[0]
        y, h, c = torch.onnx.ops.symbolic_multi_out(
            '::LSTM', [x, self.weight, self.recurrent, self.bias, None, h, c],
            {'hidden_size': self.width, 'direction': self.direction},
            dtypes=(x.dtype,) * 3, shapes=((x.shape[0], ways, 1, self.width), h.shape, c.shape), version=14,
        )  # fmt: skip
        return y.permute(0, 2, 1, 3).reshape(x.shape[0], 1, ways * self.width), h, c


class _Layer(nn.Module):
    """A normalised layer of ours."""

    def __init__(self, layer: nn.Module, direction: str):
        super().__init__()
        assert isinstance(layer, part_tagger.LSTM)
        self.lstm = OnnxLSTM([(layer.weight_ih, layer.weight_hh, layer.bias)], direction)
        self.norm = layer.norm

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        zeros = x.new_zeros(1, 1, self.lstm.width)
        y, h, c = self.lstm(x[:, None], *(state or (zeros, zeros)))
        return self.norm(y[:, 0]), h, c


class PartProgram(nn.Module):
    """A `PartTagger` over one mixture, without a batch."""

    def __init__(self, model: PartTagger):
        super().__init__()
        self.model = model
        self.ahead = nn.ModuleList(_Layer(layer, 'forward') for layer in model.ahead)
        self.back = nn.ModuleList(_Layer(layer, 'reverse') for layer in model.back)
        self.both = nn.ModuleList(_Layer(layer, way) for layer, way in zip(model.both, DIRECTIONS, strict=False))

    def forward(self, pitch, phase, causal, whole, instrument, rank, numbers, state):
        model = self.model
        there = torch.ones_like(instrument, dtype=torch.bool)[None]
        parts, together = model.parts(instrument[None], rank[None], numbers[None], there)
        b = {'pitch': pitch[None], 'phase': phase[None], 'causal': causal[None], 'there': there}
        first = x = model.enters(b, parts, together)[0]
        after = []
        for i, layer in enumerate(self.ahead):
            y, h, c = layer(x, (state[2 * i, None], state[2 * i + 1, None]))
            x = x + y
            after += [h, c]
        z = model.enter_back(torch.cat((first, whole), -1))
        for layer in self.back:
            z = z + layer(z)[0]
        joined = F.gelu(model.join(torch.cat((x, z, whole), -1)))
        top = torch.cat((joined, *(layer(joined)[0] for layer in self.both)), -1)
        live = model.live_score(x) @ parts[0].T
        return live, model.whole_score(top) @ parts[0].T, torch.cat(after)


class PublishedProgram(nn.Module):
    """A published network over one mixture without padding."""

    def __init__(self, model: PublishedArranger):
        super().__init__()
        self.model = model
        self.recurrent = model.config.family.endswith('lstm')
        self.layers = nn.ModuleList()
        for layer in model.layers if self.recurrent else ():
            assert isinstance(layer, published.LSTM)
            ways = list(zip(layer.weight_ih, layer.weight_hh, layer.bias, strict=True))
            self.layers.append(OnnxLSTM(ways, 'bidirectional' if len(ways) == 2 else 'forward'))

    def forward(self, time, pitch, duration, hint):
        model = self.model
        # Every input is used, also by a network that does not read it: a graph must have them all.
        unused = 0.0 * (duration.sum() + hint.sum()).float()
        if not self.recurrent:
            return model(time[None], pitch[None], duration[None], hint[None])[0] + unused
        x = model.inputs(time[None], pitch[None], duration[None], hint[None])[0] + unused
        for layer, norm in zip(self.layers, model.norms, strict=True):
            assert isinstance(layer, OnnxLSTM)
            zeros = x.new_zeros(layer.weight.shape[0], 1, layer.width)
            x = norm(layer(x[:, None], zeros, zeros)[0][:, 0])
        return model.leave(x)


def build(model: PartTagger | PublishedArranger) -> onnx.ModelProto:
    """Export a model (float32 weights, eval mode) as one graph."""
    n, k = torch.export.Dim('notes', min=1, max=1 << 20), torch.export.Dim('parts', min=1, max=64)
    some = torch.arange(5)
    if isinstance(model, PublishedArranger):
        parts = len(model.config.parts)
        inputs = {'time': some, 'pitch': some + 60, 'duration': some + 1, 'hint': torch.zeros(5, parts)}
        program: nn.Module = PublishedProgram(model)
        dynamic = {name: {0: n} for name in inputs}
        outputs = ('scores',)
    else:
        inputs = {
            'pitch': some + 60, 'phase': some.clone(), 'causal': torch.rand(5, N_CAUSAL),
            'whole': torch.rand(5, N_WHOLE), 'instrument': some[:3] + 1, 'rank': some[:3].clone(),
            'numbers': torch.rand(3, N_PART), 'state': torch.zeros(4, 1, model.config.width),
        }  # fmt: skip
        program = PartProgram(model)
        dynamic = {name: {0: k} if len(value) == 3 else {0: n} for name, value in inputs.items()} | {'state': {}}
        outputs = ('live_scores', 'whole_scores', 'state_out')
    proto = torch_to_onnx(program.eval(), inputs, tuple(inputs), outputs, dynamic, OPSET)
    for node in proto.graph.node:
        assert node.op_type != 'LSTM' or node.domain in ('', 'ai.onnx')
    prune(proto)
    store_halves(proto)
    return proto
