"""Presets for live isolation.

::

    [isolate]
    wet = 1.0
    low_latency = true
    [rest]
    gain = -6                          # dB; silent where nothing is said
    [[stems]]
    query = "drums"
    gain = 0
    [[stems.effects]]
    effect = "Compressor"              # or plugin = "/usr/lib/vst3/x.vst3"
    threshold_db = -18                 # all else are its parameters
    [[monitor.effects]]
    effect = "Limiter"
    [cc]
    7 = "gain.drums"
    74 = { moves = "effect.drums.1.threshold_db", low = -40, high = 0 }

What can be set by name, such as ``gain.drums``, is in `stem_knobs`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bridge.settings.effects_table import EFFECTS, Chains, chain_of
from bridge.settings.mix import Mix
from bridge.settings.parameters import PARAMETERS
from bridge.settings.stem_knobs import (
    OF_MONITOR,
    OF_REST,
    OF_STEM,
    check_target,
    number_or_text,
    port_names,
    renamed,
)
from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.files import presets_dir
from genaudio_core.tables import Numbered, Rows, Setting, Table, read_checked

PREFIX = 'isolate-'  # of the bundled files, which lie beside those of the band
MAX_STEMS = 8
SETTINGS = {
    'low_latency': OF_MONITOR['low_latency'],
    'model': Setting('', 'live separator; empty: the bundled one'),
    'state': Setting('', 'file of what was turned, read at the start and written at the end'),
}
"""Settings that are fixed before it plays."""
PRESET = Table(
    {
        'about': Table({'title': PARAMETERS['about.title'], 'text': PARAMETERS['about.text']}),
        'isolate': Table({'wet': OF_MONITOR['wet'], **SETTINGS}),
        'stems': Rows(
            Table({'query': Setting(kind=str, example='"drums"'), **OF_STEM, 'effects': EFFECTS}), 1, MAX_STEMS
        ),
        'rest': Table({**OF_REST, 'effects': EFFECTS}),
        'monitor': Table({'effects': EFFECTS}),
        'cc': Numbered(
            Table(
                {'moves': Setting(kind=str, example='"gain.drums"'), 'low': Setting(None, kind=float),
                 'high': Setting(None, kind=float)},
                short='moves',
            ),
            'a controller number', 0, 119, 'write [cc] and below it lines such as 7 = "gain.drums"',
        ),
    }
)  # fmt: skip
"""All that the file of a preset may say."""


@dataclass(frozen=True)
class StemsPreset:
    """A checked preset for live isolation."""

    name: str = ''
    queries: tuple[str, ...] = ()
    mix: Mix = field(default_factory=lambda: Mix(()))
    chains: Chains = field(default_factory=dict)
    controllers: Mapping[int, str] = field(default_factory=dict)  # CC number -> what it moves
    spans: Mapping[int, tuple[float, float]] = field(default_factory=dict)  # CC number -> values at 0 and 127
    low_latency: bool = False
    model: str = ''
    state: str = ''  # file
    title: str = ''
    text: str = ''

    @property
    def names(self) -> list[str]:
        """Names of the output pairs."""
        return port_names(self.queries)

    def with_queries(self, queries: Sequence[str]) -> 'StemsPreset':
        """Return the preset with more stems after its own."""
        n, more = len(self.queries), len(queries)
        mix = replace(self.mix, gains_db=(*self.mix.gains_db, *[0.0] * more))
        chains = {pair + more if pair >= n else pair: links for pair, links in self.chains.items()}
        return replace(self, queries=(*self.queries, *queries), mix=mix, chains=chains)

    def with_query(self, index: int, text: str) -> 'StemsPreset':
        """Return the preset with another sound as stem `index`; what moved the stem moves it still."""
        queries = tuple(text if i == index else query for i, query in enumerate(self.queries))
        names = port_names(queries)
        controllers = {number: renamed(target, self.names, names) for number, target in self.controllers.items()}
        return replace(self, queries=queries, controllers=controllers)

    def with_setting(self, key: str, value: Any) -> 'StemsPreset':
        """Return the preset with one thing set by name, such as ``gain.drums``.

        Raises
        ------
        GenaudioError
            If name or value are wrong.
        """
        if key in SETTINGS:
            return replace(self, **{key: SETTINGS[key].check(key, value)})
        if key == 'bypass':
            raise GenaudioError("'bypass' can only be set while it plays.")
        check_target(key, self.names, self.chains)
        if not key.startswith('effect.'):
            return replace(self, mix=self.mix.with_knob(self.names, key, value))
        _, pair, number, parameter = key.split('.', 3)
        links = list(self.chains[self.names.index(pair)])
        link = links[int(number) - 1]
        links[int(number) - 1] = replace(link, parameters={**link.parameters, parameter: number_or_text(value)})
        return replace(self, chains={**self.chains, self.names.index(pair): tuple(links)})


def available() -> dict[str, Path]:
    """Return the bundled presets for live isolation, by name without the prefix."""
    return {path.stem.removeprefix(PREFIX): path for path in sorted(presets_dir().glob(f'{PREFIX}*.toml'))}


def load(name: str) -> StemsPreset:
    """Read a bundled preset, with or without its prefix, or the file of a path.

    Raises
    ------
    GenaudioError
        With the file, the key, and what would be right.
    """
    path = Path(name)
    if path.suffix != '.toml' and '/' not in name:
        known, short = available(), name.removeprefix(PREFIX)
        if short not in known:
            hint = did_you_mean(short, known) or f' There are: {", ".join(known)}.'
            raise GenaudioError(f"No preset '{name}' for live isolation.{hint}")
        path = known[short]
    return read_checked(path, 'preset', lambda table: parse(table, path.stem, path.parent))


def parse(table: Mapping[str, Any], name: str = '', folder: Path | None = None) -> StemsPreset:
    """Check a parsed TOML table; see `load`. Paths in it count from `folder`."""
    found = PRESET.check('', table)
    stems, main = found['stems'], found['isolate']
    for i, stem in enumerate(stems, 1):
        if not stem['query'].strip():
            raise GenaudioError(f'stems.{i}.query is empty; write what to listen for, such as query = "drums".')
    queries = tuple(stem['query'] for stem in stems)
    links = [chain_of(owner['effects'], folder) for owner in (*stems, found['rest'], found['monitor'])]
    chains = {pair: chain for pair, chain in enumerate(links) if chain}
    switched = {knob: frozenset(i for i, stem in enumerate(stems) if stem[knob]) for knob in ('mute', 'solo')}
    mix = Mix(tuple(stem['gain'] for stem in stems), found['rest']['gain'], wet=main['wet'], **switched)
    files = {key: str(folder / main[key]) if folder and main[key] else main[key] for key in ('model', 'state')}
    controllers, spans = {}, {}
    for number, bound in found['cc'].items():
        try:
            controllers[number] = check_target(bound['moves'], port_names(queries), chains)
        except GenaudioError as error:
            raise GenaudioError(f'cc.{number}: {error}') from None
        ends = bound['low'], bound['high']
        if ends != (None, None):
            if None in ends:
                raise GenaudioError(f'cc.{number} needs both low and high: the values at 0 and 127.')
            spans[number] = ends
    return StemsPreset(
        name, queries, mix, chains, controllers, spans, main['low_latency'], **files, **found['about']
    )  # fmt: skip
