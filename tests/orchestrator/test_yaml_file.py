"""Reading YAML: positions, refusals, the environment, includes; and the machinery with another model than a team."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, Strict

from podium.orchestrator.yaml_file import FilePath, FileUrl, StrictModel, Words, load_model, parse_model
from podium.orchestrator.yaml_problems import Problem
from podium.orchestrator.yaml_source import MAX_ALIASES, MAX_BYTES, MAX_DEPTH, read_document, resolve
from podium.protocols.errors import TeamFileError


class Part(StrictModel):
    steps: Annotated[int, Field(ge=1)] = 10
    rate: float = 0.1
    keep: bool = False
    data: FilePath | None = None
    journal: FileUrl | None = None
    kind: Literal["a", "b"] = "a"
    words: Words = ()
    token: str | None = None
    key: Annotated[tuple[Literal["task", "turn"], ...], Strict(False)] = ("task",)
    secret: Literal["none", "some"] | str = "none"


class Training(StrictModel):
    parts: dict[str, Part] = Field(default_factory=dict)
    limit: int | None = None
    any: Any = None


def problems(text: str, **more: Any) -> list[str]:
    with pytest.raises(TeamFileError) as caught:
        parse_model(text, Training, file="train.yaml", **more)
    return caught.value.problems


SYNTAX = [
    ("", 1, "the file is empty"),
    ("# nothing\n", 1, "the file is empty"),
    ("- a\n", 1, "holds a list"),
    ("hello", 1, "holds a single value"),
    ("parts:\n\tx: {}\n", 2, "a tab; YAML is indented with spaces only"),
    ("parts:\n  a: {}\n b: {}\n", 3, "wrong indentation"),
    ("parts: a: b\n", 1, "a second colon"),
    ("parts: {a: {}\nlimit: 3\n", 2, "closing }"),
    ("any: [1, 2\nlimit: 3\n", 2, "closing ]"),
    ('any: "x\n', 2, "the file ends inside"),
    ("any: @x\n", 1, "quote texts that begin with it"),
    ("any: x\nany\n", 2, "a key without a colon"),
    ("any: *nobody\n", 1, "unknown alias 'nobody'"),
    ("limit: 1\n---\nlimit: 2\n", 2, "a second document begins here"),
    ("limit: 1\nlimit: 2\n", 2, 'limit: the key "limit" was already given in line 1'),
    ("any: !!python/object/apply:os.system [ls]\n", 1, "the tag !!python/object/apply:os.system is not allowed"),
    ("any: !mine x\n", 1, "the tag !mine is not allowed"),
    ("? [a, b]\n: c\n", 1, "cannot be a key"),
    ("any: &a [*a]\n", 1, "refers to the value it stands in"),
    ('any: "\\uD800"\n', 1, "surrogate"),
    ('any: "\\UFFFFFFFF"\n', 1, "out of range"),
    ("any: a\x07b\n", 1, "U+0007"),
    ("any: {limit: ${N}}\n", 1, "needs quotes"),
    ("any: ${no name}\n", 1, "expected ${NAME} or ${NAME:-default}"),
    ("any: ${UNCLOSED\n", 1, "expected ${NAME} or ${NAME:-default}"),
    ("limit: 1\nany: ${PODIUM_NOT_SET}\n", 2, "the environment variable PODIUM_NOT_SET is not set"),
]


@pytest.mark.parametrize(("text", "line", "fragment"), SYNTAX, ids=[row[2] for row in SYNTAX])
def test_syntax_is_told_in_one_clear_line(text: str, line: int, fragment: str) -> None:
    told = problems(text)
    assert any(problem.startswith(f"train.yaml:{line}: ") and fragment in problem for problem in told), told
    assert all("\n" not in problem for problem in told)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("12", 12),
        ("-1_000", -1000),
        ("0x1F", 31),
        ("0o17", 15),
        (".5", 0.5),
        ("no", "no"),
        ("on", "on"),
        ("12:30:00", "12:30:00"),
        ("2026-01-01", "2026-01-01"),
        ("true", True),
        ("~", None),
        ("null", None),
        ("1.2.3", "1.2.3"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


def test_every_value_knows_its_place() -> None:
    document = read_document("a:\n  b: [1,\n    {c: x}]\n", "f.yaml", Path())
    assert (document.marks[("a", "b", 1, "c")].line, document.marks[("a", "b", 1, "c")].column) == (3, 9)
    assert document.mark(("a", "b", 1, "missing")).line == 3


def test_bombs_are_refused() -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )
    assert "unfold into more than" in problems(bomb)[0]
    many = "a: &a 1\nb: [" + ",".join(["*a"] * (MAX_ALIASES + 1)) + "]\n"
    assert "aliases" in problems(many)[0]
    assert "levels deep" in problems("any: " + "[" * (MAX_DEPTH + 1))[0]
    assert "levels deep" in problems("[" * 100_000)[0]
    assert "bytes" in problems("any: " + "x" * MAX_BYTES)[0]


def test_a_few_aliases_and_merges_are_fine() -> None:
    made = parse_model("parts:\n  a: &a {steps: 3, rate: 0.5}\n  b: {<<: *a, steps: 4}\n  c: *a\n", Training)
    assert (made.parts["b"].steps, made.parts["b"].rate, made.parts["c"].steps) == (4, 0.5, 3)


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPS", "7")
    monkeypatch.setenv("DIGITS", "123456")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)
    made = parse_model(
        "limit: ${EMPTY:-}\n"
        "parts:\n"
        "  a:\n"
        '    steps: "${STEPS}"\n'
        "    rate: ${UNSET:-1e-3}\n"
        "    keep: ${UNSET:-true}\n"
        "    kind: ${EMPTY:-b}\n"
        "    token: ${DIGITS}\n"
        "    words: ['a ${STEPS} b', '$${STEPS}', '$5 {x}']\n",
        Training,
    )
    part = made.parts["a"]
    assert made.limit is None
    assert (part.steps, part.rate, part.keep, part.kind) == (7, 0.001, True, "b")
    assert part.token == "123456"  # a text stays a text where the model asks for one
    assert part.words == ("a 7 b", "${STEPS}", "$5 {x}")
    assert type(part.token) is str


@pytest.mark.parametrize(
    "text",
    [
        "parts: {a: {steps: '${SECRET}'}}",
        "parts: {a: {kind: 'x${SECRET}'}}",
        "parts: {a: {data: ['${SECRET}']}}",
        "limit: ${SECRET}",
        "limit: -${SECRET}",
        "parts: ${SECRET}",
        "include: '${SECRET}/models.yaml'",
        "include: ['${SECRET}']",
        "parts: {a: {token: ['${SECRET}', '${PODIUM_NOT_SET}'}}",
    ],
)
@pytest.mark.parametrize("secret", ["hunter2", "sk-0123456789", "-31337.5"])
def test_secrets_are_never_in_an_error(text: str, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", secret)
    assert secret not in "\n".join(problems(text, include=["parts"]))


def test_a_key_that_holds_words_of_a_list_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = 'allowed: task, turn; did you mean "turn"?'
    assert problems("parts: {a: {key: [task, trun]}}") == [
        f'train.yaml:1: parts.a.key.1: not one of the choices; found "trun"; {allowed}'
    ]
    assert problems("parts: {a: {key: trun}}") == [
        'train.yaml:1: parts.a.key: expected a list: [task | turn, ...]; found "trun"'
    ]
    assert problems("parts: {a: {token: [task]}}") == ["train.yaml:1: parts.a.token: expected a text; found ***"]
    assert "found ***;" in problems("parts: {a: {secret: [task]}}")[0]
    monkeypatch.setenv("SECRET", "trun")
    assert problems("parts: {a: {key: [task, '${SECRET}']}}")[0].startswith(
        "train.yaml:1: parts.a.key.1: not one of the choices; found ***"
    )


def test_a_secret_number_out_of_range_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("N", "-77")
    assert problems("parts: {a: {steps: '${N}'}}") == ["train.yaml:1: parts.a.steps: expected at least 1; found ***"]


def test_a_secret_is_masked_in_texts_of_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "correct-horse")

    def check(data: Mapping[str, Any]) -> list[Problem]:
        return [Problem(("any",), f"{data['any']} is wrong")]

    told = problems("any: ${SECRET}", check=check)
    assert told == ["train.yaml:1: any: *** is wrong; found ***"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("limit: 1\n")
    (tmp_path / "latin.yaml").write_bytes(b"limit: 1\nany: \xff\n")
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbflimit: 1\n")
    for name, fragment in (
        ("trian.yaml", 'there is no such file; did you mean "train.yaml"?'),
        (".", "this is a folder"),
        ("latin.yaml", ":2: not UTF-8"),
        ("nul\0.yaml", "cannot be read"),
    ):
        with pytest.raises(TeamFileError) as caught:
            load_model(tmp_path / name, Training)
        assert fragment in str(caught.value)
    assert load_model(tmp_path / "bom.yaml", Training).limit == 1


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / "main.yaml"


def test_includes_merge_and_own_keys_win(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main="include: [one.yaml, two.yaml]\nparts: {a: {steps: 1}}\n",
        one="parts: {a: {steps: 2, rate: 0.2}, b: {steps: 2}, c: {steps: 2}}\n",
        two="include: three.yaml\nparts: {b: {steps: 3}}\n",
        three="parts: {b: {steps: 4, rate: 0.4}, d: {steps: 4}}\n",
    )
    made = load_model(main, Training, include=["parts"])
    steps = {name: (part.steps, part.rate) for name, part in made.parts.items()}
    assert steps == {"a": (1, 0.2), "b": (3, 0.4), "c": (2, 0.1), "d": (4, 0.1)}


def test_errors_in_included_files_name_that_file(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main="include: one.yaml\nlimit: x\n",
        one="limits: 3\nparts:\n  a:\n    stps: 2\n",
    )
    with pytest.raises(TeamFileError) as caught:
        load_model(main, Training, include=["parts"])
    first, second, third = caught.value.problems
    assert first.startswith(f"{main}:2: limit: expected a whole number")
    assert second.startswith(f"{tmp_path}/one.yaml:1: limits: unknown key")
    assert third.startswith(f'{tmp_path}/one.yaml:4: parts.a.stps: unknown key "stps"')
    assert 'did you mean "steps"?' in third


def test_a_whole_file_that_is_included_is_told_once_with_what_to_do(tmp_path: Path) -> None:
    main = write(tmp_path, main="include: one.yaml\nlimit: 1\n", one="parts: {a: {steps: 2}}\nlimit: 3\nlog: 1\n")
    with pytest.raises(TeamFileError) as caught:
        load_model(main, Training, include=["parts"])
    told, other = caught.value.problems
    assert told.startswith(f"{tmp_path}/one.yaml:2: limit: only the file that includes this one may say that")
    assert "move its parts into a file of their own" in told
    assert 'unknown key "log"' in other


def test_include_cycles_show_the_chain(tmp_path: Path) -> None:
    main = write(tmp_path, main="include: one.yaml\n", one="include: two.yaml\n", two="limit: 1\ninclude: one.yaml\n")
    with pytest.raises(TeamFileError) as caught:
        load_model(main, Training, include=["parts", "limit"])
    assert f"{tmp_path}/two.yaml:2: include: " in str(caught.value)
    assert "one.yaml -> two.yaml -> one.yaml" in str(caught.value)
    itself = write(tmp_path, main="include: main.yaml\n")
    with pytest.raises(TeamFileError, match=r"main\.yaml -> main\.yaml"):
        load_model(itself, Training, include=["parts"])


def test_include_bombs_and_missing_files(tmp_path: Path) -> None:
    files = {f"f{n}": f"include: [f{n + 1}.yaml, f{n + 1}.yaml]\n" for n in range(12)}
    main = write(tmp_path, main="include: f0.yaml\n", f12="parts: {}\n", **files)
    with pytest.raises(TeamFileError, match="files are included"):
        load_model(main, Training, include=["parts"])
    main = write(tmp_path, main="limit: 1\ninclude: [nowhere.yaml, 3]\n")
    with pytest.raises(TeamFileError) as caught:
        load_model(main, Training, include=["parts"])
    missing, wrong = caught.value.problems
    assert missing.startswith(f"{main}:2: include: ")
    assert "there is no such file" in missing
    assert "expected the path of a YAML file" in wrong


def test_include_is_an_unknown_key_where_it_is_not_offered() -> None:
    assert 'include: unknown key "include"' in problems("include: x.yaml\n")[0]


def test_paths_and_urls_start_from_the_file(tmp_path: Path) -> None:
    main = write(tmp_path, main="parts: {a: {data: d/x.jsonl, journal: 'sqlite:///r.db'}, b: {data: /abs}}\n")
    made = load_model(main, Training)
    assert made.parts["a"].data == tmp_path / "d/x.jsonl"
    assert made.parts["a"].journal == f"sqlite:///{tmp_path}/r.db"
    assert made.parts["b"].data == Path("/abs")


def test_what_no_file_says_is_not_allowed_in_one() -> None:
    class Given(StrictModel):
        team: str
        source: Path | None = Field(default=None, exclude=True)

    with pytest.raises(TeamFileError) as caught:
        parse_model("team: a\ntem: b\n", Given)
    assert caught.value.problems == ['<string>:2: tem: unknown key "tem"; allowed: team; did you mean "team"?']
