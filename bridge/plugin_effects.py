"""One effect after another on a stem: built-in ones and plug-ins, loaded, set and run in the child process.

pedalboard (GPLv3) is imported in here, when the first effect is loaded. Effects are code of others: each is called by
itself, so that the one that throws, returns no numbers or returns something else than sound can be named.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bridge.finite import FiniteGuard
from genaudio_core.errors import GenaudioError, did_you_mean, one_line

CHUNK = 256  # samples at a time
MEASURED = 1 << 15  # samples of silence that tell a chain's latency
NO_NUMBERS = 1.0  # seconds of NaN or infinity after which an effect counts as broken
_NOT_EFFECTS = {
    'Plugin', 'PluginContainer', 'Pedalboard', 'Chain', 'Mix', 'ExternalPlugin', 'VST3Plugin', 'AudioUnitPlugin',
    'Convolution', 'IIRFilter', '_klass',  # they cannot be made without more than parameters
}  # fmt: skip
# Parameters of built-in effects that change how many samples they hold back.
_MOVES_LATENCY = {'lookahead_ms', 'true_peak', 'target_sample_rate', 'quality'}


@dataclass(frozen=True)
class Link:
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


Chains = dict[int, tuple[Link, ...]]  # number of the output pair, from 0 -> its effects


def check_link(link: Link) -> None:
    """Check what can be checked without loading anything.

    Raises
    ------
    GenaudioError
        If the link names nothing, or a file that is missing.
    """
    check_kind(link)
    if link.path and not Path(link.path).exists():
        raise GenaudioError(f'There is no plug-in {link.path}.')


def check_kind(link: Link) -> None:
    """Check that a link is built in or a file, and not both.

    Raises
    ------
    GenaudioError
        If it is not.
    """
    if bool(link.effect) == bool(link.path):
        raise GenaudioError("An effect is either built in (effect = 'Reverb') or a plug-in (path = 'x.vst3').")


def load_link(link: Link, on_notice: Callable[[str], None] = lambda text: None) -> Any:
    """Return the loaded effect with its parameters set. In the process's main thread only.

    A kept state that the plug-in does not take any more is told, and it begins as it is.

    Raises
    ------
    GenaudioError
        If it cannot be loaded or has no such parameter.
    """
    import pedalboard as package

    pedalboard: Any = package  # its stubs name neither `load_plugin` nor what a plug-in has
    check_link(link)
    if link.effect:
        built_in = {
            name: value for name, value in vars(pedalboard).items()
            if isinstance(value, type) and issubclass(value, pedalboard.Plugin) and name not in _NOT_EFFECTS
        }  # fmt: skip
        if link.effect not in built_in:
            names = ', '.join(sorted(built_in))
            raise GenaudioError(f"No effect '{link.effect}'.{did_you_mean(link.effect, built_in)} There are: {names}.")
        try:
            plugin = built_in[link.effect]()
        except Exception as error:
            raise GenaudioError(f"The effect '{link.effect}' cannot be made: {one_line(error)}") from None
        known = None
    else:
        from pedalboard import _pedalboard as internals

        # DPF instruments expose 2,080 MIDI-CC parameters, which take 20 s to look at.
        patterns = getattr(internals, 'PARAMETER_NAME_REGEXES_TO_IGNORE', None)
        if isinstance(patterns, set):
            import re

            patterns.add(re.compile(r'MIDI Ch\. '))
        try:
            plugin = pedalboard.load_plugin(link.path)
        except Exception as error:  # whatever a plug-in of somebody throws
            raise GenaudioError(f'The plug-in {link.path} does not load: {one_line(error)}') from None
        if link.state:
            try:
                plugin.raw_state = link.state
            except Exception as error:
                on_notice(f'The plug-in {link.path} does not take the state that was kept: {one_line(error)}')
        known = set(plugin.parameters)
    for name, value in link.parameters.items():
        set_parameter(plugin, name, value, known)
    return plugin


class BadParameter(GenaudioError):
    """A parameter that an effect does not have, or a value that it refuses."""


def parameter_names(plugin: Any) -> set[str]:
    """Return the names of what can be set on an effect."""
    parameters = getattr(plugin, 'parameters', None)
    return set(parameters) if parameters is not None else {
        n for n in dir(type(plugin))
        if isinstance(getattr(type(plugin), n), property) and n not in ('is_effect', 'is_instrument')
    }  # fmt: skip


def set_parameter(plugin: Any, name: str, value: float | str | bool | Share, known: set[str] | None = None) -> Any:
    """Set a parameter by name; pedalboard itself accepts any name in silence. Return the value that it has now.

    Raises
    ------
    BadParameter
        If there is none of this name, or the value is out of its range.
    """
    if known is None:
        known = parameter_names(plugin)
    if name not in known:
        raise BadParameter(
            f"{_name(plugin)} has no parameter '{name}'.{did_you_mean(name, known)} It has: {', '.join(sorted(known))}."
        )
    number = value.share if isinstance(value, Share) else value
    if isinstance(number, float) and not math.isfinite(number):
        raise BadParameter(f"{_name(plugin)}: '{name}' cannot be {number}; give a number.")
    try:
        if isinstance(value, Share):
            plugin.parameters[name].raw_value = value.share
            now = getattr(plugin, name)  # a type of pedalboard's own
            return float(now) if isinstance(now, float) else str(now) if isinstance(now, str) else bool(now)
        setattr(plugin, name, value)
        return value
    except TypeError:  # what pybind11 says of it takes six lines
        raise BadParameter(f"{_name(plugin)}: '{name}' cannot be {number}; it is of another kind.") from None
    except Exception as error:
        raise BadParameter(f"{_name(plugin)}: '{name}' cannot be {number}: {one_line(error)}") from None


def _name(plugin: Any) -> str:
    return getattr(plugin, 'name', None) or type(plugin).__name__


def moves_latency(name: str) -> bool:
    """Whether setting the parameter of this name may change how many samples a built-in effect holds back."""
    return name in _MOVES_LATENCY


class EffectFault(Exception):
    """An effect misbehaved while sound went through it.

    Attributes
    ----------
    index : int
        Which of the chain.
    """

    def __init__(self, index: int, text: str) -> None:
        super().__init__(text)
        self.index = index


class Chain:
    """The effects of one output pair, block by block.

    Parameters
    ----------
    on_link
        Loads one: ``on_link(index, link)``; None leaves it out.
    on_effect
        Told the index of each effect before it gets sound, and None afterwards: who is to blame for a crash.

    Attributes
    ----------
    board : pedalboard.Pedalboard
        The effects that play.
    latency : int
        Samples that they hold back.

    Raises
    ------
    EffectFault
        If an effect misbehaves while the latency is measured.
    """

    def __init__(
        self, links: Sequence[Link], sample_rate: int,
        on_link: Callable[[int, Link], Any] = lambda index, link: load_link(link),
        on_effect: Callable[[int | None], None] = lambda index: None,
    ):  # fmt: skip
        self.sample_rate, self._on_effect = sample_rate, on_effect
        self.plugins = [None if link.left_out else on_link(i, link) for i, link in enumerate(links)]
        self.assemble()

    def assemble(self) -> None:
        """Make the chain of `plugins`, those that are None left out, and measure it anew."""
        import pedalboard as package

        pedalboard: Any = package
        self.board = pedalboard.Pedalboard([plugin for plugin in self.plugins if plugin is not None])
        self._numbers = [i for i, plugin in enumerate(self.plugins) if plugin is not None]  # by place in the board
        self.guards: dict[int, FiniteGuard] = {}
        # Some tell by the whole what they hold back, some only block by block.
        self.latency = max(self._held([MEASURED]), self._blockwise_latency())
        self._told_latency = self._reported()  # some know it only once they have run
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self.board.reset()
        self._taken = self._given = 0

    def _blockwise_latency(self) -> int:
        return self._held([CHUNK] * (MEASURED // CHUNK))

    def _held(self, sizes: Sequence[int]) -> int:
        self.reset()
        return sum(sizes) - sum(self.process(np.zeros((2, size), np.float32)).shape[1] for size in sizes)

    def _reported(self) -> list[int]:
        return [int(getattr(plugin, 'reported_latency_samples', 0) or 0) for plugin in self.board]

    @property
    def has_moved(self) -> bool:
        """Whether the effects hold back more or less than when they were measured. Not in the audio thread."""
        return self._reported() != self._told_latency or self._taken - self._given > self.latency + MEASURED // 2

    @property
    def silenced(self) -> int:
        """Blocks of effects with values that are not numbers, which became silence."""
        return sum(guard.blocks for guard in self.guards.values())

    def process(self, block: np.ndarray, buffer_size: int = CHUNK) -> np.ndarray:
        """Take samples (2, n); return the samples that are finished, (2, m), fewer at first, all of them finite.

        Raises
        ------
        EffectFault
            If an effect throws, returns something else than sound, or has returned no numbers for `NO_NUMBERS`.
        """
        self._taken += block.shape[1]
        sound = np.ascontiguousarray(block)
        for position, plugin in enumerate(self.board):
            if not sound.shape[1]:
                break
            index = self._numbers[position] if position < len(self._numbers) else len(self.plugins)
            self._on_effect(index)
            try:
                made = plugin(sound, self.sample_rate, buffer_size=buffer_size, reset=False)
            except Exception as error:
                raise EffectFault(index, f'{_name(plugin)} failed: {one_line(error)}') from None
            sound = self._checked(index, plugin, made)
        self._on_effect(None)
        self._given += sound.shape[1]
        return sound

    def _checked(self, index: int, plugin: Any, made: Any) -> np.ndarray:
        if not isinstance(made, np.ndarray) or made.dtype.kind not in 'fiu' or made.ndim not in (1, 2) or not len(made):
            what = f'an array of shape {made.shape}' if isinstance(made, np.ndarray) else type(made).__name__
            raise EffectFault(index, f'{_name(plugin)} returned {what} instead of sound.')
        with np.errstate(over='ignore'):  # too large for 32 bits is infinite, and found below
            made = np.atleast_2d(np.asarray(made, np.float32))
        if made.shape[0] != 2:  # one channel for both; of more the first two
            made = np.repeat(made, 2, axis=0) if made.shape[0] == 1 else made[:2]
        made = np.require(made, np.float32, ('C', 'W'))
        guard = self.guards.get(index)
        if guard is None:
            guard = self.guards[index] = FiniteGuard()
        guard(made)
        if guard.in_a_row > NO_NUMBERS * self.sample_rate:
            raise EffectFault(index, f'{_name(plugin)} returned nothing but NaN or infinity for {NO_NUMBERS:g} s.')
        return made
