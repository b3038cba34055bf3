"""Messages to a band, or to stems, from outside, in one form for all senders.

OSC, the panel and keys all make such a mapping, with one verb and what belongs to it::

    {'set': 'music.density', 'value': 0.3}    a setting by its full or short name, or a knob of stems
    {'command': 'panic'}                      one of `parameters.COMMANDS`
    {'learn': 'density'}                      the next controller that is moved moves it
    {'take': 2}                               go to this take of the last answer, counted from 1
    {'again': 'bass', 'bar': 12}              have a part, or 'all', composed again in this bar; without, in all to come
    {'preset': 'duet'}                        play on with a preset that is bundled, or one's own
    {'save': 'my duet'}                       write it as it stands now into the folder of one's own
    {'pad': 36, 'file': 'takes/snare.wav'}    a sound file onto a pad
    {'query': 'violin', 'stem': 1}            stems: what the first one is to be, from now on

`checked` is the guard where they come in: a wrong one is one line for the person. Whether a name means anything is
for who takes it to say.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from genaudio_core.errors import GenaudioError, did_you_mean

LONGEST = 1024  # characters of a name or a text; the path of a file is one
LARGEST = 1e12  # no setting has larger numbers
SHOWN = 60  # characters of a wrong message that a line repeats
_NUMBER = re.compile(r'-?\d{1,9}', re.ASCII)
_TEXT, _COUNT, _ANY = 'a text', 'a whole number', 'a number, a text, true or false'
VERBS: dict[str, dict[str, str]] = {
    'set': {'set': _TEXT, 'value': _ANY},
    'command': {'command': _TEXT},
    'learn': {'learn': _TEXT},
    'take': {'take': _COUNT},
    'again': {'again': _TEXT, 'bar': _COUNT},
    'preset': {'preset': _TEXT},
    'save': {'save': _TEXT},
    'pad': {'pad': _COUNT, 'file': _TEXT},
    'query': {'query': _TEXT, 'stem': _COUNT},
}
"""verb -> its fields and what they hold."""
MAY_LACK = ('bar',)  # fields that need not be there
EVERY = 'all'  # instead of a part: every one


def checked(message: Any) -> dict[str, Any]:
    """Return a message that is of one of the forms above.

    Raises
    ------
    GenaudioError
        If it is not; one line that says what is right.
    """
    if not isinstance(message, Mapping) or not all(isinstance(key, str) for key in message):
        raise GenaudioError(f'{shown(message)} is not a message: give a verb, such as "command", with its arguments.')
    verbs = [verb for verb in VERBS if verb in message]
    if len(verbs) != 1:
        hint = next((hint for key in message if (hint := did_you_mean(key, VERBS))), '')
        raise GenaudioError(f'{shown(message)} must have one verb of {", ".join(VERBS)}.{hint}')
    fields = VERBS[verbs[0]]
    if not set(fields) - {*MAY_LACK} <= set(message) <= set(fields):
        raise GenaudioError(f'{shown(message)}: "{verbs[0]}" takes {" and ".join(fields)}, and nothing else.')
    for name, value in message.items():
        if not _is(fields[name], value):
            raise GenaudioError(f'{shown(message)}: {name} must be {fields[name]}.')
        check_text(value)
    return dict(message)


def from_line(line: str) -> dict[str, Any]:
    """Return what a typed line means: ``set density 0.3``, ``save my duet``, ``take 2``; or a command: ``panic``.

    Raises
    ------
    GenaudioError
        If it is none.
    """
    verb, *rest = line.split(maxsplit=1)
    fields = VERBS.get(verb)
    if fields is None:
        return checked({'command': verb} if not rest else {verb: rest[0]})
    values = rest[0].split(maxsplit=len(fields) - 1) if rest else []
    pairs = zip(fields.items(), values, strict=False)
    return checked(
        {name: int(text) if what == _COUNT and _NUMBER.fullmatch(text) else text for (name, what), text in pairs}
    )


def check_text(value: Any) -> None:
    """Refuse a text that a terminal would obey, or that is endless.

    Raises
    ------
    GenaudioError
        If it is one.
    """
    if isinstance(value, str) and not (value.isprintable() and len(value) <= LONGEST):
        raise GenaudioError(f'{shown(value)}: names and texts are printable, {LONGEST} characters at most.')


def shown(value: Any) -> str:
    """A wrong message, for a line: short, and nothing in it that a terminal would obey."""
    text = ascii(value)
    return text if len(text) <= SHOWN else f'{text[:SHOWN]}...'


def _is(what: str, value: Any) -> bool:
    if isinstance(value, bool):
        return what == _ANY
    if isinstance(value, str):
        return what != _COUNT
    if not isinstance(value, int | float) or what == _TEXT:
        return False
    if isinstance(value, float) and not math.isfinite(value):
        return what == _ANY and value == -math.inf  # silence, of a level
    return abs(value) <= LARGEST and (what == _ANY or isinstance(value, int))
