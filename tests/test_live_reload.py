"""A preset that is reloaded while the music plays keeps what its plug-in delays."""

import types

from live_band import preset

from bridge.commands.live import _Instrument


def test_the_delay_of_the_instrument_is_still_made_up_for_after_a_reload(monkeypatch):
    sent = []
    instrument = object.__new__(_Instrument)
    instrument.latency, instrument.ready = 0.040, True
    instrument._supervisor = types.SimpleNamespace(send=lambda **message: sent.append(message))  # type: ignore
    instrument.instrument = types.SimpleNamespace(plugin=types.SimpleNamespace(name='Synth.vst3'))  # type: ignore
    monkeypatch.setattr('bridge.instrument.InstrumentProcess.poll', lambda self: [])
    wanted = [{'set': 'transport.latency_ms', 'value': 45.0}]
    instrument.preset = preset(transport__latency_ms=5.0)
    assert len(instrument.poll()) == 1 and sent == wanted
    instrument.poll()
    assert sent == wanted  # once is enough
    instrument.preset = preset(transport__latency_ms=5.0, music__temperature=0.7)
    assert instrument.poll() == [] and sent == 2 * wanted  # the person knows already
