"""The section [instrument] of a preset, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bridge.settings.effects_table import EFFECTS, PLUGIN_VALUE, EffectSpec, chain_of
from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.tables import Numbered, Setting, Table

INSTRUMENT = Table(
    {
        'plugin': Setting(kind=str, example='"Synth.vst3"'),
        'channel': Setting(None, 'MIDI channel that it hears; all where it is left out', 1, 16, kind=int),
        'gain_db': Setting(0.0, 'level', -60, 12, unit='dB'),
        'connect': Setting((), 'JACK ports to connect to, by part of their names'),
        'state': Setting('', 'file of the settings of the plug-in'),
        'parameters': Table({}, PLUGIN_VALUE,
                            example='write [instrument.parameters] and below it lines such as cutoff = 0.4'),
        'cc': Numbered(Setting(kind=str), 'a controller number', 0, 119,
                       'write [instrument.cc] and below it lines such as 74 = "cutoff"'),
        'effects': EFFECTS,
    },
    example='write [instrument] and below it plugin = "Synth.vst3"', optional=True,
)  # fmt: skip
"""The table [instrument]."""


@dataclass(frozen=True)
class Instrument:
    """A plug-in, what it hears, and what comes after it."""

    plugin: Path
    channel: int | None = None  # 0..15
    gain_db: float = 0.0
    connect: tuple[str, ...] = ()
    state: Path | None = None
    parameters: Mapping[str, float | str | bool] = field(default_factory=dict)
    controllers: Mapping[int, str] = field(default_factory=dict)  # number -> parameter
    effects: tuple[EffectSpec, ...] = ()


def check_plugin(path: Path) -> None:
    """Check that the plug-in is there.

    Raises
    ------
    GenaudioError
        If it is not; the message names the nearest that is.
    """
    if not path.exists():
        beside = [p.name for p in path.parent.glob('*')] if path.parent.is_dir() else []
        raise GenaudioError(f'The plug-in {path} does not exist.{did_you_mean(path.name, beside)}')


def parse_instrument(table: Any, folder: Path) -> Instrument:
    """Read an ``[instrument]`` table; its paths count from `folder`.

    Raises
    ------
    GenaudioError
        With the key and what would be right. That the plug-in is there is not checked: the band plays without it.
    """
    table = INSTRUMENT.check('instrument', table)
    channel, state = table['channel'], table['state']
    return Instrument(
        folder / Path(table['plugin']).expanduser(), None if channel is None else channel - 1, table['gain_db'],
        table['connect'], folder / Path(state).expanduser() if state else None, table['parameters'],
        table['cc'], chain_of(table['effects'], folder),
    )  # fmt: skip


def with_session(instrument: Instrument, session: str) -> Instrument:
    """Return `instrument` as it hears the JACK ports of the session of this client name."""
    return replace(instrument, connect=(f'{session}:', *instrument.connect))
