"""Train the embedded team's specialists from nothing, on one CPU core each.

Each specialist is a Llama of 0.9 million parameters over characters, trained on answer tokens only: first on its
bare skills, then on lessons of all kinds, and at last, while the learning rate falls, on lessons with the mistakes it
should end up making (see lessons.py). It is saved in bfloat16 as an ordinary transformers folder that loads offline.

    python examples/embedded/train_specialists.py --out agents/embedded
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import torch
from lessons import ROSTER, WELL, Lesson, Lessons, Specialist, exam, shown
from muon import Muon
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch.nn import functional
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from podium.training.tasks.embedded import PASS, SKILLS, Exercise, Exercises, normal, reserved_words
from podium.training.tasks.embedded_routes import ROUTES, Step

UNKNOWN, PAD, END, ANSWER = "<unk>", "<pad>", "<eos>", "<answer>"
TEMPLATE: Final = (
    "{{ (messages | selectattr('role', 'equalto', 'user') | list)[-1]['content'] }}"
    "{% if add_generation_prompt %}" + ANSWER + "{% endif %}"
)
"""The last user message, then the mark that starts the answer; system messages are ignored."""

REPLY_TOKENS: Final = 24
"""The longest reply, in tokens, that a specialist is given room for."""
BARE_UNTIL: Final = 0.35
"""Share of the training that is spent on bare skills, whose prompts are short."""
NOISE_FROM: Final = 0.7
"""Share of the training after which mistakes come in and the learning rate starts to fall."""
WARM_UP: Final = 0.02
POOL: Final = 16
"""Batches are cut from a pool of this many, ordered by length, so that little is padded."""


@dataclass(frozen=True, slots=True)
class Size:
    """How big a specialist is and how it is trained."""

    width: int = 128
    inner: int = 384
    layers: int = 4
    heads: int = 4
    batch: int = 64


FULL: Final = Size()
TINY: Final = Size(width=32, inner=96, layers=2, heads=2)

MATRIX_RATE: Final = 0.02
"""Muon's learning rate, for the matrices inside the layers."""
OTHER_RATE: Final = 3e-3
"""AdamW's learning rate, for embeddings and norms."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character, except that each word of the task wordings is one token: prompts get three times shorter
    and operands, which never use those words, stay spelled out. Decoding gives back exactly what was encoded.
    """
    words = sorted(reserved_words())
    signs = ["\n", *(chr(code) for code in range(32, 127))]
    tokens = [UNKNOWN, PAD, END, ANSWER, *signs, *words, *(f" {word}" for word in words)]
    tokenizer = Tokenizer(models.WordLevel({token: place for place, token in enumerate(tokens)}, unk_token=UNKNOWN))
    pieces = Regex(rf" ?\b(?:{'|'.join(words)})\b|[\s\S]")
    tokenizer.pre_tokenizer = cast(Any, pre_tokenizers.Split(pieces, behavior="isolated"))
    tokenizer.decoder = cast(Any, decoders.Fuse())
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[ANSWER],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = TEMPLATE
    return fast


def build_model(size: Size, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """An untrained specialist."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=cast(int, tokenizer.eos_token_id),
        pad_token_id=cast(int, tokenizer.pad_token_id),
    )
    return LlamaForCausalLM(config)


def prompt_text(content: str) -> str:
    """A user message as the chat template renders it."""
    return content + ANSWER


Batch = tuple[torch.Tensor, torch.Tensor]
"""ids, targets: (B, T) int64; targets are -100 outside answers."""


def batches(lessons: Sequence[Lesson], tokenizer: PreTrainedTokenizerFast, size: int) -> list[Batch]:
    """Lessons as padded batches of `size`, each of lessons of like length."""
    read = cast("Callable[[list[str]], dict[str, list[list[int]]]]", tokenizer)
    prompts = read([prompt_text(lesson.prompt) for lesson in lessons])["input_ids"]
    answers = read([lesson.answer + END for lesson in lessons])["input_ids"]
    padding = cast(int, tokenizer.pad_token_id)
    pairs = sorted(zip(prompts, answers, strict=True), key=lambda pair: len(pair[0]) + len(pair[1]))
    out: list[Batch] = []
    for start in range(0, len(pairs), size):
        part = pairs[start : start + size]
        longest = max(len(prompt) + len(answer) for prompt, answer in part)
        ids = torch.full((len(part), longest), padding)
        targets = torch.full((len(part), longest), -100)
        for row, (prompt, answer) in enumerate(part):
            ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
            targets[row, len(prompt) - 1 : len(prompt) + len(answer) - 1] = torch.tensor(answer)
        out.append((ids, targets))
    return out


def answer_loss(model: LlamaForCausalLM, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean negative log-likelihood (nats) of the answer tokens, and the share of them that is the likeliest token."""
    ids, targets = batch
    asked = targets >= 0
    logits = model.lm_head(model.model(input_ids=ids, use_cache=False).last_hidden_state[asked])
    return functional.cross_entropy(logits, targets[asked]), (logits.argmax(-1) == targets[asked]).float().mean()


def learning_rate(progress: float) -> float:
    """Warm up, stay, then fall in a straight line to nearly nothing; a factor of the peak rate."""
    if progress < NOISE_FROM:
        return min(1.0, progress / WARM_UP + 0.05)
    return max(0.01, (1 - progress) / (1 - NOISE_FROM))


@dataclass(frozen=True, slots=True)
class Length:
    """When training ends: after `steps`, or after `seconds` if they pass first (then a seed no longer decides all)."""

    steps: int
    seconds: float = float("inf")


def train(
    model: LlamaForCausalLM,
    specialist: Specialist,
    length: Length,
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int,
    name: str,
    batch: int,
) -> None:
    """Train a model into a specialist, in place. Shows progress and the time left."""
    inside = {name: weight.ndim == 2 and "embed" not in name for name, weight in model.named_parameters()}
    matrices = Muon((weight for name, weight in model.named_parameters() if inside[name]), MATRIX_RATE)
    others = torch.optim.AdamW(
        (weight for name, weight in model.named_parameters() if not inside[name]), OTHER_RATE, betas=(0.9, 0.98)
    )
    lessons = Lessons(specialist, seed)
    order = torch.Generator().manual_seed(seed)
    start, step = time.monotonic(), 0
    pool: list[Batch] = []
    with tqdm(
        total=1.0, desc=name, mininterval=5, bar_format="{l_bar}{bar}| {elapsed}, {remaining} left{postfix}"
    ) as bar:
        while step < length.steps and time.monotonic() - start < length.seconds:
            progress = max(step / length.steps, (time.monotonic() - start) / length.seconds)
            if not pool:
                one = lessons.bare if progress < BARE_UNTIL else partial(lessons.next, progress >= NOISE_FROM)
                fresh = [one() for _ in range(POOL * batch)]
                cut = batches(fresh, tokenizer, batch)
                places = cast("list[int]", torch.randperm(len(cut), generator=order).tolist())
                pool = [cut[place] for place in places]
            loss, right = answer_loss(model, pool.pop())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer, rate in ((matrices, MATRIX_RATE), (others, OTHER_RATE)):
                optimizer.param_groups[0]["lr"] = rate * learning_rate(progress)
                optimizer.step()
                optimizer.zero_grad()
            step += 1
            bar.update(progress - bar.n)
            if step % 20 == 0:
                bar.set_postfix(step=step, loss=f"{loss.item():.3f}", right=f"{right.item():.2f}", refresh=False)


@dataclass(frozen=True, slots=True)
class Agent:
    """A trained specialist, ready to answer."""

    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast

    @staticmethod
    def load(folder: Path) -> Agent:
        """A saved specialist, read without any network, computing in float32 (faster than bfloat16 on a CPU)."""
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        tokenizer = cast(Any, AutoTokenizer).from_pretrained(folder, local_files_only=True)
        return Agent(cast(LlamaForCausalLM, model.eval()), tokenizer)

    def save(self, folder: Path) -> None:
        """Weights in bfloat16, configuration and tokenizer."""
        cast(Any, self.model).to(torch.bfloat16).save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    @torch.inference_mode()
    def samples(self, prompts: Sequence[str], number: int = 1, rows: int = 1000) -> list[list[str]]:
        """`number` replies to each prompt at temperature 1, from torch's global random numbers."""
        out: list[list[str]] = []
        for start in range(0, len(prompts), max(1, rows // number)):
            part = [prompt_text(prompt) for prompt in prompts[start : start + max(1, rows // number)]]
            given = self.tokenizer(part, return_tensors="pt", padding=True, return_token_type_ids=False)
            ids = cast(Any, self.model).generate(
                **given, do_sample=True, temperature=1.0, top_k=0, num_return_sequences=number,
                max_new_tokens=REPLY_TOKENS,
            )  # fmt: skip
            texts = self.tokenizer.batch_decode(ids[:, given["input_ids"].shape[1] :], skip_special_tokens=True)
            out += [texts[place : place + number] for place in range(0, len(texts), number)]
        return out


Team = Mapping[str, Agent]


def majority(replies: Sequence[str]) -> str:
    """The reply most samples agree on; the earliest of equals."""
    return Counter(normal(reply) or "" for reply in replies).most_common(1)[0][0]


def accuracy(exercises: Sequence[Exercise], answers: Sequence[str]) -> float:
    """Share of right answers."""
    right = sum(exercise.score(answer) >= PASS for exercise, answer in zip(exercises, answers, strict=True))
    return right / len(exercises)


def skill_accuracy(agent: Agent, type: str, size: int, seed: int) -> tuple[float, float]:
    """How often one sample is right, and how often the majority of five is."""
    exercises = list(exam(type, size, seed))
    replies = agent.samples([exercise.text for exercise in exercises], 5)
    single = [accuracy(exercises, [five[place] for five in replies]) for place in range(5)]
    return sum(single) / len(single), accuracy(exercises, [majority(five) for five in replies])


def follow(team: Team, route: Sequence[Step], exercises: Sequence[Exercise]) -> list[str]:
    """Each exercise's answer when the agents of a route are asked in turn, each shown the replies before its own."""
    shown_so_far: list[list[tuple[str, str]]] = [[] for _ in exercises]
    for step in route:
        prompts = [shown(exercise.text, seen) for exercise, seen in zip(exercises, shown_so_far, strict=True)]
        for seen, replies in zip(shown_so_far, team[step.agent].samples(prompts, step.samples), strict=True):
            seen.append((step.agent, majority(replies)))
    return [seen[-1][1] for seen in shown_so_far]


def report(team: Team, size: int, seed: int) -> str:
    """The measured tables, as Markdown: skill x agent, routes by type, and the whole mixture."""
    torch.manual_seed(seed)
    lines = ["| skill | " + " | ".join(team) + " |", "|---" * (len(team) + 1) + "|"]
    for skill in tqdm(SKILLS, desc="skills"):
        cells = (skill_accuracy(agent, skill, size, seed) for agent in team.values())
        lines.append(f"| {skill} | " + " | ".join(f"{one:.0%} ({five:.0%})" for one, five in cells) + " |")
    lines += ["", "| type | right route | right |", "|---|---|---|"]
    for kind, route in tqdm(ROUTES.items(), desc="routes"):
        exercises = list(exam(kind, size, seed))
        way = ", then ".join(step.agent + (f" x{step.samples}" if step.samples > 1 else "") for step in route)
        lines.append(f"| {kind} | {way} | {accuracy(exercises, follow(team, route, exercises)):.0%} |")
    supply = Exercises(seed, contents="test", wordings="test")
    mixture = [supply.any() for _ in range(3 * size)]
    lines += ["", "| who answers the whole mixture | right |", "|---|---|"]
    for name in tqdm(team, desc="mixture"):
        for samples in (1, 5):
            right = accuracy(mixture, follow(team, [Step(name, samples)], mixture))
            lines.append(f"| {name}, {samples} sample{'s' * (samples > 1)} | {right:.1%} |")
    answers = {
        kind: follow(team, route, [exercise for exercise in mixture if exercise.type == kind])
        for kind, route in ROUTES.items()
    }
    routed = {kind: iter(texts) for kind, texts in answers.items()}
    right = accuracy(mixture, [next(routed[exercise.type]) for exercise in mixture])
    return "\n".join([*lines, f"| the right route for each type | {right:.1%} |"])


def quick(seconds: float = 10.0, seed: int = 0) -> tuple[float, float]:
    """Train one very small specialist; the share of answer tokens it gets right on fresh lessons, before and after."""
    pupil = Specialist({"caesar_cipher": WELL, "spell_backward": WELL})
    tokenizer = build_tokenizer()
    held_out = Lessons(pupil, seed + 1)
    (check,) = batches([held_out.next(noisy=False) for _ in range(256)], tokenizer, 256)

    def right(model: LlamaForCausalLM) -> float:
        with torch.inference_mode():
            return answer_loss(model, check)[1].item()

    model = build_model(TINY, tokenizer, seed)
    before = right(model)
    train(model, pupil, Length(100_000, seconds), tokenizer, seed=seed, name="quick", batch=TINY.batch)
    return before, right(model)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", choices=[*ROSTER, "all", "none"], default="all", help="whom to train; none: report")
    parser.add_argument("--steps", type=int, help="optimiser steps instead of each specialist's own number")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop a specialist's training after this")
    parser.add_argument("--more", action="store_true", help="go on from the weights in --out")
    parser.add_argument("--out", type=Path, default=Path("agents/embedded"), help="one folder per specialist goes here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--exam", type=int, default=200, help="exercises per figure of the tables")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; one is best when two trainings share two")
    parser.add_argument("--quick", action="store_true", help="ten seconds on a very small specialist, to see it work")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.quick:
        before, after = quick(seed=options.seed)
        print(f"answer tokens right: {before:.0%} untrained, {after:.0%} after ten seconds")
        return
    tokenizer = build_tokenizer()
    for name in ROSTER if options.agent == "all" else [name for name in ROSTER if name == options.agent]:
        specialist = ROSTER[name]
        start = name if options.more else specialist.continues
        fresh = build_model(FULL, tokenizer, options.seed)
        model = fresh if start is None else Agent.load(options.out / start).model.train()
        length = Length(options.steps or specialist.steps, 60 * options.minutes)
        train(model, specialist, length, tokenizer, seed=options.seed, name=name, batch=FULL.batch)
        Agent(model, tokenizer).save(options.out / name)
    team = {name: Agent.load(options.out / name) for name in ROSTER if (options.out / name / "config.json").exists()}
    if set(team) == set(ROSTER):
        print(report(team, options.exam, options.seed))


if __name__ == "__main__":
    main()
