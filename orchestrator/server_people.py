"""What runs ask people, over HTTP.

GET /v1/questions lists what waits for an answer, of all teams that are served. POST /v1/questions/RUN/QUESTION answers:
with `{"text": ...}`, or where a tool call needs a yes with `{"approved": true or false, "text": why}`. Where no run of
this server waits with the question the reply says so: `"resumed": true`, the server goes on with the run now, or
`"resumed": false` and a hint what to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from podium.orchestrator.people import said
from podium.orchestrator.server_body import read_body
from podium.orchestrator.server_resume import Resuming, command
from podium.orchestrator.team import Team
from podium.protocols.errors import InputError, JournalError
from podium.protocols.openai_api import RequestError
from podium.protocols.people import Question

__all__ = ["question_routes"]


HINT = (
    "the answer is kept, and no run of this server waits for it: a process that works on the run finds it within "
    "seconds; where there is none, go on with: {}"
)


class _Answer(BaseModel):
    """What a person says. approved: of a question about a tool call; text is then why, and may be left out."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str = ""
    approved: bool | None = None


def question_routes(teams: Mapping[str, Team], max_body: int, resuming: Resuming | None = None) -> list[Route]:
    """The routes above. max_body: bytes of an answer; resuming: goes on with runs whose questions are answered."""

    async def waiting() -> dict[tuple[str, str], tuple[str, Question]]:
        """Each question, with the name under which its team is served."""
        found: dict[tuple[str, str], tuple[str, Question]] = {}
        for name, team in teams.items():
            try:
                asked = await asyncio.to_thread(team.questions)
            except InputError as error:  # the journal cannot be read, and the client cannot help that
                raise JournalError(str(error)) from None
            for each in asked:
                found.setdefault((each.run, each.id), (name, each))
        return found

    async def questions(_: Request) -> Response:
        found = await waiting()
        return JSONResponse(
            {"object": "list", "data": [{"model": name, **asdict(each)} for name, each in found.values()]}
        )

    async def answer(request: Request) -> Response:
        key = request.path_params["run"], request.path_params["question"]
        given = _read(await read_body(request, max_body))
        found = (await waiting()).get(key)
        if found is None:
            raise RequestError(f"no question {key[1]} of run {key[0]} waits for an answer", status=404)
        name, question = found
        team = teams[name]
        yes, no = given.approved is True, given.approved is False
        word = said(question, given.text, yes=yes, no=no)
        here = _works_on(team, question)
        await asyncio.to_thread(team.people.give, question, word)
        taken: dict[str, object] = {"object": "answer", "run": key[0], "question": key[1]}
        if not here:
            taken["resumed"] = resuming is not None and await resuming.answered(team, key[0])
            if not taken["resumed"]:
                taken["hint"] = HINT.format(command(team, key[0]))
        return JSONResponse(taken)

    return [
        Route("/v1/questions", questions),
        Route("/v1/questions/{run}/{question:path}", answer, methods=["POST"]),
    ]


def _works_on(team: Team, question: Question) -> bool:
    """Whether the run that asks is under way in this process."""
    return team.journal is None or team.journal.under_way(question.run) or team.people.waits(question)


def _read(body: bytes) -> _Answer:
    try:
        return _Answer.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        param = ".".join(map(str, first["loc"])) or None
        form = '{"text": ...} or {"approved": true or false, "text": why}'
        raise RequestError(f"{param or 'the body'}: {first['msg']}; write {form}", param=param) from None
