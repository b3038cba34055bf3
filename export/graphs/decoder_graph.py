"""An MMT decoder as one ONNX graph: prefill, step and the logits of every field (see
genaudio_core/continuation/decoder.py).

Torch exports one flat graph with all outputs. It is then cut along its outputs into branches of an ``If``, so that a
call computes only what it asks for: onnxruntime has no other way to run a part of a graph (its run option
``only_execute_path_to_fetches`` changes nothing in builds for inference), and two files could come apart.
"""

import copy
import math
from typing import cast

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from export.graphs.graph import constant, fold_transposes, prune, subgraph, torch_to_onnx
from genaudio_core.models.mmt import MMT, Attention, ChainedHeads, Layer

OPSET = 23  # the first with RotaryEmbedding, which takes angles as they are computed here
GQA = 'com.microsoft::GroupQueryAttention'


class _Linear(nn.Module):
    """``x @ weight + bias`` with the weight stored the way ONNX multiplies, so that it can be quantised as it is."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        super().__init__()
        self.weight = nn.Parameter(weight.detach().t().contiguous(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


class _Layer(nn.Module):
    """A layer of the decoder with attention as an operator that shares its cache."""

    def __init__(self, layer: Layer, cache_scales: tuple[Tensor, Tensor] | None):
        super().__init__()
        attention: Attention = layer.attention
        self.heads, self.head_dim = attention.heads, attention.q.weight.shape[0] // attention.heads
        self.turn_values = attention.positions == 'rotary'
        self.norm1, self.norm2 = layer.norm1, layer.norm2
        up, down = layer.feed_forward[0], layer.feed_forward[3]
        assert isinstance(up, nn.Linear) and isinstance(down, nn.Linear)
        self.qk = _Linear(torch.cat([attention.q.weight, attention.k.weight]))
        self.v = _Linear(attention.v.weight)
        self.out = _Linear(attention.out.weight, attention.out.bias)
        self.up, self.down = _Linear(up.weight, up.bias), _Linear(down.weight, down.bias)
        self.quantised = cache_scales is not None
        self.key_scale: Tensor
        self.value_scale: Tensor
        if cache_scales is not None:
            self.register_buffer('key_scale', cache_scales[0])
            self.register_buffer('value_scale', cache_scales[1])

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor] | None, past: tuple[Tensor, Tensor], seqlens: Tensor,
        total: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        inner = self.heads * self.head_dim
        normed = self.norm1(x)
        qk, v = self.qk(normed), self.v(normed)
        if rotation is not None:
            qk = self._turn(qk, rotation, 2 * self.heads)  # queries and keys turn alike: one operator for both
            if self.turn_values:
                v = self._turn(v, rotation, self.heads)
        q, k = qk.split((inner, inner), dim=-1)
        inputs: list[Tensor | None] = [q, k, v, *past, seqlens, total]
        attributes: dict = {'num_heads': self.heads, 'kv_num_heads': self.heads}
        if self.quantised:
            inputs += [None] * 5 + [self.key_scale, self.value_scale]
            kind = 'PER_TENSOR' if self.key_scale.numel() == 1 else 'PER_CHANNEL'
            attributes |= {'k_quant_type': kind, 'v_quant_type': kind, 'kv_cache_bit_width': 8}
        y, key, value = torch.onnx.ops.symbolic_multi_out(
            GQA, inputs, attributes, dtypes=(q.dtype, past[0].dtype, past[1].dtype),
            shapes=(q.shape, past[0].shape, past[1].shape), version=1,
        )  # fmt: skip
        x = x + self.out(y)
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x)))), key, value

    def _turn(self, x: Tensor, rotation: tuple[Tensor, Tensor], heads: int) -> Tensor:
        turned = 2 * rotation[0].shape[-1]
        return torch.onnx.ops.rotary_embedding(
            x, *rotation, num_heads=heads, rotary_embedding_dim=0 if turned == self.head_dim else turned
        )


class _Heads(nn.Module):
    """Chained heads with less to read: in the middle of a session every weight of a head comes from far memory.

    ``W (x + B gelu(a)) = (W | W B) (x, gelu(a))``, and ``W B`` is as small as the field has classes, where ``B`` is as
    wide as the model. All that was chosen before is one lookup in one table.
    """

    def __init__(self, heads: ChainedHeads):
        super().__init__()
        self.fields, self.order = heads.fields, heads.order
        tables = [*cast(list[nn.Embedding], list(heads.embed)), heads.phase]
        self.table = nn.Parameter(torch.cat([table.weight.detach() for table in tables]), requires_grad=False)
        self.offsets = np.cumsum([0, *(len(table.weight) for table in tables)]).tolist()
        self.norm = heads.norm
        ups, reads = [], []
        for mlp, linear in zip(heads.mlp, heads.linear, strict=True):
            up, down = cast(nn.Sequential, mlp)[0], cast(nn.Sequential, mlp)[2]
            assert isinstance(up, nn.Linear) and isinstance(down, nn.Linear) and isinstance(linear, nn.Linear)
            ups.append(_Linear(up.weight, up.bias))
            folded = (linear.weight.double() @ down.weight.double()).float()
            reads.append(_Linear(torch.cat((linear.weight, folded), dim=1), linear.bias))
        self.up, self.read = nn.ModuleList(ups), nn.ModuleList(reads)

    def logits(self, field: str, hidden: Tensor, chosen: Tensor, phase: Tensor) -> Tensor:
        before = [self.fields.index(name) for name in self.order[: self.order.index(field)]]
        x = hidden
        if before:
            codes = chosen[..., before] + torch.tensor([self.offsets[i] for i in before])
            if self.fields.index('position') in before:
                codes = torch.cat((codes, phase[..., None] + self.offsets[-2]), dim=-1)
            x = x + nn.functional.embedding(codes, self.table).sum(dim=-2)
        i = self.fields.index(field)
        inner = nn.functional.gelu(self.up[i](self.norm[i](x)))
        return self.read[i](torch.cat((x, inner), dim=-1))


class DecoderProgram(nn.Module):
    """All that the file can do, as one module for torch's exporter."""

    def __init__(self, model: MMT, cache_scales: list[tuple[Tensor, Tensor]] | None = None):
        super().__init__()
        self.model, self.config = model, model.config
        scales = cache_scales or [None] * len(model.layers)
        layers, tables = cast(list[Layer], list(model.layers)), cast(list[nn.Embedding], list(model.embed))
        self.layers = nn.ModuleList(_Layer(*pair) for pair in zip(layers, scales, strict=True))
        sizes = torch.tensor([0, *self.config.layout.sizes[:-1]])
        # One table and one lookup for all fields: fewer operators, the same sum.
        self.table = nn.Parameter(torch.cat([table.weight.detach() for table in tables]), requires_grad=False)
        self.register_buffer('offsets', sizes.cumsum(0))
        self.heads = _Heads(model.heads) if isinstance(model.heads, ChainedHeads) else model.heads

    def forward(self, events, index, seqlens, total, timing, hidden_in, chosen, chosen_phase, past):
        model, dtype = self.model, self.table.dtype
        x = nn.functional.embedding(events + self.offsets, self.table).sum(dim=2)
        step = None
        if self.config.positions == 'learned':
            x = x + model.position(index) * self.config.dim**-0.5
        elif self.config.positions == 'musical':
            step, phase = timing
            x = x + model.phase(phase)
        rotation = None
        angle = model.angles(index, step)  # (batch or 1, 1, time, turned/2)
        if angle is not None:
            angle = angle[:, 0].expand(events.shape[0], -1, -1)
            rotation = angle.cos().to(dtype), angle.sin().to(dtype)
        present = []
        for layer, pair in zip(self.layers, past, strict=True):
            x, key, value = layer(x, rotation, pair, seqlens, total)
            present += [key, value]
        hidden = model.norm(x).float()
        state = hidden_in.to(dtype)
        fields = self.config.layout.fields
        logits = [self.heads.logits(field, state, chosen, chosen_phase).float() for field in fields]
        return hidden, *present, *logits


def build(
    model: MMT, *, cache_scales: list[tuple[Tensor, Tensor]] | None = None, half: bool = False
) -> onnx.ModelProto:
    """Export `model` (float32 weights, eval mode) as one graph.

    Parameters
    ----------
    cache_scales : list of (keys, values), optional
        Per-channel scales (heads * head_dim,) of an int8 cache, one pair for each layer.
    half : bool
        Weights, activations and cache in float16; inputs and outputs stay float32.
    """
    config = model.config
    program = DecoderProgram(model, cache_scales).eval()
    if half:
        program = _half(program)
    n_fields, batch, time = len(config.layout.fields), 2, 3
    cache_type = torch.int8 if cache_scales else torch.float16 if half else torch.float32
    cache_shape = (batch, config.heads, config.context, config.head_dim)
    past = [tuple(torch.zeros(cache_shape, dtype=cache_type) for _ in range(2)) for _ in range(config.layers)]
    musical = config.positions == 'musical'
    codes = torch.zeros(batch, time, dtype=torch.int64)
    inputs = {
        'events': torch.zeros(batch, time, n_fields, dtype=torch.int64),
        'index': torch.arange(time),
        'seqlens': torch.full((batch,), time - 1, dtype=torch.int32),
        'total': torch.tensor(time, dtype=torch.int32),
        'timing': (codes, codes.clone()) if musical else None,
        'hidden_in': torch.zeros(batch, time + 1, config.dim),
        'chosen': torch.zeros(batch, time + 1, n_fields, dtype=torch.int64),
        'chosen_phase': torch.zeros(batch, time + 1, dtype=torch.int64) if config.chained else None,
        'past': past,
    }
    b, s, t = (torch.export.Dim(name) for name in ('takes', 'time', 'rows'))
    dynamic = {
        'events': {0: b, 1: s}, 'index': {0: s}, 'seqlens': {0: b}, 'total': {},
        'timing': ({0: b, 1: s}, {0: b, 1: s}) if musical else None,
        'hidden_in': {0: b, 1: t}, 'chosen': {0: b, 1: t},
        'chosen_phase': {0: b, 1: t} if config.chained else None,
        'past': [({0: b}, {0: b}) for _ in past],
    }  # fmt: skip
    caches = [f'{part}_{layer}' for layer in range(config.layers) for part in ('key', 'value')]
    names = ['events', 'index', 'seqlens', 'total', *(['step', 'phase'] if musical else []), 'hidden_in', 'chosen']
    names += [*(['chosen_phase'] if config.chained else []), *(f'past_{name}' for name in caches)]
    heads = [f'logits_{field}' for field in config.layout.fields]
    outputs = ['hidden', *(f'present_{name}' for name in caches), *heads]
    exported = torch_to_onnx(program, inputs, names, outputs, dynamic, OPSET)
    fold_transposes(exported.graph)
    model_proto = _as_branches(exported, config.layout.sizes, caches, heads, cache_shape)
    prune(model_proto)
    return model_proto


def _half(program: DecoderProgram) -> DecoderProgram:
    frequency = program.model.frequency.clone()
    program = copy.deepcopy(program).half()  # the caller goes on with its own
    # Angles grow with the session: they are computed in float32 and only their cosines rounded.
    program.model.frequency = frequency.float()
    return program


def _as_branches(
    exported: onnx.ModelProto, sizes: tuple[int, ...], caches: list[str], heads: list[str], cache_shape: tuple
) -> onnx.ModelProto:
    """Cut a flat graph into ``If(field < 0)``: a step, or else a tree of ``If`` that ends in one head."""
    graph = exported.graph
    cache_type = next(i for i in graph.input if i.name == f'past_{caches[0]}').type.tensor_type.elem_type
    shape = ['takes', *cache_shape[1:]]
    cache_infos = [helper.make_tensor_value_info(f'present_{c}', cache_type, shape) for c in caches]

    def info(name: str, width: str | int, rows: str = 'rows') -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ['takes', rows, width])

    empty = constant('no_logits', np.zeros((0, 0, 0), np.float32))
    step = subgraph('step', graph, ['hidden', *(c.name for c in cache_infos)], 'step/', [empty])
    _outputs(step, [info('step/hidden', 'dim', 'time'), info('no_logits', 'classes'), *_prefixed(cache_infos, 'step/')])

    extra: list[onnx.TensorProto] = []

    def tree(low: int, high: int) -> onnx.GraphProto:
        """The branch that computes the head number `field`, known to be in low..high-1."""
        if high - low == 1:
            head = subgraph(heads[low], graph, [heads[low]], f'{heads[low]}/', [])
            _outputs(head, [info(f'{heads[low]}/{heads[low]}', sizes[low])])
            return head
        middle, tag = (low + high) // 2, f'fields_{low}_{high}'
        extra.append(numpy_helper.from_array(np.array(middle, np.int64), f'{tag}/middle'))
        nodes = [
            helper.make_node('Less', ['field', f'{tag}/middle'], [f'{tag}/below']),
            helper.make_node('If', [f'{tag}/below'], [f'{tag}/logits'], then_branch=tree(low, middle),
                             else_branch=tree(middle, high)),
        ]  # fmt: skip
        return helper.make_graph(nodes, tag, [], [info(f'{tag}/logits', 'classes')])

    branch = tree(0, len(heads))
    # The unused outputs of this branch pass through; bound in place, these copies cost nothing.
    branch.node.append(helper.make_node('Identity', ['hidden_in'], ['head/hidden']))
    for name in caches:
        branch.node.append(helper.make_node('Identity', [f'past_{name}'], [f'head/present_{name}']))
    logits = branch.output[0].name
    _outputs(branch, [info('head/hidden', 'dim'), info(logits, 'classes'), *_prefixed(cache_infos, 'head/')])

    extra.append(numpy_helper.from_array(np.array(0, np.int64), 'zero'))
    outputs = ['hidden', 'logits', *(c.name for c in cache_infos)]
    top = helper.make_graph(
        [
            helper.make_node('Less', ['field', 'zero'], ['is_step']),
            helper.make_node('If', ['is_step'], outputs, then_branch=step, else_branch=branch),
        ],
        'decoder',
        [helper.make_tensor_value_info('field', TensorProto.INT64, []), *graph.input],
        [info('hidden', 'dim', 'any'), info('logits', 'classes'), *cache_infos],
        [*graph.initializer, *extra],
    )
    return helper.make_model(top, opset_imports=exported.opset_import, ir_version=exported.ir_version)


def _prefixed(infos: list[onnx.ValueInfoProto], prefix: str) -> list[onnx.ValueInfoProto]:
    copies = []
    for value in infos:
        copy = onnx.ValueInfoProto()
        copy.CopyFrom(value)
        copy.name = prefix + value.name
        copies.append(copy)
    return copies


def _outputs(graph: onnx.GraphProto, infos: list[onnx.ValueInfoProto]) -> None:
    del graph.output[:]
    graph.output.extend(infos)


@torch.no_grad()
def cache_scales(model: MMT, batches: list[tuple[Tensor, Tensor, Tensor]], margin: float = 1.1) -> list:
    """Per-channel scales of an int8 cache: the largest key and value seen in `batches` (events, step, phase).

    A channel's largest value over tens of thousands of events hardly grows on other music; `margin` leaves room for
    what does, and a value beyond it is clipped.
    """
    config = model.config
    largest = [[torch.zeros(config.heads * config.head_dim) for _ in range(2)] for _ in model.layers]
    for events, step, phase in batches:
        cache: list = []
        model(events, step, phase, cache=cache)
        for seen, pair in zip(largest, cache, strict=True):
            for i, tensor in enumerate(pair):  # (batch, heads, time, head_dim)
                seen[i] = torch.maximum(seen[i], tensor.abs().amax(dim=(0, 2)).flatten())
    floor = math.ulp(1.0)
    return [tuple((t * margin / 127).clamp(min=floor) for t in pair) for pair in largest]
