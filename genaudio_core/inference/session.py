"""Starting a model file on this machine: check it, choose a provider, say which.

Loading never runs code of the file: only .onnx is read, no custom-operator library is ever registered, and the bytes
that were hashed are the bytes that the runtime gets.
"""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import onnxruntime

from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.inference.model_card import ModelCard, nan_weight, read_model

_log = logging.getLogger(__name__)

PROVIDERS = {
    'cuda': 'CUDAExecutionProvider',
    'coreml': 'CoreMLExecutionProvider',
    'directml': 'DmlExecutionProvider',
    'cpu': 'CPUExecutionProvider',
}
"""What a person asks for -> what onnxruntime calls it, in order of preference."""

_DEVICES = {'cuda': 'cuda', 'directml': 'dml'}  # where buffers live; CoreML and CPU use ordinary memory


@dataclass(frozen=True)
class LoadedModel:
    """A started model."""

    path: Path
    card: ModelCard
    session: onnxruntime.InferenceSession
    provider: str  # key of PROVIDERS that really started
    notices: tuple[str, ...] = field(default=())  # what the person was told

    @property
    def device(self) -> str:
        """Device name for ``onnxruntime.OrtValue``."""
        return _DEVICES.get(self.provider, 'cpu')


def available_providers() -> list[str]:
    """Names of the providers that this onnxruntime has, best first. Having one does not mean that it starts."""
    present = set(onnxruntime.get_available_providers())
    return [name for name, full in PROVIDERS.items() if full in present]


def choose_providers(asked: str, card: ModelCard, available: list[str]) -> tuple[list[str], str]:
    """Providers to try in order, CPU last, and a notice (or an empty string).

    ``'auto'`` takes what the file was made for: a file for the CPU (int8 or fp32) is not faster elsewhere at one event
    or one block at a time, so an accelerator is used where the card's target is one, or where it is asked for.

    Raises
    ------
    GenaudioError
        If `asked` is no provider.
    """
    if asked == 'auto':
        accelerators = [name for name in available if name != 'cpu'] if card.target != 'cpu' else []
        return [*accelerators, 'cpu'], ''
    if asked not in PROVIDERS:
        names = ', '.join(['auto', *PROVIDERS])
        raise GenaudioError(f"Unknown provider '{asked}'.{did_you_mean(asked, PROVIDERS)} There are: {names}.")
    if asked not in available:
        return ['cpu'], f'{asked} is not in this onnxruntime (it has {", ".join(available)}); using cpu.'
    return ([asked] if asked == 'cpu' else [asked, 'cpu']), ''


def session_options(
    threads: int = 1, *, flush_denormals: bool = False, same_sizes: bool = False
) -> onnxruntime.SessionOptions:
    """Options for live use: no spinning threads, no waiting on others, quiet.

    Parameters
    ----------
    threads : int
        Threads for one operator. One is best for small models, and leaves the other cores to the rest of the band.
    flush_denormals : bool
        Treat denormal numbers as zero, for recurrent audio models whose state decays in silence. This changes the
        floating-point mode of the thread that makes the session.
    same_sizes : bool
        Every call has the sizes of the one before, so that its memory can be planned once.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_mem_pattern = same_sizes  # where sizes differ from call to call it would be planned anew for each
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    options.add_session_config_entry('session.inter_op.allow_spinning', '0')
    if flush_denormals:
        options.add_session_config_entry('session.set_denormal_as_zero', '1')
    # Errors reach the person as one line of ours; the runtime's own log would only repeat them in colour.
    options.log_severity_level = 4
    return options


def load_model(
    path: str | Path,
    kind: str | None = None,
    *,
    provider: str = 'auto',
    threads: int = 1,
    flush_denormals: bool = False,
    same_sizes: bool = False,
    on_notice: Callable[[str], None] = _log.warning,
) -> LoadedModel:
    """Check a model file and start it.

    Parameters
    ----------
    kind : str, optional
        The kind that is needed; see `ModelCard`.
    provider : str
        ``'auto'`` or a key of `PROVIDERS`. When it does not start, the next best is used and `on_notice` is told.
    threads, flush_denormals, same_sizes
        See `session_options`.

    Raises
    ------
    GenaudioError
        If the file is not a sound model of that kind, or no provider can run it.
    """
    model = read_model(path, kind)
    _check_runtime_version(model.path, model.card)
    if weight := nan_weight(model.data):
        raise GenaudioError(f"{path} has weights that are not numbers ('{weight}'): train and export the model again.")
    names, told = choose_providers(provider, model.card, available_providers())
    notices = [told] if told else []
    session, used, reason = None, names[0], ''
    for i, name in enumerate(names):
        try:
            options = session_options(threads, flush_denormals=flush_denormals, same_sizes=same_sizes)
            candidate = _start(model.data, name, options)
        except Exception as error:  # onnxruntime raises types of its own, which derive from Exception only
            reason = _one_line(error)
        else:
            # When a provider's libraries are missing, onnxruntime logs and quietly takes the CPU.
            if PROVIDERS[name] in candidate.get_providers():
                session, used = candidate, name
                break
            reason = 'its libraries are missing or no such device is present'
        if i + 1 < len(names):
            notices.append(f'{name} did not start ({reason}); using {names[i + 1]}.')
    if session is None:
        raise GenaudioError(f'{path} cannot be run by onnxruntime {onnxruntime.__version__}: {reason}')
    for text in notices:
        on_notice(text)
    return LoadedModel(model.path, model.card, session, used, tuple(notices))


@contextlib.contextmanager
def reading_card(path: str | Path) -> Iterator[None]:
    """Turn what is missing in a model's card, or makes no sense there, into one line.

    Raises
    ------
    GenaudioError
        Instead of the KeyError, TypeError or ValueError of the block.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        what = f'lacks {error}' if isinstance(error, KeyError) else f'cannot be used: {error}'
        raise GenaudioError(f'{path}: its model card {what}. Export the model again.') from error


def _start(data: bytes, provider: str, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    providers = [PROVIDERS[provider]]
    if provider != 'cpu':
        providers.append(PROVIDERS['cpu'])  # for single operators that the accelerator lacks
    _preload(provider)
    return onnxruntime.InferenceSession(data, options, providers=providers)


@functools.cache
def _preload(provider: str) -> None:
    """Let onnxruntime find the CUDA libraries of an installed torch or nvidia wheel, without importing torch."""
    preload = getattr(onnxruntime, 'preload_dlls', None)
    if provider == 'cuda' and preload is not None:
        import io

        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            preload()  # prints its failures; whether CUDA starts is checked on the session


def _check_runtime_version(path: Path, card: ModelCard) -> None:
    needed = str(card.details.get('needs_onnxruntime', '0'))
    if _version(onnxruntime.__version__) < _version(needed):
        raise GenaudioError(
            f'{path} needs onnxruntime {needed} or newer, and {onnxruntime.__version__} is installed. '
            'Update onnxruntime, or use the fp32 variant of the model.'
        )


def _version(text: str) -> tuple[int, ...]:
    numbers = []
    for part in text.split('.')[:3]:
        digits = ''.join(c for c in part if c.isdigit())
        numbers.append(int(digits or 0))
    return tuple(numbers)


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split())[:300] or type(error).__name__
