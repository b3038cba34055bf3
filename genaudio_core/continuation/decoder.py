"""A started MMT decoder: the graph of one exported file, and the buffers it works on.

One graph does three things, chosen by the input ``field``:

* ``-1``: takes events in (one, or many at once), updates the key/value cache, gives their hidden states;
* ``0..``: gives the logits of that field of the next event, from a hidden state and the fields chosen so far.

The cache is one buffer for each layer and for keys and values, (takes, heads, context, head_dim). It is bound as input
and as output, and attention is an operator (``com.microsoft.GroupQueryAttention``) that then writes the new rows in
place: a step copies no cache, and forgetting events is only a smaller length.

Most callers want `genaudio_core.continuation.continuer.Continuer`, which keeps the history of events that goes with
the cache."""

from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime import OrtValue

from genaudio_core.errors import GenaudioError
from genaudio_core.inference.session import LoadedModel, load_model
from genaudio_core.music.events import timeline
from genaudio_core.music.layouts import Encoding, find_encoding

KIND = 'decoder'
STEP = -1  # value of the graph's input `field` that means: take events in
CHUNK = 128  # events taken in at once at most; bounds memory, and lets a background prefill breathe

LARGEST = 1 << 16  # of any size of a decoder; a file is not believed beyond it
_DTYPES = {'tensor(float)': np.float32, 'tensor(float16)': np.float16, 'tensor(int8)': np.int8}


class Decoder:
    """A loaded decoder. It holds no state: any number of `Continuer` share one, each in a thread of its own.

    Attributes
    ----------
    encoding : Encoding
        Layout of the events.
    context : int
        Events that fit into a cache.
    dim : int
        Width of a hidden state.
    chained : bool
        Whether the logits of a field depend on the fields of the same event chosen before it.
    """

    def __init__(self, model: LoadedModel):
        self.model, self.card, self.session, self.provider = model, model.card, model.session, model.provider
        self.encoding: Encoding = find_encoding(model.card.layout)
        inputs = {i.name: i for i in self.session.get_inputs()}
        try:
            # The graph itself says how large its cache is; a card that says otherwise would make us write beside it.
            _, self.heads, self.context, self.head_dim = inputs['past_key_0'].shape
            self.layers = sum(name.startswith('past_key_') for name in inputs)
            self.dim = int(model.card.details['dim'])
            self.chained = bool(model.card.details['chained'])
            self.cache_dtype = np.dtype(_DTYPES[inputs['past_key_0'].type])
            sizes = (self.heads, self.context, self.head_dim, self.dim)
            if not all(isinstance(size, int) and 0 < size <= LARGEST for size in sizes):
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise GenaudioError(
                f'{model.path} is not a decoder that this version of genaudio can play. Export the model again.'
            ) from None
        self.has_time = 'step' in inputs
        self.has_phase = 'chosen_phase' in inputs

    @classmethod
    def load(
        cls, path: str | Path, *, provider: str = 'auto', threads: int = 1, warm_up: bool = True, **options
    ) -> 'Decoder':
        """Load and warm up a decoder file; raises GenaudioError as `session.load_model` does."""
        decoder = cls(load_model(path, KIND, provider=provider, threads=threads, **options))
        if warm_up:
            decoder.warm_up()
        return decoder

    def warm_up(self) -> None:
        """Run every path once: the first run of a size allocates, and that must not happen on a bar line."""
        buffers = Buffers(self, 1)
        for n in (1, 8, 1):
            events = np.zeros((1, n, len(self.encoding.fields)), np.int64)
            buffers.step(events, np.zeros((1, n), np.int64), np.zeros((1, n), np.int64), 0)
        hidden = np.zeros((1, self.dim), np.float32)
        for index in range(len(self.encoding.fields)):
            buffers.logits(index, hidden, None, None)


class Buffers:
    """Cache and bound memory for some takes of one decoder. Knows nothing of music; see `Continuer`."""

    def __init__(self, decoder: Decoder, takes: int):
        self.decoder, self.takes = decoder, takes
        shape = (takes, decoder.heads, decoder.context, decoder.head_dim)
        device = decoder.model.device
        self._arrays: dict[str, np.ndarray] = {}  # the memory of the caches, where it is ordinary memory
        self._caches: dict[str, OrtValue] = {}
        for layer in range(decoder.layers):
            for part in ('key', 'value'):
                name = f'{part}_{layer}'
                array = np.zeros(shape, decoder.cache_dtype)
                # On the CPU the value shares the array's memory.
                self._caches[name] = OrtValue.ortvalue_from_numpy(array, device, 0)
                if device == 'cpu':
                    self._arrays[name] = array
        fields = len(decoder.encoding.fields)
        self._in: dict[str, np.ndarray] = {
            'field': np.array(STEP, np.int64),
            'events': np.zeros((takes, 1, fields), np.int64),
            'index': np.zeros(1, np.int64),
            'seqlens': np.zeros(takes, np.int32),
            'total': np.array(1, np.int32),
            'hidden_in': np.zeros((takes, 1, decoder.dim), np.float32),
            'chosen': np.zeros((takes, 1, fields), np.int64),
        }
        if decoder.has_time:
            self._in['step'] = np.zeros((takes, 1), np.int64)
            self._in['phase'] = np.zeros((takes, 1), np.int64)
        if decoder.has_phase:
            self._in['chosen_phase'] = np.zeros((takes, 1), np.int64)
        self._values = {name: OrtValue.ortvalue_from_numpy(array) for name, array in self._in.items()}
        # A binding is no owner: up to onnxruntime 1.29 it writes to an array's address whether the array lives or not.
        self._bound: list[np.ndarray] = []
        self._hidden_out = np.zeros((takes, 1, decoder.dim), np.float32)
        self._step_binding = self._bind(self._hidden_out, np.zeros((0, 0, 0), np.float32))
        self._heads: list[tuple[onnxruntime.IOBinding, np.ndarray]] = []
        unused = np.zeros((takes, 1, decoder.dim), np.float32)  # every head writes a hidden state that nobody reads
        for size in decoder.encoding.sizes:
            out = np.zeros((takes, 1, size), np.float32)
            self._heads.append((self._bind(unused, out), out))

    def _bind(self, hidden: np.ndarray, logits: np.ndarray) -> onnxruntime.IOBinding:
        """A binding of all inputs and caches, with these arrays as outputs; this object keeps them alive."""
        self._bound += [hidden, logits]
        binding = self.decoder.session.io_binding()
        for name, value in self._values.items():
            binding.bind_ortvalue_input(name, value)
        _bind_caches(binding, self._caches)
        binding.bind_ortvalue_output('hidden', OrtValue.ortvalue_from_numpy(hidden))
        binding.bind_ortvalue_output('logits', OrtValue.ortvalue_from_numpy(logits))
        return binding

    def step(self, events: np.ndarray, step: np.ndarray, phase: np.ndarray, past: int) -> np.ndarray:
        """Take events in behind the first `past` ones.

        Parameters
        ----------
        events : (takes, n, fields)
        step, phase : (takes, n), from `events.timeline`
        past : events in the cache that count; later ones are overwritten

        Returns
        -------
        (takes, n, dim) float32; for n = 1 it is valid until the next call
        """
        n = events.shape[1]
        total = past + n
        if n != 1:
            return self._step_many(events, step, phase, past)
        values = self._in
        values['field'][...] = STEP
        values['events'][:] = events
        values['index'][0] = past
        values['seqlens'][:] = total - 1
        values['total'][...] = total
        if self.decoder.has_time:
            values['step'][:] = step
            values['phase'][:] = phase
        self.decoder.session.run_with_iobinding(self._step_binding)
        return self._hidden_out

    def _step_many(self, events: np.ndarray, step: np.ndarray, phase: np.ndarray, past: int) -> np.ndarray:
        n, decoder = events.shape[1], self.decoder
        hidden = np.zeros((self.takes, n, decoder.dim), np.float32)
        if self.takes > 1 and past > 0:
            # The operator continues a cache by several events for one take at a time only.
            if self._arrays:
                for take in range(self.takes):
                    rows = slice(take, take + 1)
                    one = {name: OrtValue.ortvalue_from_numpy(a[rows]) for name, a in self._arrays.items()}
                    self._run_step(hidden[rows], one, events[rows], step[rows], phase[rows], past)
            else:
                for i in range(n):
                    at = slice(i, i + 1)
                    hidden[:, at] = self.step(events[:, at], step[:, at], phase[:, at], past + i)
            return hidden
        self._run_step(hidden, self._caches, events, step, phase, past)
        return hidden

    def _run_step(
        self, hidden: np.ndarray, caches: dict[str, OrtValue], events: np.ndarray, step: np.ndarray,
        phase: np.ndarray, past: int,
    ) -> None:  # fmt: skip
        """One run of any size; fills `hidden` (takes, n, dim)."""
        takes, n, _ = events.shape
        inputs = self._in | {
            'field': np.array(STEP, np.int64),
            'events': np.ascontiguousarray(events, np.int64),
            'index': np.arange(past, past + n),
            'seqlens': np.full(takes, past + n - 1, np.int32),
            'total': np.array(past + n, np.int32),
        }
        if self.decoder.has_time:
            inputs['step'] = np.ascontiguousarray(step, np.int64)
            inputs['phase'] = np.ascontiguousarray(phase, np.int64)
        self._run(inputs, caches, hidden, np.zeros((0, 0, 0), np.float32))

    def _run(
        self, inputs: dict[str, np.ndarray], caches: dict[str, OrtValue], hidden: np.ndarray, logits: np.ndarray
    ) -> None:
        binding = self.decoder.session.io_binding()
        held = {name: OrtValue.ortvalue_from_numpy(array) for name, array in inputs.items()}
        for name, value in held.items():
            binding.bind_ortvalue_input(name, value)
        _bind_caches(binding, caches)
        binding.bind_ortvalue_output('hidden', OrtValue.ortvalue_from_numpy(hidden))
        binding.bind_ortvalue_output('logits', OrtValue.ortvalue_from_numpy(logits))
        self.decoder.session.run_with_iobinding(binding)

    def logits_of_rows(self, field: int, hidden: np.ndarray, chosen: np.ndarray, phase: np.ndarray) -> np.ndarray:
        """Logits (takes, rows, classes) of many events at once, for scoring.

        Parameters
        ----------
        hidden : (takes, rows, dim)
        chosen : (takes, rows, fields)
        phase : (takes, rows)
        """
        inputs = self._in | {
            'field': np.array(field, np.int64),
            'hidden_in': np.ascontiguousarray(hidden, np.float32),
            'chosen': np.ascontiguousarray(chosen, np.int64),
        }
        if self.decoder.has_phase:
            inputs['chosen_phase'] = np.ascontiguousarray(phase, np.int64)
        out = np.zeros((*hidden.shape[:2], self.decoder.encoding.sizes[field]), np.float32)
        self._run(inputs, self._caches, np.zeros(hidden.shape, np.float32), out)
        return out

    def logits(self, field: int, hidden: np.ndarray, chosen: np.ndarray | None, phase: np.ndarray | None) -> np.ndarray:
        """Logits (takes, classes) of field number `field`, the caller's to keep, from hidden (takes, dim)."""
        values = self._in
        values['field'][...] = field
        values['hidden_in'][:, 0] = hidden
        if chosen is not None:
            values['chosen'][:, 0] = chosen
        if phase is not None and self.decoder.has_phase:
            values['chosen_phase'][:, 0] = phase
        binding, out = self._heads[field]
        self.decoder.session.run_with_iobinding(binding)
        logits = out[:, 0].copy()
        if np.isnan(logits).any():  # no choice is the better one then, and a search for an end might have none
            raise GenaudioError(f'{self.decoder.model.path} gives values that are not numbers: export the model again.')
        return logits

    def copy_from(self, other: 'Buffers', rows: np.ndarray, length: int) -> None:
        """Take over the first `length` events of the takes `rows`, (takes,), of another cache of the same decoder."""
        for name in self._caches:
            if self._arrays:
                mine, theirs = self._arrays[name], other._arrays[name]
                for i, row in enumerate(rows.tolist()):  # indexing by `rows` would copy twice
                    mine[i, :, :length] = theirs[row, :, :length]
            else:
                self._caches[name].update_inplace(np.ascontiguousarray(other._caches[name].numpy()[rows]))


def _bind_caches(binding: onnxruntime.IOBinding, caches: dict[str, OrtValue]) -> None:
    for name, value in caches.items():
        binding.bind_ortvalue_input(f'past_{name}', value)
        binding.bind_ortvalue_output(f'present_{name}', value)


def nll(decoder: Decoder, sequences: list[np.ndarray]) -> dict[str, float]:
    """Held-out negative log-likelihood of the file as it plays, in nats per event.

    A field counts where it is defined: type everywhere, the others where their code is not 0.

    Parameters
    ----------
    sequences : event arrays (n, fields), each at most ``context + 1`` long

    Returns
    -------
    dict
        ``'nll'`` (sum over fields), one entry per field, and ``'events'``.
    """
    fields = decoder.encoding.fields
    totals, events = np.zeros(len(fields)), 0
    buffers = Buffers(decoder, 1)
    for sequence in sequences:
        step, phase = timeline(sequence, decoder.encoding)
        rows = sequence[None].astype(np.int64)
        n = len(sequence) - 1
        parts = []
        for start in range(0, n, CHUNK):
            at = slice(start, min(start + CHUNK, n))
            parts.append(buffers.step(rows[:, at], step[None, at], phase[None, at], start).copy())
        hidden, target = np.concatenate(parts, axis=1), rows[:, 1:]
        for i in range(len(fields)):
            logits = buffers.logits_of_rows(i, hidden, target, phase[None, 1:])[0]
            code = target[0, :, i]
            used = np.ones(n, bool) if i == 0 else code > 0
            peak = logits.max(axis=1)
            norm = peak + np.log(np.exp(logits - peak[:, None]).sum(axis=1))
            totals[i] += (norm - logits[np.arange(n), code])[used].sum()
        events += n
    per_event = totals / max(events, 1)
    result = {field: float(value) for field, value in zip(fields, per_event, strict=True)}
    return {'nll': float(per_event.sum()), **result, 'events': events}
