"""How well do the strategies of `scenario tune` search, and how honest is the winner? Tables for docs/tuning.md.

Regret: how far the truth of the point that a search would name is below the best there is (of two objectives: how much
of the hypervolume of the true front is missing), by the number of points tried. Honesty: whole studies, search and
confirmation, whose claims are held against the truth.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence

from _studies import Claim, Problem, confirm, flat, problems, search, study

from runner.tune.base import Observation

STRATEGIES = ("random", "halton", "sobol", "tpe", "nsga2", "neighbourhood")
TRIALS = (20, 50, 100)
NOISE = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=15, help="searches of each strategy")
    parser.add_argument("--studies", type=int, default=400, help="whole studies of each problem")
    parser.add_argument("--confirmations", type=int, default=4000, help="confirmations with nothing to gain")
    arguments = parser.parse_args()
    print(f"### Regret, median and 90 % of {arguments.seeds} searches, noise {NOISE:.0%}\n")
    for problem in problems():
        print_regret(problem, arguments.seeds)
    print(f"### Claims of {arguments.studies} studies\n")
    print_claims(arguments.studies)
    print_false_winners(arguments.confirmations)


def print_regret(problem: Problem, seeds: int) -> None:
    """One table: strategies against trials."""
    count = problem.space.count()
    print(f"**{problem.name}** ({'continuous' if count is None else f'{count:,} points'})\n", flush=True)
    print(f"| strategy | {' | '.join(f'after {trials}' for trials in TRIALS)} |\n|---|{'---|' * len(TRIALS)}")
    for kind in STRATEGIES:
        searches = [search(problem, kind, seed, max(TRIALS), NOISE) for seed in range(seeds)]
        cells = [_cell([problem.regret(told[:trials]) for told in searches]) for trials in TRIALS]
        print(f"| `{kind}` | {' | '.join(cells)} |", flush=True)
    print()


def _cell(regrets: Sequence[float]) -> str:
    ordered = sorted(regrets)
    return f"{statistics.median(ordered):.1%} ({ordered[int(0.9 * (len(ordered) - 1))]:.1%})"


def print_claims(count: int) -> None:
    """One row for each problem: how often a claim is beyond the truth."""
    print(
        "| objective | winner named | claim beyond the truth by more than its interval | search's own figure above the "
        "truth | by (median) |\n|---|---|---|---|---|"
    )
    for problem, noise in ((flat(), 0.03), (problems()[0], 0.03), (problems()[1], 0.1)):
        claims = [study(problem, "halton", seed, trials=40, noise=noise) for seed in range(count)]
        print(f"| {problem.name}, noise {noise:.0%} | {_row(claims)} |", flush=True)


def print_false_winners(count: int) -> None:
    """Three contenders that are all as good as the file: how often one is named, over many confirmations."""
    contenders = [Observation(number, {}, "measured", (1000.0,)) for number in range(4)]
    outcomes = [confirm(flat(), contenders, 10_000 + seed, noise=0.03, drift=0.05) for seed in range(count)]
    named = sum(outcome.winner is not None for outcome in outcomes)
    beyond = sum((outcome.standings[0].gain.low or 0.0) > 0 for outcome in outcomes)
    print(f"\nof {count} confirmations with nothing to gain {named} name a winner, {beyond} claim some gain")


def _row(claims: Sequence[Claim]) -> str:
    named = sum(claim.named for claim in claims)
    beyond = sum(claim.beyond for claim in claims)
    naive = sum(claim.by_search > claim.true_by_search for claim in claims)
    excess = statistics.median((1 + claim.by_search) / (1 + claim.true_by_search) - 1 for claim in claims)
    total = len(claims)
    return f"{named} of {total} | {beyond} of {total} | {naive} of {total} | {excess:+.1%}"


if __name__ == "__main__":
    main()
