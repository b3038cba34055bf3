"""What live isolation can be set to, by names that presets, --set, lines and MIDI controllers share, and its presets.

::

    gain.drums   gain.rest   mute.drums   solo.drums   wet   bypass   effect.drums.1.threshold_db

A stem is called as its output port: 'electric bass' is ``electric_bass``. Effects count from 1. A preset::

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
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bridge.settings.effects_table import Chains, EffectSpec, check_kind
from bridge.settings.mix import Mix
from bridge.settings.parameters import Parameter
from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.files import presets_dir, read_toml

PREFIX = 'isolate-'  # of the bundled files, which lie beside those of the band
MAX_STEMS = 8
_SECTIONS = ('about', 'isolate', 'stems', 'rest', 'monitor', 'cc')
_KEYS = {
    'about': ('title', 'text'),
    'isolate': ('wet', 'low_latency', 'model', 'state'),
    'stems': ('query', 'gain', 'mute', 'solo', 'effects'),
    'rest': ('gain', 'effects'),
    'monitor': ('effects',),
    'cc': ('moves', 'low', 'high'),
}
_NUMBER, _SWITCH, _TEXT = Parameter(0.0, ''), Parameter(False, ''), Parameter('', '')


def slug(text: str) -> str:
    """Return a port name for a query: 'electric bass' -> 'electric_bass'."""
    return re.sub(r'[^a-z0-9]+', '_', text.lower()).strip('_')[:40] or 'stem'


def port_names(queries: Sequence[str]) -> list[str]:
    """Return a distinct name per output pair: the stems, the rest, the monitor."""
    names: list[str] = []
    for name in [*map(slug, queries), 'rest', 'monitor']:
        names.append(name if name not in names else f'{name}_{sum(n.startswith(name) for n in names) + 1}')
    return names


def check_target(
    target: Any,
    names: Sequence[str],
    chains: Chains,
    known: Mapping[int, Sequence[frozenset[str] | None]] | None = None,
) -> str:
    """Return a name that can be set while it plays.

    Parameters
    ----------
    names
        From `port_names`.
    known
        Names of the parameters of every loaded effect, by output pair; None for one that is left out.

    Raises
    ------
    GenaudioError
        If there is nothing of this name; the message offers the nearest.
    """
    stems = names[:-2]
    plain = [f'gain.{n}' for n in (*stems, 'rest')] + [f'{verb}.{n}' for verb in ('mute', 'solo') for n in stems]
    plain += ['wet', 'bypass']
    if target in plain:
        return target
    parts = target.split('.', 3) if isinstance(target, str) else []
    if len(parts) == 4 and parts[0] == 'effect' and parts[1] in names and parts[2].isdecimal():
        pair, number = names.index(parts[1]), int(parts[2])
        n_effects = len(chains.get(pair, ()))
        if not 1 <= number <= n_effects:
            raise GenaudioError(f"'{target}': {parts[1]} has {n_effects or 'no'} effects, counted from 1.")
        there = known[pair][number - 1] if known is not None else None
        if there is not None and parts[3] not in there:
            link = chains[pair][number - 1]
            raise GenaudioError(
                f"'{target}': {link.effect or Path(link.path).stem} has no parameter '{parts[3]}'."
                f'{did_you_mean(parts[3], there)} It has: {", ".join(sorted(there))}.'
            )
        return target
    for pair, links in chains.items():
        plain += [f'effect.{names[pair]}.{i}.{key}' for i, link in enumerate(links, 1) for key in link.parameters]
    hint = did_you_mean(target, plain) if isinstance(target, str) else ''
    raise GenaudioError(f"There is nothing called '{target}' to set.{hint or ' Some are: ' + ', '.join(plain) + '.'}")


def renamed(target: str, before: Sequence[str], after: Sequence[str]) -> str:
    """Return a name that can be set, as it is called when the output pairs are called `after` instead of `before`."""
    verb, dot, rest = target.partition('.')
    pair, more, last = rest.partition('.')
    return f'{verb}{dot}{after[before.index(pair)]}{more}{last}' if pair in before else target


def changed_mix(mix: Mix, names: Sequence[str], target: str, value: Any) -> Mix:
    """Return `mix` with gain, mute, solo or wet set; `target` is checked.

    Raises
    ------
    GenaudioError
        If the value is no number or switch, or out of its range.
    """
    verb, _, name = target.partition('.')
    if verb in ('mute', 'solo'):
        which = {names.index(name)}
        before: frozenset[int] = getattr(mix, verb)
        return mix.changed(**{verb: before | which if _SWITCH.check(target, value) else before - which})
    number = _NUMBER.check(target, value)
    if verb == 'wet':
        return mix.changed(wet=number)
    if name == 'rest':
        return mix.changed(rest_db=number)
    gains = list(mix.gains_db)
    gains[names.index(name)] = number
    return mix.changed(gains_db=tuple(gains))


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
        if key == 'low_latency':
            return replace(self, low_latency=_SWITCH.check(key, value))
        if key in ('model', 'state'):
            return replace(self, **{key: _TEXT.check(key, value)})
        if key == 'bypass':
            raise GenaudioError("'bypass' is set while it plays.")
        check_target(key, self.names, self.chains)
        if not key.startswith('effect.'):
            return replace(self, mix=changed_mix(self.mix, self.names, key, value))
        _, pair, number, parameter = key.split('.', 3)
        links = list(self.chains[self.names.index(pair)])
        link = links[int(number) - 1]
        links[int(number) - 1] = replace(link, parameters={**link.parameters, parameter: number_or_text(value)})
        return replace(self, chains={**self.chains, self.names.index(pair): tuple(links)})


def number_or_text(value: Any) -> Any:
    """Return a text as the number that it is, else as it is."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


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
    table = read_toml(path, 'preset')
    try:
        return parse(table, path.stem, path.parent)
    except GenaudioError as error:
        raise GenaudioError(f'{path}: {error}') from error


def parse(table: Mapping[str, Any], name: str = '', folder: Path | None = None) -> StemsPreset:
    """Check a parsed TOML table; see `load`. Paths in it count from `folder`."""
    for section in table:
        if section not in _SECTIONS:
            raise GenaudioError(f"unknown section '{section}'.{did_you_mean(section, _SECTIONS)}")
    about, main, rest, monitor = (_table(table, key) for key in ('about', 'isolate', 'rest', 'monitor'))
    stems = table.get('stems', [])
    if not isinstance(stems, list) or not 1 <= len(stems) <= MAX_STEMS:
        raise GenaudioError(f'write [[stems]] once for each sound, 1 to {MAX_STEMS} times.')
    gains, mute, solo, queries = [], set(), set(), []
    chains: dict[int, tuple[EffectSpec, ...]] = {}
    for i, stem in enumerate(stems):
        stem = _checked(stem, 'stems')
        query = _TEXT.check('stems.query', stem.get('query', ''))
        if not query.strip():
            raise GenaudioError(f'stem {i + 1} needs a query, such as query = "drums".')
        queries.append(query)
        gains.append(_NUMBER.check('stems.gain', stem.get('gain', 0.0)))
        for key, switched in (('mute', mute), ('solo', solo)):
            if _SWITCH.check(f'stems.{key}', stem.get(key, False)):
                switched.add(i)
        chains[i] = effects_of(stem, folder)
    n = len(stems)
    chains |= {n: effects_of(rest, folder), n + 1: effects_of(monitor, folder)}
    chains = {pair: links for pair, links in chains.items() if links}
    mix = Mix.of(n).changed(
        gains_db=tuple(gains), rest_db=_NUMBER.check('rest.gain', rest.get('gain', float('-inf'))),
        mute=frozenset(mute), solo=frozenset(solo), wet=_NUMBER.check('isolate.wet', main.get('wet', 1.0)),
    )  # fmt: skip
    texts = {key: _TEXT.check(key, part.get(key, '')) for part, keys in (
        (about, ('title', 'text')), (main, ('model', 'state')),
    ) for key in keys}  # fmt: skip
    if folder is not None:
        texts |= {key: str(folder / texts[key]) for key in ('model', 'state') if texts[key]}
    low = _SWITCH.check('isolate.low_latency', main.get('low_latency', False))
    controllers, spans = _controllers(_table_of(table.get('cc', {}), 'cc'), port_names(queries), chains)
    return StemsPreset(name, tuple(queries), mix, chains, controllers, spans, low, **texts)


def _table_of(content: Any, section: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise GenaudioError(f"'{section}' is a section: write [{section}] above its settings.")
    return content


def _checked(content: Any, section: str) -> dict[str, Any]:
    keys = _KEYS[section]
    for key in _table_of(content, section):
        if key not in keys:
            hint = did_you_mean(key, keys) or f' Known: {", ".join(keys)}.'
            raise GenaudioError(f"unknown key '{section}.{key}'.{hint}")
    return content


def _table(table: Mapping[str, Any], section: str) -> dict[str, Any]:
    return _checked(table.get(section, {}), section)


def effects_of(owner: Mapping[str, Any], folder: Path | None) -> tuple[EffectSpec, ...]:
    items = owner.get('effects', [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise GenaudioError("effects: write [[stems.effects]] once for each effect, and effect = 'Reverb' below it.")
    links = []
    for item in items:
        parameters = {key: value for key, value in item.items() if key not in ('effect', 'plugin')}
        for key, value in parameters.items():
            if not isinstance(value, (int, float, str, bool)):
                raise GenaudioError(f"effects: '{key}' is a number, a text, or true or false, not {value!r}.")
        path = _TEXT.check('effects.plugin', item.get('plugin', ''))
        if path and folder is not None:
            path = str(folder / Path(path).expanduser())
        link = EffectSpec(_TEXT.check('effects.effect', item.get('effect', '')), path, parameters)
        check_kind(link)
        links.append(link)
    return tuple(links)


def _controllers(
    table: dict[str, Any], names: Sequence[str], chains: Chains
) -> tuple[dict[int, str], dict[int, tuple[float, float]]]:
    found: dict[int, str] = {}
    spans: dict[int, tuple[float, float]] = {}
    for key, target in table.items():
        if not key.isdecimal() or int(key) > 119:
            raise GenaudioError(f"cc: '{key}' is no controller number 0..119.")
        if isinstance(target, dict):
            item = _checked(target, 'cc')
            target = item.get('moves')
            if 'low' in item or 'high' in item:
                low, high = (_NUMBER.check(f'cc.{key}.{end}', item.get(end)) for end in ('low', 'high'))
                spans[int(key)] = (low, high)
        found[int(key)] = check_target(target, names, chains)
    return found, spans
