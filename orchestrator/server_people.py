"""What runs ask people, over HTTP.

GET /v1/questions lists what waits for an answer, of all teams that are served. POST /v1/questions/RUN/QUESTION answers:
with `{"text": ...}`, or where a tool call needs a yes with `{"approved": true or false, "text": why}`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from podium.orchestrator.team import Team
from podium.protocols.errors import InputError
from podium.protocols.openai_api import RequestError

__all__ = ["question_routes"]


class _Answer(BaseModel):
    """What a person says. approved: of a question about a tool call; text is then why, and may be left out."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str = ""
    approved: bool | None = None


def question_routes(teams: Mapping[str, Team]) -> list[Route]:
    """The routes above."""

    async def questions(_: Request) -> Response:
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for name, team in teams.items():
            for each in await asyncio.to_thread(team.questions):
                found.setdefault((each.run, each.id), {"model": name, **asdict(each)})
        return JSONResponse({"object": "list", "data": list(found.values())})

    async def answer(request: Request) -> Response:
        run, question = request.path_params["run"], request.path_params["question"]
        try:
            given = _Answer.model_validate_json(await request.body())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            param = ".".join(map(str, first["loc"])) or None
            form = '{"text": ...} or {"approved": true or false, "text": why}'
            raise RequestError(f"{param or 'the body'}: {first['msg']}; write {form}", param=param) from None
        for team in teams.values():
            if any((each.run, each.id) == (run, question) for each in await asyncio.to_thread(team.questions)):
                yes, no = given.approved is True, given.approved is False
                try:
                    await asyncio.to_thread(team.answer, run, given.text, yes=yes, no=no, id=question)
                except InputError as error:
                    raise RequestError(str(error)) from None
                return JSONResponse({"object": "answer", "run": run, "question": question})
        raise RequestError(f"no question {question} of run {run} waits for an answer", status=404)

    return [
        Route("/v1/questions", questions),
        Route("/v1/questions/{run}/{question}", answer, methods=["POST"]),
    ]
