"""Mute and solo for each part of the band: ``mute.bass``, ``solo.drums``, as stems have them."""

from collections.abc import Sequence
from typing import Any

from bridge.band.scheduler import Scheduler
from bridge.settings.stem_knobs import OF_STEM
from bridge.settings.voice import PartVoice
from genaudio_core.errors import GenaudioError, did_you_mean

SWITCHES = ('mute', 'solo')


class PartSwitches:
    """Which parts are heard. Only the session's thread may call it.

    A part that is not heard is composed all the same: switched on again, it comes in where the music is. Two parts of
    an instrument are ``violin`` and ``violin_2``.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._voices: tuple[PartVoice, ...] = ()
        self.values: dict[str, bool] = {}  # such as mute.bass

    def use(self, voices: Sequence[PartVoice]) -> None:
        """These are the parts now; all are heard."""
        if tuple(voices) == self._voices:
            return
        self._voices, before = tuple(voices), [voice.instrument for voice in voices]
        names = [
            name if name not in before[:i] else f'{name}_{before[: i + 1].count(name)}' for i, name in enumerate(before)
        ]
        self.values = {f'{switch}.{name.replace(" ", "_")}': False for switch in SWITCHES for name in names}
        self._scheduler.silence(())

    def set(self, name: str, value: Any) -> bool:
        """Turn a switch; whether it is one.

        Raises
        ------
        GenaudioError
            If there is no such part, or the value is neither on nor off.
        """
        switch = name.partition('.')[0]
        if switch not in SWITCHES:
            return False
        if name not in self.values:
            raise GenaudioError(f"'{name}' is not something that can be set.{did_you_mean(name, self.values)}")
        self.values[name] = OF_STEM[switch].check(name, bool(value) if value in (0, 1) else value)
        mute, solo = (list(self.values.values())[at : at + len(self._voices)] for at in (0, len(self._voices)))
        self._scheduler.silence(voice for i, voice in enumerate(self._voices) if mute[i] or (any(solo) and not solo[i]))
        return True
