"""What the view shows of a session, as a plain dictionary that goes through a pipe."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.live.session import Session


def snapshot(session: Session) -> dict[str, Any]:
    """Return figures and settings of `session`, as of now. For the session's thread."""
    now = session.clock.now()
    transport = session.transport
    beat, bar = transport.beat_at(now), transport.bar
    return {
        'rolling': transport.rolling,
        'leader': transport.leader.name,
        'bar': math.floor(beat / bar) + 1, 'beat': beat % bar + 1, 'tempo': transport.tempo,
        'mode': session.preset['player.mode'], 'state': session.mode.state, 'preset': session.preset.name,
        'values': dict(session.preset.values), 'controllers': dict(session.controllers.bound),
        'heard': session.listener.n_heard, 'held': session.listener.n_held,
        'planned': len(session.scheduler.planned()), 'played': session.scheduler.played,
        'sounding': session.sender.sounding.count(),
        'missed': session.missed, 'units': session.units, 'late': session.scheduler.late,
        'asked_again': session.scheduler.asked_again, 'by_rule': session.scheduler.by_rule,
        'stood_in': session.contract.stood_in, 'silent_bars': session.contract.silent,
        'handover_ms': 1000 * session.handovers[-1] if session.handovers else None,
        'ready_ms': _ready_ms(session, now),
        'engine': 'ready' if session.engine.ready else 'starting', 'restarts': session.engine.restarts,
        'engine_stats': session.engine.stats, 'bad_bytes': session.bad_bytes,
        'takes': session.takes.describe(),
    }  # fmt: skip


def _ready_ms(session: Session, now: float) -> float | None:
    """How far ahead of the clock the plan is covered, in milliseconds."""
    if not session.answers or not session.transport.rolling:
        return None
    return 1000 * (session.transport.time_at(max(answer.covered for answer in session.answers)) - now)
