#!/usr/bin/env python3
"""Runs the groups of steps named as arguments (`check`, `test`) and adds up what they counted.

Every step runs, also after a failure, unless it needs one that failed. The full output of each
goes to target/test/NAME.log; the terminal shows what a person wants to follow. At the end stand
what was slow, what was skipped and why, and alone on the last line the totals. A step without a
count of its own counts as one test. The exit status is 0 only if nothing failed.

The tools are expected to be installed: tests/setup/check.sh and test.sh see to that.
"""

import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOGS = ROOT / "target" / "test"
VENV = pathlib.Path(os.environ.get("HOLDFAST_VENV", ROOT / "target" / "setup" / "venv"))
VCENTER = ROOT / "tests" / "lab" / "vcenter"
# Where the step `build` puts the programs that the lab then runs.
BUILT = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"

CARGO_RESULT = re.compile(
    r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;.*finished in ([\d.]+)s"
)
CARGO_BINARY = re.compile(r"^\s+(?:Running (?:unittests )?(\S+) \((\S+)\)|Doc-tests (\S+))")
GO_RESULT = re.compile(r"^--- (PASS|FAIL|SKIP): (\S+) \(([\d.]+)s\)")
PYTHON_RAN = re.compile(r"^Ran (\d+) tests? in ([\d.]+)s")
PYTHON_END = re.compile(r"^(?:OK|FAILED)(?: \((.*)\))?$")
SHOWN = re.compile(
    r"^(test .* FAILED|test result: FAILED|--- FAIL|FAIL|FAILED|ERROR: |\s+(Running|Doc-tests) "
    r"|thread '.*panicked|error|.*SKIPPED: |longest )"
)


@dataclasses.dataclass
class Step:
    """One command. `counts` says whose closing lines are read: cargo, go, python or nobody's."""

    name: str
    command: list[str]
    directory: pathlib.Path = ROOT
    counts: str = ""
    needs: str = ""  # steps without which it makes no sense, with commas


@dataclasses.dataclass
class Outcome:
    """What a step came to."""

    step: Step
    seconds: float = 0.0
    ok: bool = False
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: list[str] = dataclasses.field(default_factory=list)
    slow: list[tuple[float, str]] = dataclasses.field(default_factory=list)


def groups() -> dict[str, list[Step]]:
    """The steps of each group, in the order in which they run."""
    cargo_test = ["cargo", "test", "--workspace", "--exclude", "tidy", "--no-fail-fast"]
    return {
        "check": [
            Step("format", ["cargo", "fmt", "--all", "--check"]),
            Step("clippy", ["cargo", "clippy", "--workspace", "--all-targets", "--",
                            "--deny", "warnings"]),
            Step("tidy", ["cargo", "test", "--package", "tidy", "--", "--show-output"],
                 counts="cargo"),
            Step("go-format", ["sh", "-c", 'out=$(gofmt -l .); echo "$out"; test -z "$out"'],
                 VCENTER),
            Step("go-vet", ["go", "vet", "./..."], VCENTER),
        ],
        "test": [
            Step("build", ["cargo", "build", "--workspace", "--bins"]),
            Step("build-tests", [*cargo_test, "--no-run"]),
            Step("cargo-test", [*cargo_test, "--", "--show-output"],
                 counts="cargo", needs="build, build-tests"),
            Step("go-test", ["go", "test", "-v", "./..."], VCENTER, counts="go"),
            Step("verify-test", [str(VENV / "bin" / "python"), "-B", "-m", "unittest",
                                 "tests/verify_test.py"], counts="python"),
            *licence_steps(),
        ],
    }


def licence_steps() -> list[Step]:
    """`cargo deny` where it is installed; tidy checks the licences everywhere."""
    found = subprocess.run(["cargo", "deny", "--version"], capture_output=True, check=False)
    if found.returncode != 0:
        return []
    return [Step("cargo-deny", ["cargo", "deny", "--offline", "check", "bans", "licenses",
                                "sources"])]


class Reader:
    """Reads a step's output line by line and counts into its outcome."""

    def __init__(self, outcome: Outcome):
        self.outcome = outcome
        self.binary = "?"

    def line(self, line: str) -> None:
        if "SKIPPED: " in line:
            self.outcome.reasons.append(line.strip())
        getattr(self, self.outcome.step.counts or "nobody")(line)

    def nobody(self, line: str) -> None:
        pass

    def cargo(self, line: str) -> None:
        if found := CARGO_BINARY.match(line):
            path = found[2] or ""
            crate = re.sub(r"-[0-9a-f]+$", "", pathlib.Path(path).name) or f"{found[3]} (doc)"
            self.binary = crate
        if found := CARGO_RESULT.match(line):
            self.outcome.passed += int(found[1])
            self.outcome.failed += int(found[2])
            self.outcome.skipped += int(found[3])
            self.outcome.slow.append((float(found[4]), self.binary))

    def go(self, line: str) -> None:
        if found := GO_RESULT.match(line):
            counter = {"PASS": "passed", "FAIL": "failed", "SKIP": "skipped"}[found[1]]
            setattr(self.outcome, counter, getattr(self.outcome, counter) + 1)
            self.outcome.slow.append((float(found[3]), f"go {found[2]}"))

    def python(self, line: str) -> None:
        if found := PYTHON_RAN.match(line):
            self.outcome.passed += int(found[1])
            self.outcome.slow.append((float(found[2]), f"python {self.outcome.step.name}"))
        if (found := PYTHON_END.match(line)) and found[1]:
            counts = dict(re.findall(r"(\w+)=(\d+)", found[1]))
            failed = int(counts.get("failures", 0)) + int(counts.get("errors", 0))
            skipped = int(counts.get("skipped", 0))
            self.outcome.failed += failed
            self.outcome.skipped += skipped
            self.outcome.passed = max(0, self.outcome.passed - failed - skipped)

    def finish(self, ok: bool) -> None:
        """Settles the counts: a loud SKIPPED is not a pass, a failure must be counted."""
        outcome = self.outcome
        outcome.ok = ok and outcome.failed == 0
        if outcome.step.counts == "cargo":
            loud = min(len(outcome.reasons), outcome.passed)
            outcome.passed -= loud
            outcome.skipped += loud
        if not outcome.step.counts and ok:
            outcome.passed += 1
        if not ok and outcome.failed == 0:
            outcome.failed += 1
        if outcome.step.counts and ok and outcome.passed + outcome.skipped == 0:
            print(f"{outcome.step.name}: ran no test, which counts as a failure")
            outcome.ok, outcome.failed = False, 1


def run(step: Step) -> Outcome:
    """Runs one step; its output goes to a log, what matters also to the terminal."""
    outcome = Outcome(step)
    reader = Reader(outcome)
    print(f"== {step.name}: {' '.join(step.command)}", flush=True)
    started = time.monotonic()
    log_path = LOGS / f"{step.name}.log"
    with log_path.open("w", encoding="utf-8") as log:
        child = subprocess.Popen(step.command, cwd=step.directory, stdin=subprocess.DEVNULL,
                                 env=os.environ | {"HOLDFAST_BIN": str(BUILT)},
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 text=True, errors="replace")
        for line in child.stdout:
            log.write(line)
            reader.line(line)
            if SHOWN.match(line):
                print(line.rstrip(), flush=True)
        reader.finish(child.wait() == 0)
    outcome.seconds = time.monotonic() - started
    if not outcome.ok:
        show_failure(step, log_path)
    return outcome


def show_failure(step: Step, log_path: pathlib.Path) -> None:
    """The part of the log that explains the failure, as far as one can tell."""
    lines = log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    starts = [n for n, line in enumerate(lines) if line.strip() == "failures:"]
    shown = lines[starts[0]:starts[0] + 120] if starts else lines[-60:]
    print(f"-- {step.name} FAILED; from {log_path.relative_to(ROOT)}:")
    print("\n".join(f"   {line}" for line in shown), flush=True)


def report(outcomes: list[Outcome]) -> bool:
    """The tables and the totals; whether all is well."""
    print("\nstep              wall time  passed  failed  skipped")
    for outcome in outcomes:
        print(f"{outcome.step.name:<16} {outcome.seconds:>9.1f} s {outcome.passed:>7}"
              f" {outcome.failed:>7} {outcome.skipped:>8}")
    slow = sorted((entry for outcome in outcomes for entry in outcome.slow), reverse=True)
    print("\nslowest tests and test programs")
    for seconds, name in slow[:10]:
        print(f"{seconds:>9.1f} s  {name}")
    reasons = [reason for outcome in outcomes for reason in outcome.reasons]
    if reasons:
        print("\n" + "\n".join(reasons))
    totals = [sum(getattr(o, n) for o in outcomes) for n in ("passed", "failed", "skipped")]
    print(f"\nwall time {sum(o.seconds for o in outcomes):.0f} s; logs in target/test/")
    print("{} passed, {} failed, {} skipped".format(*totals), flush=True)
    return totals[1] == 0


def main() -> int:
    os.chdir(ROOT)
    LOGS.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    broken: set[str] = set()
    for group in sys.argv[1:]:
        for step in groups()[group]:
            if missing := broken.intersection(step.needs.split(", ")):
                print(f"== {step.name}: not run, {' and '.join(sorted(missing))} failed")
                continue
            outcomes.append(run(step))
            if not outcomes[-1].ok:
                broken.add(step.name)
    return 0 if report(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
