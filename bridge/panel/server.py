"""The process of the panel: pages and one WebSocket for each, behind a token.

It trusts nobody who comes in: `Host` must be this machine (a name that somebody has pointed here is refused), `Origin`
must be the page itself, the token of the link must be there; messages are small and not too many, and pages may load
nothing from elsewhere.
"""

import asyncio
import contextlib
import hmac
import ipaddress
import json
import os
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bridge.panel.board import Board
from genaudio_core.processes.child_process import begin
from genaudio_core.processes.child_watch import Heartbeat, send_now

PAGE = Path(__file__).parent / 'page'
TYPES = {'.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml'}
HEADERS = {
    'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                               "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    'Referrer-Policy': 'no-referrer', 'X-Content-Type-Options': 'nosniff', 'Cache-Control': 'no-store',
}  # fmt: skip
MAX_MESSAGE = 8192  # bytes; a longer one ends its socket
MAX_PAGES = 16  # at once
RATE, BURST = 100.0, 200.0  # messages of a page: a second, and at once. More have to wait, in the page's own network
BETWEEN = 0.04  # seconds between two messages to a page
FULL = 0.01  # seconds until the parent may take more
BEAT = 0.2  # seconds


@dataclass
class PanelSetup:
    """Set-up of the process, from its parent."""

    kind: str  # 'band' or 'stems'
    facts: dict[str, Any]
    token: str
    host: str
    port: int
    opens: bool = False  # there is a display: open the link


def is_us(host: str | None, setup: PanelSetup) -> bool:
    """Whether a Host header names this machine by an address, and not by a name that may lead anywhere."""
    if host is None:
        return False
    name, colon, port = host.rpartition(':')
    if not colon or port != str(setup.port):
        return False
    name = name.strip('[]').lower()
    if name in ('localhost', setup.host.lower()):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or setup.host in ('0.0.0.0', '::', '')


def is_our_page(origin: str | None, host: str | None) -> bool:
    """Whether what opens a socket is a page that came from here. Programs send no Origin: they have the token."""
    return origin is None or origin == f'http://{host}'


def make_app(setup: PanelSetup, board: Board, tell: Any) -> Any:
    """Return the ASGI application.

    Parameters
    ----------
    tell : callable
        ``tell(kind, value)`` to the parent; False where that was not possible.
    """
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    def may(connection: Request | WebSocket) -> bool:
        token = connection.query_params.get('token', '')
        return hmac.compare_digest(token.encode(), setup.token.encode())

    def file(name: str) -> Response:
        path = PAGE / name
        return Response(path.read_bytes(), media_type=TYPES[path.suffix], headers=HEADERS)

    def refused(why: str, status: int = 403) -> Response:
        return PlainTextResponse(f'{why}\n', status, headers=HEADERS)

    def stranger(request: Request, *, token: bool) -> Response | None:
        """What one hears who has not come by the link; pages without anything of the session ask for no `token`."""
        if not is_us(request.headers.get('host'), setup):
            return refused('Use the link that genaudio has printed.')
        if token and not may(request):
            return refused('The link that genaudio has printed has a token.')
        return None

    async def page(request: Request) -> Response:
        name = request.path_params.get('name', '')
        if (no := stranger(request, token=not name)) is not None:
            return no
        if name and name not in names:
            return refused('There is no such page.', 404)
        return file(name or 'index.html')

    def midi(request: Request) -> Response:  # in a thread of Starlette's
        if (no := stranger(request, token=True)) is not None:
            return no
        asked = [request.query_params.get(name, '') for name in ('answer', 'take')]
        take = board.take(int(asked[0]), int(asked[1])) if all(re.fullmatch(r'\d{1,9}', one) for one in asked) else None
        if take is None:
            return refused('There is no such take.', 404)
        name = f'genaudio-{take["answer"]}-take{take["number"] + 1}.mid'
        more = {'Content-Disposition': f'attachment; filename="{name}"'}
        return Response(midi_of(take), media_type='audio/midi', headers=HEADERS | more)

    names = {path.name for path in PAGE.iterdir() if path.suffix in TYPES}

    async def talk(socket: WebSocket) -> None:
        host, origin = socket.headers.get('host'), socket.headers.get('origin')
        if not (is_us(host, setup) and is_our_page(origin, host) and may(socket)) or len(board.pages) >= MAX_PAGES:
            await socket.close(1008)
            return
        await socket.accept()
        shown = board.open()
        jobs = [asyncio.ensure_future(_send(socket, shown)), asyncio.ensure_future(_hear(socket, tell))]
        try:
            await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        finally:
            board.close(shown)
            for job in jobs:
                job.cancel()
            for result in await asyncio.gather(*jobs, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(
                    result, (WebSocketDisconnect, RuntimeError, OSError)
                ):
                    tell('line', f'Panel: a page was let go ({type(result).__name__}: {result}).')

    return Starlette(
        routes=[Route('/', page), Route('/take.mid', midi), Route('/{name}', page), WebSocketRoute('/socket', talk)]
    )  # fmt: skip


def midi_of(take: Mapping[str, Any]) -> bytes:
    """A take of a board as a MIDI file, a track for each part, from its first bar line on."""
    from genaudio_core.score.notes import Meter, Note, Score, Tempo, Track
    from genaudio_core.score.reading import midi_bytes

    origin = take['start'] // take['bar'] * take['bar']
    tracks = []
    for part, instrument in enumerate(take['parts']):
        notes = [
            Note(max(beat - origin, 0.0), duration, note, velocity)
            for beat, duration, note, velocity, of, _ in take['notes'] if of % len(take['parts']) == part
        ]  # fmt: skip
        tracks.append(Track.of(instrument, sorted(notes)))
    return midi_bytes(Score(tracks, [Tempo(0.0, take['tempo'])], [Meter(0.0, *take['meter'])]))


async def _send(socket: Any, page: Any) -> None:
    """To the page what is new, as fast as it takes it."""
    while True:
        await page.fresh.wait()
        await socket.send_text(json.dumps(page.news(), ensure_ascii=False, allow_nan=False, separators=(',', ':')))
        await asyncio.sleep(BETWEEN)


async def _hear(socket: Any, tell: Any) -> None:
    """From the page to the parent; too many have to wait."""
    loop = asyncio.get_running_loop()
    left, before = BURST, loop.time()
    while True:
        text = await socket.receive_text()
        now = loop.time()
        left, before = min(left + RATE * (now - before), BURST), now
        if left < 1:
            await asyncio.sleep((1 - left) / RATE)
        left -= 1
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            tell('line', 'Panel: a message is not JSON; it is dropped.')
            continue
        while not tell('message', message):  # the pipe is full: the page waits, and no click is lost
            await asyncio.sleep(FULL)


def run_panel(setup: PanelSetup, door: socket.socket, cells: Any, connection: Connection) -> None:
    """Run the process (`ChildProcess`) until the parent says so, or is gone."""
    heart = begin(cells)
    if hasattr(os, 'nice'):
        os.nice(5)  # whoever plays comes first
    asyncio.run(_serve(setup, door, connection, heart))
    os._exit(0)  # the thread that reads may wait for ever


async def _serve(setup: PanelSetup, door: socket.socket, connection: Connection, heart: Heartbeat) -> None:
    import uvicorn

    if setup.kind == 'stems':  # numpy, which a band's pages do without
        import bridge.panel.meters  # noqa: F401

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # the parent decides when we end

    board, ear = Board(setup.kind, setup.facts), Ear()
    app = make_app(setup, board, lambda kind, value: send_now(connection, (kind, value)))
    server = Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, ws='websockets-sansio', ws_max_size=MAX_MESSAGE, lifespan='off',
            ws_ping_interval=5.0, ws_ping_timeout=20.0, server_header=False, timeout_graceful_shutdown=1,
        )
    )  # fmt: skip
    loop = asyncio.get_running_loop()

    def end() -> None:
        server.should_exit = True

    def take(kind: str, value: Any) -> None:
        if kind == 'state':
            ear.listen(value.pop('sound', None))
            board.state(value)
        elif kind == 'scene':
            board.scene(value)
        elif kind == 'line':
            board.line(value)
        else:
            end()

    def read() -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                loop.call_soon_threadsafe(take, *connection.recv())
        with contextlib.suppress(RuntimeError):  # the loop is over
            loop.call_soon_threadsafe(end)

    threading.Thread(target=read, name='panel pipe', daemon=True).start()
    if setup.opens:
        threading.Thread(target=_open, args=(setup,), name='panel opens', daemon=True).start()

    async def beat() -> None:
        while True:
            heart.beat()
            await asyncio.sleep(BEAT)

    beside = [asyncio.ensure_future(beat()), asyncio.ensure_future(ear.follow(board))]
    await server.serve(sockets=[door])
    for job in beside:
        job.cancel()


class Ear:
    """Tells a board what stems sound like."""

    def __init__(self) -> None:
        self._meters: Any = None

    def listen(self, sound: Any) -> None:
        """Listen to another `meters.Sound`; None: go on."""
        if sound is None:
            return
        from bridge.panel.meters import Meters

        if self._meters is not None:
            self._meters.close()
            self._meters = None
        with contextlib.suppress(OSError, ValueError):  # it has ended already
            self._meters = Meters(sound)

    async def follow(self, board: Board) -> None:
        """Read as long as somebody looks."""
        while True:
            await asyncio.sleep(BETWEEN)
            if self._meters is not None and board.pages:
                levels, spectra = self._meters.read()
                if levels:
                    board.sound(levels, spectra)


def _open(setup: PanelSetup) -> None:
    import webbrowser

    host = '127.0.0.1' if setup.host in ('0.0.0.0', '') else setup.host
    webbrowser.open(f'http://{host}:{setup.port}/?token={setup.token}')
