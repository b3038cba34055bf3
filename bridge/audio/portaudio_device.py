"""PortAudio (sounddevice): CoreAudio, WASAPI, ASIO and ALSA devices.

Outputs go to as many channels as the device has: the monitor first, then stems and rest in pairs.
"""

import contextlib
import time
from typing import Any

import numpy as np

from bridge.audio.callback import AudioCore
from genaudio_core.errors import GenaudioError

RETRY = 1.0  # seconds between attempts to find a device that went away


def import_sounddevice() -> Any:
    """Return the module sounddevice.

    Raises
    ------
    GenaudioError
        If it, or the PortAudio library, is missing.
    """
    import os

    os.environ.setdefault('SD_ENABLE_ASIO', '1')  # read when it is imported; Windows only
    try:
        import sounddevice
    except ModuleNotFoundError:
        raise GenaudioError("Audio devices need the package 'sounddevice': pip install 'genaudio[live]'") from None
    except OSError as error:
        raise GenaudioError(f'PortAudio is missing on this system ({error}): apt-get install libportaudio2') from None
    return sounddevice


def find_device(query: str | None, sd: Any = None) -> dict[str, Any]:
    """Return the one device with inputs and outputs whose name contains `query`; the default one without.

    Raises
    ------
    GenaudioError
        If none or several match; what there is is listed.
    """
    sd = sd or import_sounddevice()
    devices = [dict(device, index=i) for i, device in enumerate(sd.query_devices())]
    usable = [d for d in devices if d['max_input_channels'] > 0 and d['max_output_channels'] > 1]
    lines = [f'  {d["name"]} ({d["max_input_channels"]} in, {d["max_output_channels"]} out)' for d in devices]
    listing = '\n'.join(lines)
    if not usable:
        there = f' There are:\n{listing}' if listing else ' There are none.'
        raise GenaudioError('No audio device has an input and two outputs.' + there)
    if query is None:
        default = sd.default.device
        return next((d for d in usable if d['index'] in tuple(default)), usable[0])
    found = [d for d in usable if query.lower() in d['name'].lower()]
    exact = [d for d in found if d['name'].lower() == query.lower()]
    if len(exact or found) != 1:
        problem = 'No audio device matches' if not found else 'Several audio devices match'
        raise GenaudioError(f"{problem} '{query}'. Available:\n{listing}")
    return (exact or found)[0]


def choose_channels(available: int, wanted: str | None) -> list[int]:
    """Return the two input channels to listen to, counted from 0; one twice for mono.

    Parameters
    ----------
    available
        Inputs that the device has.
    wanted
        Such as '3,4' or '1', counted from 1; None takes the first two, or the only one.

    Raises
    ------
    GenaudioError
        If the device has no such channels.
    """
    if wanted is None:
        return [0, min(1, available - 1)]
    try:
        numbers = [int(part) for part in wanted.split(',')]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or any(not 1 <= n <= available for n in numbers):
        raise GenaudioError(
            f"`input_channels` takes one or two of 1 to {available}, such as '1,2', not '{wanted}' "
            f'(the device has {available} input channels).'
        )
    return [numbers[0] - 1, numbers[-1] - 1]


class PortAudio:
    """A PortAudio stream around an `AudioCore`.

    Parameters
    ----------
    core
        What the callback calls.
    device
        From `find_device`.
    channels
        Two input channels, from `choose_channels`.
    n_outputs
        Channels that the core fills; the last pair is the monitor.
    """

    def __init__(self, core: AudioCore, device: dict[str, Any], channels: list[int], n_outputs: int, sd: Any = None):
        self.sd = sd or import_sounddevice()
        self.core, self.device, self.channels = core, device, channels
        self._n_outputs = n_outputs
        self._make_room(core.block)
        used = min(int(device['max_output_channels']) // 2 * 2, n_outputs)
        # Monitor first: with a two-channel device that is what is heard.
        self._order = [n_outputs - 2, n_outputs - 1, *range(n_outputs - 2)][:used]
        self.lost = False
        self._retry_at = 0.0
        self.stream: Any = None
        self._open()

    def _make_room(self, n: int) -> None:
        self._in = np.zeros((2, n), np.float32)
        self._out = np.zeros((self._n_outputs, n), np.float32)

    def _open(self) -> None:
        core = self.core
        try:
            self.stream = self.sd.Stream(
                samplerate=core.sample_rate, blocksize=core.block, dtype='float32', latency='low',
                device=(self.device['index'], self.device['index']),
                channels=(max(self.channels) + 1, len(self._order)), callback=self._callback,
            )  # fmt: skip
        except Exception as error:
            raise GenaudioError(
                f"The device '{self.device['name']}' cannot be opened at {core.sample_rate} Hz with "
                f'{max(self.channels) + 1} in and {len(self._order)} out: {error}'
            ) from None

    @property
    def device_latency(self) -> float:
        """Seconds that the device itself adds, by its own account."""
        return float(sum(self.stream.latency))

    @property
    def faults(self) -> int:
        """Blocks of silence because the callback failed."""
        return self.core.counts.faults

    def start(self) -> None:
        """Begin to play."""
        self.stream.start()

    def _callback(self, indata: np.ndarray, outdata: np.ndarray, frames: int, time_info: Any, status: Any) -> None:
        try:
            self.core.counts.device_xruns += bool(status)
            if frames > self._in.shape[1]:
                self._make_room(frames)
            inputs, out = self._in[:, :frames], self._out[:, :frames]
            inputs[0], inputs[1] = indata[:, self.channels[0]], indata[:, self.channels[1]]
            self.core.process(inputs, out)
            for i, channel in enumerate(self._order):
                outdata[:, i] = out[channel]
        except Exception:  # an exception would stop the stream; a block of silence is the lesser evil
            self.core.counts.faults += 1
            outdata.fill(0)

    def poll(self) -> str | None:
        """Look whether the device is there; return a line to tell when that changed."""
        if not self.lost and self.stream.active:
            return None
        now = time.monotonic()
        if now < self._retry_at:
            return None
        first, self._retry_at = not self.lost, now + RETRY
        self.lost = True
        if first:
            self.core.counts.device_losses += 1
            with contextlib.suppress(Exception):
                self.stream.close(ignore_errors=True)
            return f"The device '{self.device['name']}' went away; waiting for it to come back."
        with contextlib.suppress(Exception):  # PortAudio lists devices only once; begin again to see new ones
            self.sd._terminate()
            self.sd._initialize()
        try:
            self.device = find_device(self.device['name'], self.sd)
            self._open()
            self.start()
        except Exception:
            return None
        self.lost = False
        return f"The device '{self.device['name']}' is back."

    def close(self) -> None:
        """Stop the stream."""
        with contextlib.suppress(Exception):
            self.stream.close(ignore_errors=True)
