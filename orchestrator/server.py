"""Teams behind OpenAI's HTTP API: whoever can talk to a model can talk to a team.

Each team is served as a model under its name. `podium.protocols.openai_api` says which part of the API is spoken,
`server_request` what its fields may hold, `server_replies` which error has which status, `server_stream` how an answer
is streamed, `server_people` how people are asked, `server_body` what is read at all, `server_connection` how long a
client is waited for, `server_resume` how runs go on that an earlier process left. A client that hangs up cancels its
run. The app closes its teams when it stops. Where a team's telemetry says `metrics: prometheus` there is /metrics too,
and a traced run joins the trace that its request names.

    make_app({"desk": Team.load("team.yaml")})      an ASGI app, for any server
    serve("team.yaml", port=8000)                   the same under uvicorn, until Ctrl-C or SIGTERM
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from podium.orchestrator.budget import Limits
from podium.orchestrator.people import People
from podium.orchestrator.server_replies import Failure, completion, failure, tightened
from podium.orchestrator.server_request import read_request
from podium.orchestrator.server_stream import Cut, answer_events
from podium.orchestrator.team import Team
from podium.protocols.errors import InputError, MissingExtra, PodiumError, RunError
from podium.protocols.events import Result
from podium.protocols.openai_api import ChatRequest, ModelEntry, RequestError, error_body

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route
    from starlette.types import Message, Receive, Scope, Send

    from podium.orchestrator.server_body import read_body
    from podium.orchestrator.server_connection import UNREAD_SECONDS, Connection
    from podium.orchestrator.server_people import question_routes
    from podium.orchestrator.server_resume import Resuming
except ModuleNotFoundError as error:
    raise MissingExtra("serving", "serve", error.name or "starlette") from None

__all__ = ["MAX_BODY", "config_of", "listen", "make_app", "serve", "serve_app"]

LOG = logging.getLogger("podium.server")
T = TypeVar("T")

MAX_BODY = 8 * 1024 * 1024
"""Bytes of a request; a conversation of two million tokens fits."""

GRACE = 10
"""Seconds that runs under way are given when the server is told to stop."""

CLIENT_GONE = 499
"""nginx's status for a client that hung up; it is only ever seen in logs."""

STREAM_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


def make_app(teams: Mapping[str, Team], *, max_body: int = MAX_BODY, resume: bool = False) -> Starlette:
    """The app that serves teams, by the names that requests use.

    max_body: bytes of a request. resume: when the app starts it goes on with all runs of the teams that have no end,
    and with each later one when its question is answered; other processes must not be working on them.

    Raises InputError when there is no team to serve, or one to resume that keeps no journal.
    """
    if not teams:
        raise InputError("there is no team to serve")
    for name, team in teams.items():
        if resume and team.journal is None:
            raise InputError(
                f"team {name} keeps no journal, and so no runs to resume: name one in its file, or give one"
            )
    served = _Served(teams, max_body)
    resuming = Resuming(teams) if resume else None

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        if resuming:
            await resuming.begin()
        yield
        if resuming:
            await resuming.leave()
        for came in await asyncio.gather(*(team.aclose() for team in teams.values()), return_exceptions=True):
            if came is not None:
                raise came

    routes = [
        Route("/health", served.health),
        Route("/v1/models", served.models),
        Route("/v1/models/{model:path}", served.model),
        Route("/v1/chat/completions", served.complete, methods=["POST"]),
        *question_routes(teams, max_body, resuming),
    ]
    if served.scrapes:
        routes.append(Route("/metrics", served.metrics))
    handlers: dict[Any, Any] = {HTTPException: _http_error, PodiumError: _podium_error, ClientDisconnect: _gone}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    app.state.people = [team.people for team in teams.values()]
    return app


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens, so that an address in use is known before anything starts. port: 0 takes a free one.

    Raises InputError when the address cannot be had.
    """
    if not 0 <= port < 2**16:
        raise InputError(f"cannot listen on {host}:{port}: a port is a number from 0 to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        raise InputError(f"cannot listen on {host}:{port}: {reason}; choose another --host or --port") from None


def serve(*teams: Team | str | Path, host: str = "127.0.0.1", port: int = 8000, resume: bool = False) -> None:
    """Serve teams to any OpenAI client, each as a model of its name, until Ctrl-C or SIGTERM; then they are closed.

    teams: or their files. resume: as in `make_app`.

    Raises InputError when two have one name, or the address cannot be had, else as `Team.load` and `make_app`.
    """
    served: dict[str, Team] = {}
    with listen(host, port) as listening:
        for each in teams:
            team = each if isinstance(each, Team) else Team.load(each)
            if team.name in served:
                raise InputError(f"two teams are named {team.name!r}; give one another name")
            served[team.name] = team
        serve_app(make_app(served, resume=resume), on=listening)


def serve_app(app: Starlette, host: str = "127.0.0.1", port: int = 8000, *, on: socket.socket | None = None) -> None:
    """Serve an app until Ctrl-C or SIGTERM; a second Ctrl-C ends it at once.

    Runs under way are given `GRACE` seconds. Those that wait for a person are left as they are, and can be resumed
    where a journal keeps them.

    on: a socket that listens already, instead of host and port. Raises InputError when the address cannot be had.
    """
    listening = listen(host, port) if on is None else on
    config = config_of(app)
    # uvicorn stops on a signal and then raises it again for whoever had its handler before: for us, it is dealt with.
    before = {each: signal.signal(each, _dealt_with) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        _Server(config, app.state.people).run(sockets=[listening])
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        listening.close()


def config_of(app: Starlette) -> uvicorn.Config:
    """How uvicorn serves an app."""
    return uvicorn.Config(
        app, http=Connection, log_level="warning", timeout_graceful_shutdown=GRACE, server_header=False
    )


class _Server(uvicorn.Server):
    """Tells the people of its teams when it stops: before the runs are, which would take their questions back."""

    def __init__(self, config: uvicorn.Config, people: Sequence[People]) -> None:
        super().__init__(config)
        self._people = people

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn."""
        for each in self._people:
            each.leave()
        await super().shutdown(sockets)


def _dealt_with(*_: object) -> None:
    """The server has stopped already."""


class _Served:
    """The handlers."""

    def __init__(self, teams: Mapping[str, Team], max_body: int) -> None:
        self._teams = teams
        self._max_body = max_body
        started = int(time.time())
        self._entries = {name: ModelEntry(id=name, created=started).model_dump() for name in teams}
        self.scrapes = [team.telemetry.scrape for team in teams.values() if team.telemetry and team.telemetry.scrape]
        self._fingerprints = {name: f"podium-{team.spec.digest[:12]}" for name, team in teams.items()}

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", "models": list(self._teams)})

    async def metrics(self, request: Request) -> Response:
        from podium.orchestrator.telemetry.exporting import scraped

        figures, kind = scraped(self.scrapes, request.headers.get("accept", ""))
        return Response(figures, headers={"content-type": kind})

    async def models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": list(self._entries.values())})

    async def model(self, request: Request) -> Response:
        name = request.path_params["model"]
        self._team(name)
        return JSONResponse(self._entries[name])

    async def complete(self, request: Request) -> Response:
        asked = read_request(await read_body(request, self._max_body))
        team = self._team(asked.model)
        limits = tightened(team.orchestrator.limits, asked.podium.budget)
        try:
            answer = self._stream if asked.stream else self._whole
            with _joined(request, team):
                return await answer(request, asked, team, limits)
        except ClientDisconnect:
            LOG.info("%s: the client hung up, its run is cancelled", asked.model)
            raise
        except Exception as error:
            return _response(_failed(error))

    async def _whole(self, request: Request, asked: ChatRequest, team: Team, limits: Limits) -> Response:
        work = team.arun(asked.conversation, seed=asked.seed, preference=asked.podium.preference, limits=limits)
        result = await _unless_gone(request, work)
        _ended(result)
        made = completion(
            result,
            Cut.whole(result.answer, asked.stop),
            model=asked.model,
            created=int(time.time()),
            fingerprint=self._fingerprints[asked.model],
        )
        return JSONResponse(made.model_dump(mode="json"), headers={"x-request-id": result.run})

    async def _stream(self, request: Request, asked: ChatRequest, team: Team, limits: Limits) -> Response:
        events = answer_events(
            team.astream(asked.conversation, seed=asked.seed, preference=asked.podium.preference, limits=limits),
            model=asked.model,
            created=int(time.time()),
            fingerprint=self._fingerprints[asked.model],
            stops=asked.stop,
            include_usage=asked.include_usage,
            failed=_failed,
            ended=_ended,
        )
        first = await _unless_gone(request, anext(events))
        return _EventStream(first, events)

    def _team(self, name: str) -> Team:
        team = self._teams.get(name)
        if team is None:
            known = ", ".join(self._teams)
            raise RequestError(
                f"there is no model {name!r}; this server has: {known}",
                param="model",
                code="model_not_found",
                status=404,
            )
        return team


class _EventStream(StreamingResponse):
    """The stream, which is closed (and the run with it) as soon as the client is gone, or reads nothing any more."""

    def __init__(self, first: str, rest: AsyncGenerator[str]) -> None:
        self._rest = rest
        super().__init__(self._all(first), media_type="text/event-stream", headers=STREAM_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def in_time(message: Message) -> None:
            async with asyncio.timeout(UNREAD_SECONDS):  # under our own server the connection is cut off before that
                await send(message)

        try:
            await super().__call__(scope, receive, in_time)
        except TimeoutError:
            LOG.info("a client has read nothing for %g seconds, its run is cancelled", UNREAD_SECONDS)
        finally:
            await self._rest.aclose()

    async def _all(self, first: str) -> AsyncGenerator[str]:
        yield first
        async for event in self._rest:
            yield event


async def _unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of some work, which is cancelled when the client hangs up. Raises ClientDisconnect then."""
    gone, working = asyncio.ensure_future(_hung_up(request)), asyncio.ensure_future(work)
    try:
        await asyncio.wait((gone, working), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        gone.cancel()
        working.cancel()
        await asyncio.gather(gone, working, return_exceptions=True)


def _joined(request: Request, team: Team) -> AbstractContextManager[None]:
    """Inside, a traced team's run belongs to the trace that the request names."""
    if team.telemetry is None:
        return nullcontext()
    from podium.orchestrator.telemetry.watch import joined

    return joined(request.headers)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _ended(result: Result) -> None:
    usage = result.usage
    LOG.info(
        "%s: run %s %s, %d steps, %d tokens, $%.6f, %.1f s",
        *(result.team, result.run, result.stop, result.steps, usage.tokens, usage.dollars, result.seconds),
        extra={"event": "request.answered", "run": result.run},
    )


def _failed(error: Exception) -> Failure:
    if isinstance(error, RunError):
        LOG.warning("%s", error, extra={"event": "request.failed", "run": error.run, "agent": error.agent})
    return failure(error)


def _response(failure: Failure) -> Response:
    return JSONResponse(failure.body, status_code=failure.status, headers=failure.headers)


async def _podium_error(_: Request, error: PodiumError) -> Response:
    return _response(_failed(error))


async def _gone(*_: object) -> Response:
    return Response(status_code=CLIENT_GONE)


async def _http_error(request: Request, error: HTTPException) -> Response:
    """404 and 405 of the router."""
    known = "GET /health, GET /v1/models, POST /v1/chat/completions, GET /v1/questions"
    message = f"{request.method} {request.url.path}: {error.detail}; this server has: {known}"
    return JSONResponse(error_body(message), status_code=error.status_code, headers=error.headers)
