"""The settings of live isolation, kept in a file for the next time."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bridge.settings.effects_table import Chains
from bridge.settings.stems_preset import StemsPreset
from bridge.stems.knobs import Knobs
from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write


def save_state(path: str | Path, knobs: Knobs) -> str | None:
    """Write what was turned; return a line to tell where the plug-ins did not give theirs.

    Raises
    ------
    GenaudioError
        If the file cannot be written.
    """
    names, words = knobs.names, getattr(knobs.controls, 'names', None)
    turned = knobs.controls.mix.knobs(names) | {'low_latency': knobs.controls.host.low_latency}
    settings = {name: str(value) if name.startswith('gain.') else value for name, value in turned.items()}  # -inf
    effects: dict[str, list[dict[str, Any]]] = {}
    told, chains, states = None, knobs.plugins.chains if knobs.plugins else {}, {}
    if knobs.plugins:
        try:
            states = knobs.plugins.save_state()
            chains = knobs.plugins.chains  # what was just turned has arrived before the states
        except GenaudioError as error:
            told = f'{error} Their parameters are saved as they were last set.'
    for pair, links in chains.items():
        own = states.get(pair, [b''] * len(links))
        effects[names[pair]] = [
            {'effect': link.effect, 'plugin': link.path, 'parameters': dict(link.parameters),
             'state': base64.b64encode(raw or link.state).decode()}
            for link, raw in zip(links, own, strict=True)
        ]  # fmt: skip
    try:
        with atomic_write(path) as unfinished:
            content = {'genaudio_stems': 1, 'queries': words, 'settings': settings, 'effects': effects}
            Path(unfinished).write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
    except OSError as error:
        raise GenaudioError(f'The state is not saved: {path} cannot be written ({error.strerror}).') from error
    return told


def restore(preset: StemsPreset, path: str | Path, notify: Callable[[str], None]) -> StemsPreset:
    """Return `preset` as `save_state` left it. What it has no more is left out, and told.

    Raises
    ------
    GenaudioError
        If the file is none of ours. One that is not there yet is not an error.
    """
    try:
        kept = json.loads(Path(path).read_text(encoding='utf-8'))
        settings, effects = dict(kept['settings']), dict(kept['effects'])
        words = kept.get('queries')
    except FileNotFoundError:
        return preset
    except OSError as error:
        raise GenaudioError(f'Cannot read {path}: {error.strerror}.') from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise GenaudioError(f'{path} is not a saved state of live isolation. Give another, or delete it.') from None
    gone = []
    if isinstance(words, list) and len(words) == len(preset.queries):
        for i, text in enumerate(words):
            if isinstance(text, str) and text.strip() and text != preset.queries[i]:
                notify(f'Stem {i + 1} is {text} instead of {preset.queries[i]}, as it was saved in {path}.')
                preset = preset.with_query(i, text)
    for key, value in settings.items():
        try:
            preset = preset.with_setting(key, value)
        except GenaudioError:
            gone.append(key)
    chains: Chains = dict(preset.chains)
    for name, items in effects.items():
        pair = preset.names.index(name) if name in preset.names else -1
        links = list(chains.get(pair, ()))
        for i, item in enumerate(items if isinstance(items, list) else []):
            try:
                link = links[i]
                if (link.effect, link.path) != (item['effect'], item['plugin']):
                    raise KeyError(name)
                state = base64.b64decode(item['state'], validate=True)
                links[i] = replace(link, parameters={**link.parameters, **item['parameters']}, state=state)
            except (IndexError, KeyError, ValueError, TypeError):
                gone.append(f'effect.{name}.{i + 1}')
        if pair >= 0 and links:
            chains[pair] = tuple(links)
    if gone:
        notify(f'{path}: this preset no longer has {", ".join(gone)}; left out.')
    return replace(preset, chains=chains)
