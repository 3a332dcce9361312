"""Turns of embedding: what shares one, what comes out, what nobody waits for any more."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import closing

import gguf
import pytest

from lmrun.engines.base import LoadedModel
from lmrun.errors import InvalidParameter, UnsupportedParameter
from lmrun.worker.embedding.jobs import Failure, Job, Jobs
from lmrun.worker.frames import Embedded
from tests.support.engines import Subject
from tests.support.tiny_bert import EMBEDDING, make_tiny_bert


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedModel]:
    path = make_tiny_bert(gguf.PoolingType.MEAN).write(tmp_path_factory.mktemp("m") / "bert.gguf")
    with closing(Subject(path).load()) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedModel]:
    path = make_tiny_bert(gguf.PoolingType.RANK).write(tmp_path_factory.mktemp("m") / "rank.gguf")
    with closing(Subject(path).load()) as loaded:
        yield loaded


def make_job(id: int, count: int, *, length: int = 5, dimensions: int | None = None) -> Job:
    inputs = [tuple(5 + (n + place) % 50 for place in range(length)) for n in range(count)]
    return Job(id, tuple(inputs), dimensions)


def run(jobs: Jobs) -> list[list[Embedded]]:
    """All turns to the end."""
    turns = []
    while jobs:
        answers = jobs.run_turn()
        turns.append([answer for answer in answers if isinstance(answer, Embedded)])
        assert len(turns[-1]) == len(answers) > 0
    return turns


def numbers(turns: list[list[Embedded]], id: int) -> list[float]:
    joined = b"".join(part.values for turn in turns for part in turn if part.id == id)
    return list(array("f", joined))


def test_small_jobs_share_a_turn(model: LoadedModel) -> None:
    jobs = Jobs(model)
    for id in (1, 2, 3):
        jobs.add(make_job(id, 1))
    (turn,) = run(jobs)
    assert [(part.id, part.tokens, part.is_last) for part in turn] == [
        (1, 5, True),
        (2, 5, True),
        (3, 5, True),
    ]


def test_a_large_job_comes_in_parts_and_holds_nobody_up(model: LoadedModel) -> None:
    jobs, large = Jobs(model), make_job(1, 200)
    jobs.add(large)
    jobs.add(make_job(2, 2))
    turns = run(jobs)
    assert len(turns) > 2
    assert [part.is_last for part in turns[0]] == [False, True]
    assert [turn[0].is_last for turn in turns] == [False] * (len(turns) - 1) + [True]
    assert sum(part.tokens for turn in turns for part in turn if part.id == 1) == 1000
    expected = [number for vector in model.embed(large.inputs) for number in vector]
    assert numbers(turns, 1) == pytest.approx(expected, abs=2e-3)


def test_jobs_of_other_dimensions_take_turns(model: LoadedModel) -> None:
    jobs = Jobs(model)
    jobs.add(make_job(1, 100))
    jobs.add(make_job(2, 100, dimensions=3))
    turns = run(jobs)
    assert [turn[0].id for turn in turns[:4]] == [1, 2, 1, 2]
    assert len(numbers(turns, 1)) == 100 * EMBEDDING
    assert len(numbers(turns, 2)) == 100 * 3


def test_an_input_longer_than_a_turn_is_one(model: LoadedModel) -> None:
    jobs = Jobs(model)
    jobs.add(make_job(1, 9, length=64))
    assert sum(part.tokens for turn in run(jobs) for part in turn) == 9 * 64


def test_a_dropped_job_is_gone(model: LoadedModel) -> None:
    jobs = Jobs(model)
    jobs.add(make_job(1, 200))
    jobs.add(make_job(2, 200))
    jobs.run_turn()
    jobs.drop(1)
    jobs.drop(7)
    assert {part.id for turn in run(jobs) for part in turn} == {2}


def test_pairs_are_scored(reranker: LoadedModel) -> None:
    jobs = Jobs(reranker)
    job = Job(1, make_job(1, 3).inputs, scores=True)
    jobs.add(job)
    assert numbers(run(jobs), 1) == pytest.approx(reranker.score(job.inputs), abs=1e-5)


def test_what_the_model_cannot_do_is_refused_before_anything_is_computed(
    model: LoadedModel, reranker: LoadedModel
) -> None:
    for jobs, job, error in (
        (Jobs(model), Job(1, ((5,),), scores=True), UnsupportedParameter),
        (Jobs(model), Job(1, ((5,),), dimensions=99), InvalidParameter),
        (Jobs(reranker), Job(1, ((5,),)), UnsupportedParameter),
    ):
        with pytest.raises(error):
            jobs.add(job)
        assert len(jobs) == 0


def test_what_goes_wrong_in_a_turn_ends_its_jobs_and_no_other(model: LoadedModel) -> None:
    jobs = Jobs(model)
    jobs.add(Job(1, ((10**6,),)))
    jobs.add(make_job(2, 1, dimensions=3))
    (failure,) = jobs.run_turn()
    assert isinstance(failure, Failure) and failure.id == 1
    assert isinstance(failure.error, InvalidParameter)
    assert [part.id for turn in run(jobs) for part in turn] == [2]


def test_a_long_input_announces_that_it_takes_long(model: LoadedModel) -> None:
    jobs = Jobs(model)
    assert jobs.patience_s == 0
    jobs.add(make_job(1, 2, length=64))
    unknown = jobs.patience_s
    assert unknown > 1
    jobs.add(make_job(2, 30, length=64))
    jobs.run_turn()
    assert 0 < jobs.patience_s < unknown
