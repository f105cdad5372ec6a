"""The error that carries all problems of a topology, and how a problem reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labctl.errors import ExitCode, LabError
from labctl.model.problem import Position, Problem, Severity


class TopologyError(LabError):
    """A topology has errors. Its text is one line for each, in the order of the file.

    Args:
        problems: what is wrong; sorted and freed of repetitions here.
    """

    exit_code = ExitCode.INVALID_TOPOLOGY

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tidy(problems)
        super().__init__("\n".join(render(problem) for problem in self.problems))


def tidy(problems: Iterable[Problem]) -> Sequence[Problem]:
    """Sorted by position, each once: the resources of one range share their table, and so their faults."""
    unique = {(problem.position, problem.message, problem.severity): problem for problem in problems}
    return sorted(unique.values(), key=lambda problem: (problem.position or Position("", 0, 0), problem.message))


def render(problem: Problem) -> str:
    """A problem in one line: `topology.toml:31:9: error: vm.web1: no datastore named "glod" (did you mean "gold"?)`."""
    where = f"{problem.position}: " if problem.position else ""
    subject = ".".join(str(key) for key in problem.path[:2])
    hint = f" ({problem.hint})" if problem.hint else ""
    return f"{where}{problem.severity}: {f'{subject}: ' if subject else ''}{problem.message}{hint}"


def has_errors(problems: Iterable[Problem]) -> bool:
    """Whether any of them stops the work."""
    return any(problem.severity is Severity.ERROR for problem in problems)


def fault_of_kind(kind: object, name: str, doing: str, error: Exception) -> tuple[str, str]:
    """Message and hint for a kind that failed with something other than a LabError: its plugin's bug, told by name.

    Args:
        kind: the kind.
        name: the kind's name.
        doing: what it was at ("checking").
        error: what came out.
    """
    package = type(kind).__module__.partition(".")[0]
    said = (str(error).splitlines() or [""])[0]
    message = f'kind "{name}" of {package} failed while {doing} it: {type(error).__name__}: {said}'
    return message, f"this is a bug of {package}; `labctl plugin list` shows which plugin brings it"
