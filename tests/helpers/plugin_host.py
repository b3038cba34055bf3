"""A host with effects on its stems."""

import pytest
from stream_models import random_model

from bridge.audio import callback
from bridge.stems.audio_host import AudioHost
from genaudio_core.separation.streaming import MaskNetwork

RATE = 48000


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setattr(callback, 'BOUNCE_WAIT', 60.0)  # a busy machine lets nobody run for seconds
    path = random_model()
    words = MaskNetwork.load(path).words('drums', 'bass')
    with AudioHost(str(path), words, sample_rate=RATE, block=256, margin_ms=0, realtime=False, standby=False) as made:
        made.core.waits = True
        yield made
