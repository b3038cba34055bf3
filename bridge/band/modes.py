"""How the band plays with you: one module per mode."""

from bridge.band.accompany import Accompany
from bridge.band.arrange import Arrange
from bridge.band.free import Free
from bridge.band.mode import Band, Mode
from bridge.band.respond import Respond
from bridge.band.take_over import TakeOver

MODES: dict[str, type] = {
    'respond': Respond,
    'take_over': TakeOver,
    'accompany': Accompany,
    'free': Free,
    'arrange': Arrange,
}

__all__ = ['MODES', 'Accompany', 'Arrange', 'Band', 'Free', 'Mode', 'Respond', 'TakeOver']
