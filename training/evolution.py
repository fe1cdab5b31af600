"""Evolution of small heads: candidates of chosen weights are tried on whole runs, and the better ones are followed.

No gradient and no credit for single decisions: a candidate is worth what its runs were worth. That suits heads of some
hundred or thousand numbers on top of features that are learned otherwise; here the beliefs, which go on learning from
every run by gradient. All candidates of an iteration work the same tasks with the same random numbers and the same
replies, each greedily, so that they differ in nothing but what they decide.

Source: sep-CMA-ES, Ros and Hansen, PPSN 2008, in the library `cmaes`; as what trains a coordinator, arXiv 2512.04695
(TRINITY).

Its state is what it began from and what each candidate was worth: the random numbers of an iteration are hashed from
the seed, so that asking and telling again rebuilds the optimiser exactly, and nothing is pickled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from podium.orchestrator.engine import Orchestrator, Settings
from podium.orchestrator.learned.policy import LearnedCoordinator
from podium.orchestrator.learned.saved import Policy
from podium.protocols.errors import InputError, MissingExtra
from podium.protocols.events import Result
from podium.protocols.noise import seed_of
from podium.protocols.task import Task
from podium.training.rollouts import Rollouts
from podium.training.train_file import EvolutionSpec

try:
    from cmaes import SepCMA
except ModuleNotFoundError as error:
    raise MissingExtra("learner: {kind: evolution}", "train", error.name or "cmaes") from None

Weights = dict[str, NDArray[np.float32]]


class Evolution:
    """One optimisation under way.

    start: (n,) float64, the weights that it began from. worth: (generations, population) what each candidate was worth.
    Raises InputError for a head that the policy does not have.
    """

    def __init__(self, spec: EvolutionSpec, weights: Mapping[str, NDArray[np.float32]], seed: int) -> None:
        head_of = {name: name.removesuffix(".w").removesuffix(".b") for name in weights}
        absent = [head for head in spec.heads if head not in head_of.values()]
        if absent:
            raise InputError(f"learner.heads: the options leave nothing to choose for the head {absent[0]!r}")
        self.spec, self.seed = spec, seed
        self._shapes = {name: weight.shape for name, weight in weights.items() if head_of[name] in spec.heads}
        self.begin(weights)

    def begin(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Start from these weights, with nothing tried."""
        self._begin(np.concatenate([weights[name].ravel() for name in self._shapes]).astype(np.float64))

    @property
    def population(self) -> int:
        """Candidates of one generation."""
        return self._optimiser.population_size

    @property
    def mean(self) -> Weights:
        """The weights in the middle of the candidates: the policy that is learned."""
        return self._weights(self._optimiser.mean)

    def ask(self) -> list[Weights]:
        """The candidates of the next generation; the same whenever they are asked for before they are told of."""
        return [self._weights(vector) for vector in self._vectors()]

    def tell(self, worth: Sequence[float]) -> None:
        """What each candidate was worth, in their order; more is better."""
        vectors = self._vectors()
        self._optimiser.tell([(vector, -value) for vector, value in zip(vectors, worth, strict=True)])
        self.worth.append(list(worth))

    def restore(self, start: NDArray[np.float64], worth: NDArray[np.float64]) -> None:
        """Go on from a saved state. Raises ValueError when it is of other heads or another population."""
        if start.shape != self.start.shape or worth.shape[1:] != (self.population,):
            raise ValueError("the saved evolution is of other heads or another population")
        self._begin(start.copy())
        for generation in worth.tolist():
            self.tell(generation)

    def _begin(self, start: NDArray[np.float64]) -> None:
        self.start = start
        self.worth: list[list[float]] = []
        population = self.spec.population
        self._optimiser = SepCMA(mean=start.copy(), sigma=self.spec.sigma, population_size=population)

    def _vectors(self) -> list[NDArray[np.float64]]:
        self._optimiser.reseed_rng(seed_of("evolution", self.seed, self._optimiser.generation) & 0xFFFFFFFF)
        return [self._optimiser.ask() for _ in range(self.population)]

    def _weights(self, vector: NDArray[np.float64]) -> Weights:
        out: Weights = {}
        at = 0
        for name, shape in self._shapes.items():
            size = int(np.prod(shape))
            out[name] = vector[at : at + size].reshape(shape).astype(np.float32)
            at += size
        return out


async def compete(
    rollouts: Rollouts,
    candidates: Sequence[Policy],
    tasks: Sequence[Task],
    settings: Callable[[int, int], Settings],
    teams: Sequence[Orchestrator],
    done: Callable[[], None] | None = None,
) -> list[Result]:
    """One run of each task by each candidate, task by task: result [t * len(candidates) + c].

    settings: (task, 0) -> how to run it; the same for all candidates. Raises as `Rollouts.run`.
    """
    found = [
        await rollouts.run(LearnedCoordinator(each), tasks, seeds=(0,), settings=settings, teams=teams, done=done)
        for each in candidates
    ]
    return [mine[place] for place in range(len(tasks)) for mine in found]
