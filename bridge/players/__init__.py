"""How the band plays with you: one module a mode."""

from bridge.players.accompany import Accompany
from bridge.players.arrange import Arrange
from bridge.players.base import Band, Player
from bridge.players.free import Free
from bridge.players.respond import Respond
from bridge.players.take_over import TakeOver

PLAYERS: dict[str, type] = {
    'respond': Respond,
    'take_over': TakeOver,
    'accompany': Accompany,
    'free': Free,
    'arrange': Arrange,
}

__all__ = ['PLAYERS', 'Accompany', 'Arrange', 'Band', 'Free', 'Player', 'Respond', 'TakeOver']
