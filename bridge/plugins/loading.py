"""Built-in effects and plug-ins loaded, and their parameters set.

pedalboard (GPLv3) is imported in here, when the first effect is loaded.
"""

import math
from collections.abc import Callable
from typing import Any

from bridge.settings.effects_table import EffectSpec, Share, check_link
from genaudio_core.errors import GenaudioError, did_you_mean, one_line

_NOT_EFFECTS = {
    'Plugin', 'PluginContainer', 'Pedalboard', 'Chain', 'Mix', 'ExternalPlugin', 'VST3Plugin', 'AudioUnitPlugin',
    'Convolution', 'IIRFilter', '_klass',  # they cannot be made without more than parameters
}  # fmt: skip


def load_link(link: EffectSpec, on_notice: Callable[[str], None] = lambda text: None) -> Any:
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
            raise GenaudioError(f"The effect '{link.effect}' cannot be created: {one_line(error)}") from None
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
            raise GenaudioError(f'The plug-in {link.path} cannot be loaded: {one_line(error)}') from None
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
            f"{plugin_name(plugin)} has no parameter '{name}'.{did_you_mean(name, known)}"
            f' It has: {", ".join(sorted(known))}.'
        )
    number = value.share if isinstance(value, Share) else value
    if isinstance(number, float) and not math.isfinite(number):
        raise BadParameter(f"{plugin_name(plugin)}: '{name}' cannot be {number}; give a number.")
    try:
        if isinstance(value, Share):
            plugin.parameters[name].raw_value = value.share
            now = getattr(plugin, name)  # a type of pedalboard's own
            return float(now) if isinstance(now, float) else str(now) if isinstance(now, str) else bool(now)
        setattr(plugin, name, value)
        return value
    except TypeError:  # what pybind11 says of it takes six lines
        raise BadParameter(f"{plugin_name(plugin)}: '{name}' cannot be {number}; it is of another kind.") from None
    except Exception as error:
        raise BadParameter(f"{plugin_name(plugin)}: '{name}' cannot be {number}: {one_line(error)}") from None


def plugin_name(plugin: Any) -> str:
    """The plug-in's own name, else the name of its class."""
    return getattr(plugin, 'name', None) or type(plugin).__name__
