"""The seven criteria of a successful migration, each with its evidence."""

import pytest

pytestmark = [pytest.mark.validation, pytest.mark.benchmark(group="criteria")]


def test_1_the_project_is_in_its_organization(criterion, evidence, benchmark_clock):
    """The project's parent is the organization."""
    criterion.judge(evidence.organization(benchmark_clock))


def test_2_the_workstation_cluster_has_gpus(criterion, evidence, benchmark_clock):
    """Workstation cluster ai-development exists, and its configuration has GPUs."""
    criterion.judge(evidence.workstation_cluster(benchmark_clock))


def test_3_agent_storage_answers(criterion, evidence, benchmark_clock):
    """AlloyDB cluster agent-storage exists and answers a query."""
    criterion.judge(evidence.agent_storage(benchmark_clock))


def test_4_agent_memory_gives_back_what_is_written(criterion, evidence, benchmark_clock):
    """Redis instance agent-memory exists and gives back what is written."""
    criterion.judge(evidence.agent_memory(benchmark_clock))


def test_5_vector_search_is_fast_and_right(criterion, evidence, benchmark_clock):
    """Vector search answers in time at p99, with its recall."""
    criterion.judge(evidence.vector_search(benchmark_clock))


def test_6_the_api_is_fast_and_without_errors(criterion, evidence, benchmark_clock):
    """The API answers in time at p99, under load, without an error."""
    criterion.judge(evidence.api(benchmark_clock))


def test_7_workstations_start_in_time(criterion, evidence, benchmark_clock):
    """Every cold start of the workstation is fast enough."""
    criterion.judge(evidence.workstation_start(benchmark_clock))
