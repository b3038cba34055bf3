"""A band that a panel shows, with two takes of its answer."""

import pytest
from panel_stage import PanelStage


@pytest.fixture(scope='module')
def band():
    one = PanelStage(music__takes=2)
    one.play(9)
    yield one
    one.close()
