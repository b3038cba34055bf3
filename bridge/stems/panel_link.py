"""The panel of live isolation: what it shows of a host, and where its messages go. For the loop of `isolate.run`."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from bridge.panel.facts import stems_facts
from bridge.panel.meters import Sound
from bridge.panel.panel import Panel, PanelAddress
from bridge.settings.stem_knobs import EFFECT_SPANS
from bridge.stems.line_commands import LineCommands

PERIOD = 0.1  # seconds between two looks at the figures
FIGURES = ('underruns', 'fades', 'device_xruns', 'restarts', 'bad_input', 'bad_results', 'load', 'compute_ms_p99')


class StemsPanel:
    """Opens a panel for stems.

    Parameters
    ----------
    address : PanelAddress
    words : list of str
        That the model was trained with.
    notify : callable
        Gets one line for the person.

    Raises
    ------
    GenaudioError
        As `Panel`.
    """

    def __init__(self, address: PanelAddress, words: list[str], notify: Callable[[str], None]) -> None:
        self._controls: LineCommands | None = None
        self._notify = notify
        self._at = 0.0
        self._near: tuple[bytes, list[Any]] = b'', []
        self.panel: Panel | None = None
        self.panel = Panel(address, 'stems', stems_facts(words), self._take, self.notify)

    def notify(self, line: str) -> None:
        """Tell the person, and the pages."""
        self._notify(line)
        if self.panel is not None:  # it tells its link before
            self.panel.say(line)

    def use(self, controls: LineCommands | None) -> None:
        """Show these from now on, and turn them; None: there are none for a while."""
        self._controls = controls

    def _take(self, message: dict[str, Any]) -> None:
        if self._controls is not None:
            self._controls.take(message)

    def look(self) -> None:
        """Look after the panel, and show what is new."""
        assert self.panel is not None
        self.panel.look()
        now = time.monotonic()
        if self._controls is None or now < self._at:
            return
        self._at = now + PERIOD
        self.panel.show(self._state(self._controls))

    def _state(self, controls: LineCommands) -> Mapping[str, Any]:
        host, knobs = controls.host, controls.knobs
        status, plugins, core = host.status(), knobs.plugins, host.core
        chains = plugins.chains if plugins else {}
        return {
            'stems': self._stems(controls),
            'outputs': knobs.names,
            'values': controls.mix.knobs(knobs.names) | {'bypass': core.bypass, 'low_latency': host.low_latency},
            'effects': {
                knobs.names[pair]: [
                    {'name': link.effect or link.path.rsplit('/', 1)[-1], 'left_out': link.left_out,
                     'parameters': _parameters(link.parameters, known)}
                    for link, known in zip(links, plugins.known.get(pair, [None] * len(links)), strict=False)
                ]
                for pair, links in chains.items()
            },
            'controllers': dict(knobs.bound), 'learning': knobs.learning,
            'engine': 'ready' if host.ready else 'dry' if host.dry else 'starting',
            'latency_ms': round(host.latency_ms, 1), 'sample_rate': core.sample_rate, 'block': core.block,
            'figures': {name: round(status[name], 2) for name in FIGURES},
            'certificate': [(round(ms, 1), late) for ms, late in host.underruns_by_latency().items()],
            'blocks': core.counts.blocks // 1000 * 1000,
            'sound': Sound(
                host.inbox.name, (core.finished or host.outbox).name, host.outbox.n_channels, core.sample_rate
            ),
        }  # fmt: skip

    def _stems(self, controls: LineCommands) -> list[Any]:
        """Each stem's output, query, and the model's own words that it lies near: worked out where it has changed."""
        queries = controls.host.spec.queries
        known = queries.tobytes() + '\n'.join(controls.names).encode()
        if known != self._near[0]:
            self._near = known, [
                {'name': name, 'query': text, 'near': [(word, round(cosine, 2)) for word, cosine in
                                                        controls.words.near(row)], 'all_but': bool(row[-1])}
                for name, text, row in zip(controls.knobs.names, controls.names, queries, strict=False)
            ]  # fmt: skip
        return self._near[1]

    def close(self) -> None:
        """End it."""
        if self.panel is not None:
            self.panel.close()


def _parameters(turned: Mapping[str, Any], known: frozenset[str] | None) -> dict[str, Any]:
    """Parameters of an effect for the panel: those set so far, and of built-in effects all that have a range."""
    return {name: turned.get(name) for name in sorted({*turned, *(EFFECT_SPANS.keys() & (known or ()))})}
