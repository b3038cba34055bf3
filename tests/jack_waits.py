"""Waiting in JACK's time: until so many frames are recorded, not until the machine's clock says so."""

import time


def record_until(recorder, frame, seconds=60.0):
    """Wait until `recorder` (a `jack_server.Recorder`) has heard the sample before `frame`."""
    end = time.monotonic() + seconds
    while not recorder.blocks or recorder.blocks[-1][0] + len(recorder.blocks[-1][1]) < frame:
        assert time.monotonic() < end, 'JACK stands still'
        time.sleep(0.01)
