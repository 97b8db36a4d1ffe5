# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Run many cases, and print how they ended; the code is 1 if any of the last four columns is not 0."""

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=1000, help="of all areas together")
    parser.add_argument("--areas", help="some of them, with commas between")
    parser.add_argument("--only", help="one case again, with its traceback: AREA:NUMBER")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        os.environ["HF_HOME"] = folder  # before anything of the Hub is imported: its caches go with the cases
        from .areas import AREAS
        from .world import build_world

        chosen = options.areas.split(",") if options.areas else list(AREAS)
        world = build_world(Path(folder))
        if options.only:
            return again(world, options.seed, *options.only.split(":"))
        return table(world, options.seed, options.cases, chosen)


def table(world, seed: int, number: int, areas: list[str]) -> int:
    from .case import FAULTS, OUTCOMES
    from .workers import run

    cases = [(areas[i % len(areas)], i // len(areas)) for i in range(number)]
    counts, faults, slowest = {area: Counter() for area in areas}, [], None
    for ended in run(world, seed, sorted(cases)):
        counts[ended.area][ended.outcome] += 1
        slowest = ended if slowest is None or ended.seconds > slowest.seconds else slowest
        if ended.is_fault:
            faults.append(ended)
            print(f"{ended.area}:{ended.number}  {ended.outcome}\n    given: {ended.given}\n    came:  {ended.shown}")
            sys.stdout.flush()
    print(f"\nseed {seed}   " + "".join(f"{outcome:>18}" for outcome in OUTCOMES))
    for name, row in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        print(f"{name:12}" + "".join(f"{row[outcome]:18}" for outcome in OUTCOMES))
    print(f"slowest: {slowest.area}:{slowest.number}, {slowest.seconds:.1f} s")
    if faults:
        print(f"again: python -m tests.fuzz --seed {seed} --only {faults[0].area}:{faults[0].number}")
    return int(any(row[outcome] for row in counts.values() for outcome in FAULTS))


def again(world, seed: int, area: str, number: str) -> int:
    """One case in this process, so that its traceback and all that is said can be seen."""
    import traceback

    from .case import judge
    from .workers import make

    folder = world.folder / "again"
    folder.mkdir()
    os.chdir(folder)
    case = make(world, seed, area, int(number), folder)
    print(f"given: {case.given}")
    call = case.call

    def shown():
        try:
            result = call()
        except Exception:
            traceback.print_exc()
            raise
        print(f"result: {str(result)[:500]}")
        return result

    case.call = shown
    outcome, why = judge(case)
    print(f"{outcome}: {why}")
    os.chdir("/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
