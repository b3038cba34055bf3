"""``genaudio devices``: every port this machine has."""

import argparse
from typing import Any

from bridge.midi.rtmidi_library import midi_library
from bridge.midi.rtmidi_ports import list_ports
from bridge.system.jack_client import is_running, jack_ports

HELP = 'list MIDI and audio ports'
EXAMPLE = 'genaudio devices --json'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def audio_devices() -> list[dict[str, Any]]:
    """The devices that PortAudio sees; empty without the package sounddevice or without a sound system."""
    try:
        import sounddevice

        return [
            {
                'name': device['name'],
                'inputs': device['max_input_channels'],
                'outputs': device['max_output_channels'],
                'sample_rate': device['default_samplerate'],
            }
            for device in sounddevice.query_devices()
        ]
    except (ImportError, OSError):  # OSError: the PortAudio library is missing
        return []
    except Exception as error:  # PortAudioError, known only once sounddevice is there
        return [{'name': f'PortAudio does not start: {error}', 'inputs': 0, 'outputs': 0, 'sample_rate': 0}]


def run(args: argparse.Namespace) -> dict[str, Any]:
    inputs, outputs = list_ports()
    found: dict[str, Any] = {'midi_systems': midi_library().systems, 'midi_inputs': inputs, 'midi_outputs': outputs}
    if is_running():
        found['jack'] = jack_ports()
    found['audio'] = audio_devices()
    return found
