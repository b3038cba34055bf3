"""Effects that a sound passes through, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genaudio_core.errors import GenaudioError
from genaudio_core.tables import Rows, Setting, Table

PLUGIN_VALUE = Setting(None, kind=object)  # what a parameter of an effect or plug-in may be
EFFECTS = Rows(Table({'effect': Setting('', 'a built-in one'), 'plugin': Setting('', 'file')}, others=PLUGIN_VALUE))
"""[[stems.effects]] and the like; all keys but these two are parameters of the effect."""


@dataclass(frozen=True)
class EffectSpec:
    """One effect of a chain: built-in (`effect`) or a plug-in file (`path`)."""

    effect: str = ''
    path: str = ''
    parameters: dict[str, float | str | bool] = field(default_factory=dict)
    state: bytes = b''  # of a plug-in, as `save_state` returned it
    left_out: bool = False  # it could not be loaded; the link is passed over, its number stays taken


@dataclass(frozen=True)
class Share:
    """A value as a share 0..1 of the range that a plug-in tells for its parameter, as a controller gives it."""

    share: float


Chains = dict[int, tuple[EffectSpec, ...]]  # number of the output pair, from 0 -> its effects


def chain_of(rows: Sequence[Mapping[str, Any]], folder: Path | None) -> tuple[EffectSpec, ...]:
    """Return the effects of checked `EFFECTS`; paths count from `folder`.

    Raises
    ------
    GenaudioError
        If one is neither built in nor a file, or both.
    """
    chain = []
    for row in rows:
        path = row['plugin']
        if path and folder is not None:
            path = str(folder / Path(path).expanduser())
        chain.append(EffectSpec(row['effect'], path, {k: v for k, v in row.items() if k not in ('effect', 'plugin')}))
        check_kind(chain[-1])
    return tuple(chain)


def check_link(link: EffectSpec) -> None:
    """Check what can be checked without loading anything.

    Raises
    ------
    GenaudioError
        If the link names nothing, or a file that is missing.
    """
    check_kind(link)
    if link.path and not Path(link.path).exists():
        raise GenaudioError(f'The plug-in {link.path} does not exist.')


def check_kind(link: EffectSpec) -> None:
    """Check that a link is built in or a file, and not both.

    Raises
    ------
    GenaudioError
        If it is not.
    """
    if bool(link.effect) == bool(link.path):
        raise GenaudioError("An effect is either built in (effect = 'Reverb') or a plug-in (plugin = 'x.vst3').")
