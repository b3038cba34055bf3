"""The switch that keeps the processor awake: held while it should be, and never a reason not to play."""

from pathlib import Path

from bridge.system.cpu_wakeup import awake, may_keep_awake


def test_the_wish_is_written_and_held(tmp_path):
    device = tmp_path / 'cpu_dma_latency'
    device.write_bytes(b'')
    with awake(device) as agreed:
        assert agreed and device.read_bytes() == bytes(4)
        held = [handle for handle in Path('/proc/self/fd').iterdir() if handle.resolve() == device]
        assert len(held) == 1
    assert not [handle for handle in Path('/proc/self/fd').iterdir() if handle.resolve() == device]


def test_where_there_is_no_switch_nothing_happens(tmp_path):
    assert may_keep_awake(tmp_path / 'none') is None
    with awake(tmp_path / 'none') as agreed:
        assert not agreed
