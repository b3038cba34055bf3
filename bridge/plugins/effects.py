"""One effect after another on a stem: built-in ones and plug-ins, loaded, set and run in the child process.

pedalboard (GPLv3) is imported in here, when the first effect is loaded. Effects are code of others: each is called by
itself, so that the one that throws, returns no numbers or returns something else than sound can be named.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bridge.audio.finite_guard import FiniteGuard
from bridge.plugins.loading import load_link, plugin_name
from bridge.settings.effects_table import EffectSpec
from genaudio_core.errors import one_line

CHUNK = 256  # samples at a time
MEASURED = 1 << 15  # samples of silence that tell a chain's latency
NO_NUMBERS = 1.0  # seconds of NaN or infinity after which an effect counts as broken
# Parameters of built-in effects that change how many samples they hold back.
_MOVES_LATENCY = {'lookahead_ms', 'true_peak', 'target_sample_rate', 'quality'}


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
        self, links: Sequence[EffectSpec], sample_rate: int,
        on_link: Callable[[int, EffectSpec], Any] = lambda index, link: load_link(link),
        on_effect: Callable[[int | None], None] = lambda index: None,
    ):  # fmt: skip
        self.sample_rate, self._on_effect = sample_rate, on_effect
        self.plugins = [None if link.left_out else on_link(i, link) for i, link in enumerate(links)]
        self.assemble()

    def assemble(self) -> None:
        """Make the chain of `plugins`, those that are None left out, and measure it again."""
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
                raise EffectFault(index, f'{plugin_name(plugin)} failed: {one_line(error)}') from None
            sound = self._checked(index, plugin, made)
        self._on_effect(None)
        self._given += sound.shape[1]
        return sound

    def _checked(self, index: int, plugin: Any, made: Any) -> np.ndarray:
        if not isinstance(made, np.ndarray) or made.dtype.kind not in 'fiu' or made.ndim not in (1, 2) or not len(made):
            what = f'an array of shape {made.shape}' if isinstance(made, np.ndarray) else type(made).__name__
            raise EffectFault(index, f'{plugin_name(plugin)} returned {what} instead of sound.')
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
            raise EffectFault(
                index, f'{plugin_name(plugin)} returned nothing but NaN or infinity for {NO_NUMBERS:g} s.'
            )
        return made
