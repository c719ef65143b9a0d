"""Batches: questions about one video that wait while others are answered share the next pass."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from concurrent.futures import Executor

from bpnet.errors import BPNetError
from bpnet.inference.opened import OpenedVideo
from bpnet.types import Moment

# A pass takes no further question beyond so many sentences, so that other videos get their turn.
PASS_QUERIES = 256

Answers = list[list[Moment]]


@dataclasses.dataclass(frozen=True, eq=False)
class Question:
    """What one request asks.

    Attributes:
        queries: Sentences, at least one.
        top: Largest number of moments a sentence.
        min_score: Moments with a lower score are left out.
        answer: Where the moments of each sentence, or an error, are put.
    """

    queries: Sequence[str]
    top: int
    min_score: float
    answer: asyncio.Future[Answers]


class Batches:
    """Questions and the thread that answers them; used from one event loop.

    Args:
        thread: Runs the model.
    """

    def __init__(self, thread: Executor) -> None:
        self._thread = thread
        # In the order in which the videos are served: one that has been goes to the end.
        self._waiting: dict[OpenedVideo, list[Question]] = {}
        self._work: asyncio.Task[None] | None = None

    async def ask(
        self, video: OpenedVideo, queries: Sequence[str], top: int, min_score: float
    ) -> Answers:
        """Find what sentences describe.

        Args:
            video: The video.
            queries: Sentences, at least one.
            top: Largest number of moments a sentence, >= 1.
            min_score: Moments with a lower score are left out.

        Returns:
            For each sentence its moments, best first.

        Raises:
            BPNetError: As `OpenedVideo.localize`, for these sentences alone.
        """
        answer: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(video, []).append(Question(queries, top, min_score, answer))
        if self._work is None:
            self._work = asyncio.create_task(self._answer_all())
        try:
            return await answer
        finally:
            del (
                answer
            )  # an error in it knows this frame: together they would wait for the collector

    async def _answer_all(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                video, questions = self._take()
                found = await loop.run_in_executor(self._thread, answer_together, video, questions)
                for question, outcome in zip(questions, found, strict=True):
                    if question.answer.done():  # who asked was cancelled
                        continue
                    if isinstance(outcome, Exception):
                        question.answer.set_exception(outcome)
                    else:
                        question.answer.set_result(outcome)
        finally:
            self._work = None

    def _take(self) -> tuple[OpenedVideo, list[Question]]:
        """The video that has waited longest, with as many of its questions as fit a pass."""
        video = next(iter(self._waiting))
        waiting = self._waiting.pop(video)
        taken, size = 0, 0
        while taken < len(waiting) and (taken == 0 or size < PASS_QUERIES):
            size += len(waiting[taken].queries)
            taken += 1
        if taken < len(waiting):
            self._waiting[video] = waiting[taken:]
        return video, waiting[:taken]


def answer_together(video: OpenedVideo, questions: Sequence[Question]) -> list[Answers | Exception]:
    """Answer several questions about one video in one pass.

    Args:
        video: The video.
        questions: At least one.

    Returns:
        For each question its answer, or what is wrong with it.
    """
    try:
        found = video.localize(
            [query for question in questions for query in question.queries],
            top=max(question.top for question in questions),
            min_score=min(question.min_score for question in questions),
        )
    except BPNetError as err:
        if len(questions) == 1:
            return [err.with_traceback(None)]  # which would keep the video, and the question
        # Sentences are checked before any is answered, so that little has been lost. Each alone:
        # one that cannot be answered does not fail the others.
        return [outcome for question in questions for outcome in answer_together(video, [question])]
    except Exception as err:  # a bug, or no memory: the next pass is to run all the same
        return [err] * len(questions)
    answers: list[Answers | Exception] = []
    first = 0
    for question in questions:
        own = found[first : first + len(question.queries)]
        first += len(question.queries)
        answers.append(
            [
                [one for one in moments[: question.top] if one.score >= question.min_score]
                for moments in own
            ]
        )
    return answers
