"""The knobs of live isolation: one name and one scale for each, wherever it is turned.

Presets, ``--set``, typed lines, MIDI controllers and the file of the state use these names::

    gain.drums   gain.rest   mute.drums   solo.drums   wet   bypass   low_latency   effect.drums.1.threshold_db

A stem is called as its output port: 'electric bass' is ``electric_bass``. Effects count from 1. In a preset the tables
[[stems]], [rest] and [isolate] hold the same knobs, without the name of the stem.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bridge.settings.effects_table import Chains
from bridge.settings.parameters import Parameter
from genaudio_core.errors import GenaudioError, did_you_mean

MAX_GAIN_DB = 24.0
OF_STEM = {
    'gain': Parameter(0.0, 'level in the monitor', -200, MAX_GAIN_DB, silence=True, unit='dB', fader=(-48, 6)),
    'mute': Parameter(False, 'not in the monitor'),
    'solo': Parameter(False, 'only this, and others in solo, in the monitor'),
}
"""Knobs that each stem has."""
OF_REST = {'gain': replace(OF_STEM['gain'], default=-math.inf)}
"""Knobs of everything that is in no stem."""
OF_MONITOR = {
    'wet': Parameter(1.0, '0 is the delayed input, 1 the mix', 0, 1),
    'bypass': Parameter(False, 'every output plays the delayed input'),
    'low_latency': Parameter(False, 'half the delay for a little less quality'),
}
"""Knobs of what is heard as a whole."""
EFFECT_SPANS: dict[str, tuple[float, float]] = {
    'threshold_db': (-60, 0), 'gain_db': (-40, 12), 'ratio': (1, 20), 'attack_ms': (0.1, 200), 'drive_db': (0, 40),
    'release_ms': (10, 1000), 'room_size': (0, 1), 'damping': (0, 1), 'wet_level': (0, 1), 'dry_level': (0, 1),
    'width': (0, 1), 'freeze_mode': (0, 1), 'mix': (0, 1), 'feedback': (0, 0.95), 'depth': (0, 1),
    'rate_hz': (0.1, 10), 'centre_delay_ms': (1, 50), 'delay_seconds': (0, 2), 'q': (0.1, 10), 'resonance': (0, 1),
    'drive': (1, 20), 'semitones': (-12, 12), 'bit_depth': (1, 32), 'centre_frequency_hz': (200, 5000),
    'cutoff_frequency_hz': (20, 20000), 'cutoff_hz': (20, 20000),
}  # fmt: skip
"""Ranges that a controller covers of the built-in effects' parameters, which do not report their own."""


def port_name(text: str) -> str:
    """Return a port name for a query: 'electric bass' -> 'electric_bass'."""
    return re.sub(r'[^a-z0-9]+', '_', text.lower()).strip('_')[:40] or 'stem'


def port_names(queries: Sequence[str]) -> list[str]:
    """Return a distinct name per output pair: the stems, the rest, the monitor."""
    names: list[str] = []
    for name in [*map(port_name, queries), 'rest', 'monitor']:
        names.append(name if name not in names else f'{name}_{sum(n.startswith(name) for n in names) + 1}')
    return names


def mix_knobs(names: Sequence[str]) -> dict[str, Parameter]:
    """Return full name -> knob of everything but effects, for output pairs called `names` (from `port_names`)."""
    *stems, rest, _ = names
    of_stems = {f'{knob}.{name}': one for knob, one in OF_STEM.items() for name in stems}
    return of_stems | {f'{knob}.{rest}': one for knob, one in OF_REST.items()} | OF_MONITOR


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
    plain = list(mix_knobs(names))
    if target in plain:
        return target
    parts = target.split('.', 3) if isinstance(target, str) else []
    if len(parts) == 4 and parts[0] == 'effect' and parts[1] in names and parts[2].isdecimal():
        pair, number = names.index(parts[1]), int(parts[2])
        n_effects = len(chains.get(pair, ()))
        if not 1 <= number <= n_effects:
            raise GenaudioError(
                f"'{target}': {parts[1]} has {n_effects or 'no'} effect{'' if n_effects == 1 else 's'}, counted from 1."
            )
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
    raise GenaudioError(f"'{target}' is not something that can be set.{hint or ' Some are: ' + ', '.join(plain) + '.'}")


def renamed(target: str, before: Sequence[str], after: Sequence[str]) -> str:
    """Return a name that can be set, as it is called when the output pairs are called `after` instead of `before`."""
    verb, dot, rest = target.partition('.')
    pair, more, last = rest.partition('.')
    return f'{verb}{dot}{after[before.index(pair)]}{more}{last}' if pair in before else target


def from_controller(target: str, names: Sequence[str], value: int, span: tuple[float, float] | None = None) -> Any:
    """Return what a controller value 0..127 stands for, for `target`, which is checked and not of a plug-in.

    Parameters
    ----------
    span
        Numbers for 0 and 127, where the preset says so.
    """
    knob = mix_knobs(names).get(target)
    if knob is not None:
        return knob.from_controller(value, span)
    parameter, share = target.split('.')[-1], value / 127
    low, high = span or EFFECT_SPANS.get(parameter, (0.0, 1.0))
    if low > 0 and parameter.endswith('_hz'):
        return low * (high / low) ** share  # as the ear counts
    return low + share * (high - low)


def number_or_text(value: Any) -> Any:
    """Return a text as the number that it is, else as it is."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
