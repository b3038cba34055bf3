"""The section [instrument] of a preset, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bridge.settings.effects_table import EffectSpec
from genaudio_core.errors import GenaudioError, did_you_mean

_KEYS = ('plugin', 'channel', 'gain_db', 'connect', 'state', 'parameters', 'cc', 'effects')


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
        raise GenaudioError(f'There is no plug-in {path}.{did_you_mean(path.name, beside)}')


def parse_instrument(table: Any, folder: Path) -> Instrument:
    """Read an ``[instrument]`` table; its paths count from `folder`.

    Raises
    ------
    GenaudioError
        With the key and what would be right. That the plug-in is there is not checked: the band plays without it.
    """
    from bridge.settings.stems_preset import effects_of

    if not isinstance(table, Mapping) or not isinstance(table.get('plugin'), str):
        raise GenaudioError('instrument: write [instrument] and below it plugin = "Synth.vst3".')
    for key in table:
        if key not in _KEYS:
            raise GenaudioError(f"unknown key 'instrument.{key}'.{did_you_mean(key, _KEYS)} Known: {', '.join(_KEYS)}.")
    channel, gain = table.get('channel'), table.get('gain_db', 0.0)
    if channel is not None and (isinstance(channel, bool) or not isinstance(channel, int) or not 1 <= channel <= 16):
        raise GenaudioError(f"'instrument.channel' is 1 to 16, not {channel!r}.")
    if isinstance(gain, bool) or not isinstance(gain, (int, float)) or not -60 <= gain <= 12:
        raise GenaudioError(f"'instrument.gain_db' must be in range -60..12, not {gain!r}.")
    connect = table.get('connect', [])
    if not isinstance(connect, list) or not all(isinstance(part, str) and part for part in connect):
        raise GenaudioError('\'instrument.connect\' is a list of names, such as ["system:playback"].')
    state = table.get('state')
    if state is not None and not isinstance(state, str):
        raise GenaudioError(f"'instrument.state' is the name of a file, not {state!r}.")
    parameters, controllers = table.get('parameters', {}), table.get('cc', {})
    if not isinstance(parameters, Mapping) or not all(isinstance(v, (int, float, str)) for v in parameters.values()):
        raise GenaudioError('instrument: below [instrument.parameters] stand lines such as cutoff = 0.4.')
    if not isinstance(controllers, Mapping) or not all(
        str(key).isdecimal() and int(key) < 120 and isinstance(value, str) for key, value in controllers.items()
    ):
        raise GenaudioError('instrument: below [instrument.cc] stand lines such as 74 = "cutoff" (0 to 119).')
    return Instrument(
        folder / Path(table['plugin']).expanduser(), None if channel is None else channel - 1, float(gain),
        tuple(connect), folder / Path(state).expanduser() if state else None, dict(parameters),
        {int(key): value for key, value in controllers.items()}, effects_of(table, folder),
    )  # fmt: skip


def with_session(instrument: Instrument, session: str) -> Instrument:
    """Return `instrument` as it hears the JACK ports of the session of this client name."""
    return replace(instrument, connect=(f'{session}:', *instrument.connect))
