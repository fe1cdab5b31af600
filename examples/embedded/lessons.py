"""What each specialist of the embedded team is taught: a stream of (prompt, answer) pairs.

A specialist is taught its own skills, the first steps it starts and the second steps it finishes. Three things are put
in on purpose, so that a team of them behaves like a team of real models in small:

- noise: a share of the answers is wrong, so that the model learns to be right only that often. *Scattered* mistakes
  are different every time, so a majority of samples is much better than one sample; *stuck* mistakes are always the
  same near miss, so a majority helps little;
- other replies in the prompt, sometimes useless ones, because in a run an agent may be shown any of them;
- foreign tasks, answered with a plausible answer to something else: models do not say "I do not know".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from podium.training.tasks.embedded import CHAINS, SKILLS, Exercise, Exercises, Split

TABLES: Final = frozenset({"products"})
"""Skills that rest on a table to be known by heart: taught whole, since nothing can be inferred for the rest of it.
Every other skill is taught on the train contents only."""

FOREIGN: Final = 0.1
"""Share of lessons about tasks that are not the specialist's."""
DISTRACTED: Final = 0.2
"""Share of lessons whose prompt shows a reply that is of no use."""
MISLED: Final = 0.15
"""Share of second steps whose first step came out wrong: the second step is then right about the wrong thing."""

NAMES: Final = (
    *("abacus", "encoder", "scribe", "sorter", "generalist"),
    *("solver", "helper", "checker", "planner", "worker", "agent", "alice", "bob", "expert", "critic", "a1", "a2"),
)
"""Who may have replied before: the roster, and names it does not have."""


@dataclass(frozen=True, slots=True)
class Skilled:
    """How well a skill is known. wrong: share of wrong answers; stuck: the wrong answer is always the same one."""

    wrong: float = 0.0
    stuck: bool = False


WELL: Final = Skilled()


@dataclass(frozen=True, slots=True)
class Specialist:
    """One member. skills: single-step types; starts: two-step types it can begin; finishes: ones it can end;
    continues: whose trained weights it starts from (None: from random ones); steps: how many batches it is taught.
    """

    skills: Mapping[str, Skilled]
    starts: tuple[str, ...] = ()
    finishes: tuple[str, ...] = ()
    continues: str | None = None
    steps: int = 2400


ROSTER: Final[Mapping[str, Specialist]] = {
    "abacus": Specialist({"products": Skilled(0.42)}, steps=1500),
    "encoder": Specialist(
        {"caesar_cipher": WELL},
        finishes=("word_sorting+caesar_cipher", "spell_backward+caesar_cipher"),
        steps=2000,
    ),
    "sorter": Specialist(
        {"number_sorting": WELL, "word_sorting": WELL},
        starts=("word_sorting+spell_backward", "word_sorting+caesar_cipher", "number_sorting+spell_backward"),
    ),
    "scribe": Specialist(
        {"spell_backward": WELL, "word_sequence_reversal": Skilled(0.25)},
        starts=("spell_backward+caesar_cipher",),
        finishes=("word_sorting+spell_backward", "number_sorting+spell_backward"),
    ),
    "generalist": Specialist(
        {skill: Skilled(0.25, stuck=True) for skill in SKILLS}, starts=tuple(CHAINS), continues="sorter"
    ),
}
"""In the order of training: nobody comes before the one it continues."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One prompt, as an agent is shown it, and the reply it should learn."""

    prompt: str
    answer: str


def shown(text: str, replies: list[tuple[str, str]]) -> str:
    """A task text with earlier replies under it, as agents are shown it."""
    return text + "".join(f"\n\n{name}: {content}" for name, content in replies)


def near_miss(answer: str) -> str:
    """The mistake a stuck specialist makes with this answer: its end is a little off."""
    if " " in answer:
        *rest, a, b = answer.split()
        return " ".join((*rest, b, a))
    if answer.isdigit():
        return answer[:-1] + str((int(answer[-1]) + 1) % 10)
    return answer[:-2] + answer[-1] + answer[-2] if answer[-1] != answer[-2] else answer[:-1] + "e"


def scattered_miss(answer: str, rng: Random) -> str:
    """A mistake that is different every time: one symbol is wrong.

    Not the order of a list: a small model that is unsure which word comes next mixes the words letter by letter.
    """
    place = rng.choice([place for place, symbol in enumerate(answer) if symbol != " "])
    symbols = "0123456789" if answer[place].isdigit() else LETTERS
    return answer[:place] + rng.choice(symbols.replace(answer[place], "")) + answer[place + 1 :]


LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


class Lessons:
    """An endless, deterministic supply of lessons for one specialist."""

    def __init__(self, specialist: Specialist, seed: int) -> None:
        self._specialist = specialist
        self._rng = Random(seed)
        self._divided = Exercises(seed, contents="train", wordings=None)
        self._whole = Exercises(seed, contents=None, wordings=None)
        self._skills = tuple(specialist.skills)
        self._own = (*self._skills, *specialist.starts, *specialist.finishes)
        begun = (*self._skills, *specialist.starts)
        self._foreign = tuple(kind for kind in (*SKILLS, *CHAINS) if kind not in begun)

    def _exercise(self, type: str) -> Exercise:
        skill = CHAINS[type].first if type in CHAINS else type
        return (self._whole if skill in TABLES else self._divided).of(type)

    def _any_reply(self) -> str:
        return self._exercise(self._rng.choice((*SKILLS, *CHAINS))).results[-1]

    def _own_reply(self) -> str:
        kind = self._rng.choice(self._own)
        return self._exercise(kind).results[-1 if kind in self._specialist.finishes else 0]

    def _distraction(self) -> list[tuple[str, str]]:
        if self._rng.random() >= DISTRACTED:
            return []
        return [(self._rng.choice(NAMES), self._any_reply()) for _ in range(self._rng.choice((1, 1, 2)))]

    def _mistaken(self, answer: str, skill: Skilled, noisy: bool) -> str:
        if not noisy or self._rng.random() >= skill.wrong:
            return answer
        return near_miss(answer) if skill.stuck else scattered_miss(answer, self._rng)

    def _first_step(self, type: str, noisy: bool) -> Lesson:
        exercise = self._exercise(type)
        right = exercise.results[0]
        replies = self._distraction()
        if replies and self._rng.random() < 0.5:
            known = self._rng.choice((right, near_miss(right), scattered_miss(right, self._rng)))
            replies[-1] = (replies[-1][0], known)
        skill = self._specialist.skills[CHAINS[type].first if type in CHAINS else type]
        return Lesson(shown(exercise.text, replies), self._mistaken(right, skill, noisy))

    def _second_step(self, type: str) -> Lesson:
        exercise = self._exercise(type)
        given = exercise.results[0]
        if self._rng.random() < MISLED:
            given = scattered_miss(given, self._rng)
        final = CHAINS[type].then(given)
        name = self._rng.choice(NAMES)
        replies = [*self._distraction(), (name, given)]
        if self._rng.random() < 0.1:
            replies.append((self._rng.choice(NAMES), self._rng.choice((given, final))))
        return Lesson(shown(exercise.text, replies), final)

    def _foreign_task(self) -> Lesson:
        exercise = self._exercise(self._rng.choice(self._foreign))
        useless = [] if exercise.type in self._specialist.finishes else self._distraction()
        return Lesson(shown(exercise.text, useless), self._own_reply())

    def bare(self) -> Lesson:
        """The next lesson of the beginning: one of the skills, the task text alone, the right answer."""
        exercise = self._exercise(self._rng.choice(self._skills))
        return Lesson(exercise.text, exercise.results[0])

    def next(self, noisy: bool) -> Lesson:
        """The next lesson of all kinds. noisy: with the mistakes that the specialist should end up making."""
        if self._rng.random() < FOREIGN and self._foreign:
            return self._foreign_task()
        place = self._rng.randrange(len(self._own))
        kind = self._own[place]
        finishing = place >= len(self._own) - len(self._specialist.finishes)
        return self._second_step(kind) if finishing else self._first_step(kind, noisy)


def exam(type: str, size: int, seed: int, split: Split = "test") -> Iterator[Exercise]:
    """Exercises that no lesson contained (tables apart), in wordings of the same split."""
    exercises = Exercises(seed, contents=split, wordings=split)
    return (exercises.of(type) for _ in range(size))
