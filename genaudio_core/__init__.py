"""What music and sound are, and the models that make and take apart both, as a library::

    import genaudio_core as ga

    model = ga.load('live')                                   # a bundled name, or the path of an .onnx file
    song = model.continue_('phrase.mid', beats=16, seed=1)    # also generate, accompany, infill
    song.save('song.mid')                                     # a Score: tracks of notes, in beats (quarter notes)

    stems = ga.separate('song.wav', ['drums', 'a flute'])     # {'drums': float32 (2, n_samples), ...}
    stems.save('stems')                                       # stems/drums.wav, stems/a-flute.wav
    snare = ga.synthesize('snare drum', seconds=1, seed=7)    # float32 (takes, n_samples) at 44.1 kHz
    ga.write_audio('snare.wav', snare[0], 44100)

The same input and seed give the same notes and samples as the command ``genaudio``. Nothing here needs torch.

* Scores: `read_midi`, `Score.save`, `Score`, `Track`, `Note`, `Tempo`, `Meter`. Times are in beats; `Score.seconds_at`
  and `Score.beat_at` are the bridge to seconds.
* Music: `load` gives a `MusicModel`, or an `Arranger`: ``ga.load('arranger').arrange('hymn.mid', 'flute, cello')``.
  Wishes are keyword arguments (``key='D minor'``, ``instruments='violin, cello'``,
  ``temperature=0.9``); `Controls` names them all.
* Sound: arrays are float32 (channels, n_samples), full scale 1; rates are in Hz. `read_audio`, `write_audio`;
  `AudioReader` and `AudioWriter` go block by block. `separate` and `Separator` are offline (any rate, any length);
  `StreamingSeparator` takes blocks as they come.
* Queries: words, recordings or a mix become one vector: `QueryEncoder`, `Query`, `morph`.
* What goes wrong is a `GenaudioError`, one line that says what to do. What a person should know is logged to the logger
  'genaudio_core'; without any set-up it appears on stderr.

A band that plays live is the package `bridge`; training (with torch) is ``genaudio_core.training``; ``examples/`` holds
whole programs. Public names are loaded when they are first used, so that importing the package costs nothing.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

__version__ = '0.2.0'

_PUBLIC = {
    'genaudio_core.sound.audio_files': ('AudioReader', 'AudioWriter', 'read_audio', 'write_audio'),
    'genaudio_core.errors': ('GenaudioError',),
    'genaudio_core.library.calls': ('Stems', 'bundled_models', 'load', 'separate', 'synthesize'),
    'genaudio_core.library.arranger': ('Arranger',),
    'genaudio_core.library.music_model': ('MusicModel',),
    'genaudio_core.query.encoder': ('QueryEncoder',),
    'genaudio_core.query.vector': ('Query', 'morph'),
    'genaudio_core.continuation.sampling': ('Controls',),
    'genaudio_core.score.notes': ('Meter', 'Note', 'Score', 'Tempo', 'Track'),
    'genaudio_core.score.reading': ('read_midi', 'write_midi'),
    'genaudio_core.separation.offline': ('Separator',),
    'genaudio_core.separation.streaming': ('MaskNetwork', 'StreamingSeparator'),
    'genaudio_core.synthesis.synthesizer': ('Synthesizer',),
}


def lazily(package: str, public: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package that loads its public names when they are first used.

    Parameters
    ----------
    package
        Its ``__name__``.
    public
        Module (whole name, or the name inside the package) -> names. They become ``__all__`` where the package has
        none.
    """
    where = {
        name: module if '.' in module else f'{package}.{module}' for module, names in public.items() for name in names
    }
    scope = vars(sys.modules[package])
    scope.setdefault('__all__', sorted(where))

    def get(name: str) -> Any:
        if name not in where:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        value = scope[name] = getattr(importlib.import_module(where[name]), name)
        return value

    return get, lambda: sorted({*scope, *scope['__all__']})


__all__ = [
    'Arranger',
    'AudioReader',
    'AudioWriter',
    'Controls',
    'GenaudioError',
    'MaskNetwork',
    'Meter',
    'MusicModel',
    'Note',
    'Query',
    'QueryEncoder',
    'Score',
    'Separator',
    'Stems',
    'StreamingSeparator',
    'Synthesizer',
    'Tempo',
    'Track',
    '__version__',
    'bundled_models',
    'load',
    'morph',
    'read_audio',
    'read_midi',
    'separate',
    'synthesize',
    'write_audio',
    'write_midi',
]

if TYPE_CHECKING:  # what `__getattr__` finds, for type checkers and editors
    from genaudio_core.continuation.sampling import Controls
    from genaudio_core.errors import GenaudioError
    from genaudio_core.library.arranger import Arranger
    from genaudio_core.library.calls import Stems, bundled_models, load, separate, synthesize
    from genaudio_core.library.music_model import MusicModel
    from genaudio_core.query.encoder import QueryEncoder
    from genaudio_core.query.vector import Query, morph
    from genaudio_core.score.notes import Meter, Note, Score, Tempo, Track
    from genaudio_core.score.reading import read_midi, write_midi
    from genaudio_core.separation.offline import Separator
    from genaudio_core.separation.streaming import MaskNetwork, StreamingSeparator
    from genaudio_core.sound.audio_files import AudioReader, AudioWriter, read_audio, write_audio
    from genaudio_core.synthesis.synthesizer import Synthesizer

__getattr__, __dir__ = lazily(__name__, _PUBLIC)
