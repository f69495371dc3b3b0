"""Questions that many ask at the same time."""

from __future__ import annotations

import asyncio

import pytest

from builder.once import Once


class Question:
    """Counts how often it is asked; answers when it is let go."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked = 0
        self.go = asyncio.Event()
        self._error = error

    async def __call__(self) -> int:
        self.asked += 1
        await self.go.wait()
        if self._error is not None:
            raise self._error
        return self.asked


async def test_concurrent_calls_share_one_answer() -> None:
    once, question = Once[int](), Question()
    calls = [asyncio.create_task(once("a", question)) for _ in range(3)]
    await asyncio.sleep(0)
    question.go.set()
    assert await asyncio.gather(*calls) == [1, 1, 1]


async def test_concurrent_calls_share_one_error() -> None:
    once, question = Once[int](), Question(ValueError("no"))
    question.go.set()
    answers = await asyncio.gather(once("a", question), once("a", question), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["no", "no"]
    assert question.asked == 1


async def test_nothing_is_kept_afterwards() -> None:
    once, question = Once[int](), Question()
    question.go.set()
    assert [await once("a", question), await once("a", question)] == [1, 2]


async def test_keys_are_apart() -> None:
    once, question = Once[int](), Question()
    question.go.set()
    assert await asyncio.gather(*(once(key, question) for key in "ab")) == [1, 2]


async def test_a_question_goes_on_when_one_who_asked_leaves() -> None:
    once, question = Once[int](), Question()
    leaving, staying = (asyncio.create_task(once("a", question)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    question.go.set()
    assert await staying == 1
