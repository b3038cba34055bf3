"""Real-time threads: where the system agrees, for the thread that asked and no other; elsewhere nothing happens."""

import os
import threading

import pytest

from bridge.system import real_time

needs_scheduler = pytest.mark.skipif(not hasattr(os, 'sched_getscheduler'), reason='the system has no such scheduler')


@needs_scheduler
def test_only_the_thread_that_asked_is_in_real_time():
    found = {}

    def child() -> None:
        found['child'] = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK

    with real_time.in_real_time() as agreed:
        inside = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
        thread = threading.Thread(target=child)
        thread.start()
        thread.join()
    assert inside == (os.SCHED_FIFO if agreed else os.SCHED_OTHER)
    assert found['child'] == os.SCHED_OTHER  # the engine must never inherit it
    assert os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER


@needs_scheduler
def test_where_it_is_forbidden_music_plays_all_the_same(monkeypatch):
    def refuse(*_):
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(os, 'sched_setscheduler', refuse)
    monkeypatch.setattr(os, 'setpriority', refuse)
    real_time.raise_priority(-15)
    with real_time.in_real_time() as agreed:
        assert not agreed
    assert not real_time.may_be_real_time()
