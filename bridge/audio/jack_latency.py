"""Latency told to JACK, so that a DAW puts what it records where it belongs (``jack_lsp -l`` shows it).

JACK asks each client in turn, first along the sound (capture: how old is what leaves here?), then against it (playback:
how long until what enters here is heard?). An output's answer is that of the inputs and ours on top, and the other way
round. JACK-Client has no words for it, so libjack is called itself.

A loop is a client that hears us and is heard by us, as a DAW with a track that feeds us and one that records us. JACK
runs each client once a period, so in a loop one of the ways waits for the next period, and JACK does not count that:
we do. What such a client tells of its own outputs may hold what we told it; that echo is taken off again, or each
question would find the answer grown.
"""

import contextlib
import ctypes
from collections.abc import Callable, Iterable, Sequence
from typing import Any

CAPTURE = 0  # of JACK's two directions; the other is playback


class _Range(ctypes.Structure):
    _fields_ = (('min', ctypes.c_uint32), ('max', ctypes.c_uint32))


_Callback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p)


def in_loop(own: str, connections: Iterable[tuple[str, str]]) -> tuple[set[str], set[str]]:
    """Return the clients that hear `own` directly: those from which sound comes back to it, and the others.

    Parameters
    ----------
    connections
        (source, sink) ports by full name, of the whole graph.
    """
    to: dict[str, set[str]] = {}
    for source, sink in connections:
        to.setdefault(source.split(':')[0], set()).add(sink.split(':')[0])

    def comes_back(start: str) -> bool:
        seen, waiting = {start}, [start]
        while waiting:
            for name in to.get(waiting.pop(), ()):
                if name == own:
                    return True
                if name not in seen:
                    seen.add(name)
                    waiting.append(name)
        return False

    listeners = to.get(own, set())
    looped = {name for name in listeners if comes_back(name)}
    return looped, listeners - looped


class JackLatency:
    """Answers JACK's questions for one client.

    Parameters
    ----------
    client
        Not active yet.
    inputs, outputs
        Its audio ports.
    own
        Samples from input to output now.
    """

    def __init__(self, client: Any, inputs: Sequence[Any], outputs: Sequence[Any], own: Callable[[], int]):
        self._client, self._inputs, self._outputs, self._own = client, inputs, outputs, own
        self.looped: set[str] = set()  # clients that hear us and are heard by us
        self._others = False  # somebody else hears us, too
        self._told = [0, 0]  # the largest answer, by direction
        self._asked_for: tuple[Any, ...] = ()
        self._graph_changed = True
        self.errors = 0
        self._lib: Any = None
        with contextlib.suppress(OSError, AttributeError):  # a library without these: nothing can be told
            import jack

            library: Any = jack  # its stubs do not name what is private
            lib = ctypes.CDLL(library._libname)
            for name in ('jack_port_get_latency_range', 'jack_port_set_latency_range'):
                getattr(lib, name).argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Range))
                getattr(lib, name).restype = None
            lib.jack_set_latency_callback.argtypes = (ctypes.c_void_p, _Callback, ctypes.c_void_p)
            lib.jack_recompute_total_latencies.argtypes = (ctypes.c_void_p,)
            self._pointer = lambda thing: int(library._ffi.cast('uintptr_t', thing._ptr))
            self._callback = _Callback(self._answer)  # kept: JACK calls it for as long as the client lives
            if not lib.jack_set_latency_callback(self._pointer(client), self._callback, None):
                self._lib = lib
            client.set_graph_order_callback(self._graph)

    def _graph(self) -> None:
        self._graph_changed = True

    def _answer(self, mode: int, argument: Any) -> None:
        """In JACK's thread of notices."""
        try:
            sources, sinks = (self._inputs, self._outputs) if mode == CAPTURE else (self._outputs, self._inputs)
            found = []
            for port in sources:
                if port.number_of_connections:
                    there = _Range()
                    self._lib.jack_port_get_latency_range(self._pointer(port), mode, ctypes.byref(there))
                    found.append((there.min, there.max))
            least, most = (min(a for a, _ in found), max(b for _, b in found)) if found else (0, 0)
            delay = 0
            if self.looped:
                if most >= self._told[mode]:  # an echo of what we said
                    most -= self._told[mode]
                least, delay = min(least, most), int(self._client.blocksize)
            own = self._own()
            answer = _Range(least + own + (0 if self._others else delay), most + own + delay)
            self._told[mode] = answer.max
            for port in sinks:
                self._lib.jack_port_set_latency_range(self._pointer(port), mode, ctypes.byref(answer))
        except Exception:  # there is nobody above us to hear of it
            self.errors += 1

    def poll(self) -> str | None:
        """Have JACK ask again where something changed; return a line where a loop began. Not in a callback."""
        line = None
        if self._graph_changed:
            self._graph_changed = False
            try:
                line = self._look_for_loops()
            except Exception:  # a port went while we looked (JackError): the next look sees the graph without it
                self._graph_changed = True
        now = (self._own(), int(self._client.blocksize), self.looped, self._others)
        if now != self._asked_for and self._lib is not None:
            self._asked_for = now
            self._lib.jack_recompute_total_latencies(self._pointer(self._client))
        return line

    def _look_for_loops(self) -> str | None:
        before = self.looped
        graph = [
            (port.name, peer.name) for port in self._client.get_ports(is_audio=True, is_output=True)
            for peer in self._client.get_all_connections(port)
        ]  # fmt: skip
        self.looped, others = in_loop(self._client.name, graph)
        self._others = bool(others)
        if not (new := self.looped - before):
            return None
        return (
            f'{" and ".join(sorted(new))} hears us and is heard by us: JACK delays one of the ways by a '
            f'period, {self._client.blocksize} samples, so what it records lies '
            f'{self._own() + self._client.blocksize} samples later. JACK is told.'
        )
