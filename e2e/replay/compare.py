#!/usr/bin/env python3
"""Compares `PATH replay` with the reference on random cases and examples; standard library only.

    compare.py --binary PATH [--seeds A..B] [--examples DIR] [--all] [--contested] [--keep-going]
    compare.py --seeds A..B          without --binary: what the cases contain
    compare.py --examples DIR        without --binary: the reference against the expected files

Exits 1 on any failure; the last line is `N passed, N failed`.
"""
import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import reference
from generate_case import Case

THREADS = [1, 2, 3]
BATCHES = [None, 1, 4096, 65537]
COMBINATIONS = list(itertools.product(THREADS, BATCHES))
COUNTERS = ["lines", "parsed", "unparsed", "clients", "records", "blocks", "warns", "while_banned", "late",
            "unattributed", "evicted"]


def run_reference(settings, log_format, logs, trace=None):
    return reference.replay(logs, reference.load_settings(settings), reference.load_log_format(log_format), trace)


def run_binary(binary, settings, log_format, logs, threads, batch, timeout):
    command = [binary, "replay", "--settings", settings]
    if log_format:
        command += ["--log-format", log_format]
    command += ["--output", "json", "--threads", str(threads)]
    if batch is not None:
        command += ["--batch-bytes", str(batch)]
    try:
        done = subprocess.run(command + logs, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return command + logs, None, None, "no end after %d s" % timeout
    error_lines = done.stderr.decode("utf-8", "replace").splitlines()
    if done.returncode != 0:
        return command + logs, None, None, "exit code %d: %s" % (done.returncode, " / ".join(error_lines[-5:]))
    try:
        decisions = [json.loads(line) for line in done.stdout.decode("utf-8").split("\n")[:-1]]
        summary = json.loads(error_lines[-1])
    except (ValueError, IndexError) as error:
        return command + logs, None, None, "output is not as specified: %s; stderr ends %r" % (error, error_lines[-1:])
    for decision in decisions:
        decision.pop("country", None)
    return command + logs, decisions, summary, None


def same(a, b):
    """Equal, and of the same JSON types (1 is not true, nor "1")."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def difference(expected, got, expected_summary, got_summary):
    """The first difference as text, or None."""
    out = []
    for i, (want, have) in enumerate(itertools.zip_longest(expected, got)):
        if want is None or have is None or not same(want, have):
            out.append("first difference at decision %d (of %d expected, %d got):" % (i + 1, len(expected), len(got)))
            out += ["    both      " + json.dumps(d) for d in expected[max(0, i - 3):i]]
            out += ["    expected  " + json.dumps(d) for d in expected[i:i + 3]]
            out += ["    got       " + json.dumps(d) for d in got[i:i + 3]]
            break
    for key in COUNTERS:
        if not same(expected_summary.get(key), got_summary.get(key, "missing")):
            out.append("summary %s: expected %s, got %s" % (key, expected_summary.get(key), got_summary.get(key, "missing")))
    return "\n".join(out) or None


def check(name, binary, settings, log_format, logs, combinations, timeout):
    """Prints the first difference of a case; True if there is none."""
    expected, summary = run_reference(settings, log_format, logs)
    for threads, batch in combinations:
        command, decisions, got_summary, problem = run_binary(binary, settings, log_format, logs, threads, batch, timeout)
        if problem is None:
            problem = difference(expected, decisions, summary, got_summary)
        if problem is not None:
            print("FAILED %s (threads %d, batch-bytes %s)\n  %s" % (name, threads, batch, problem.replace("\n", "\n  ")))
            print("  command: " + " ".join(command))
            print("  what the reference made of each line: reference.py --trace FILE --settings %s %s%s" % (
                settings, "--log-format %s " % log_format if log_format else "", " ".join(logs)))
            return False
    return True


def examples_in(directory):
    for file in sorted(os.listdir(directory)):
        if file.endswith(".log"):
            base = os.path.join(directory, file[:-4])
            log_format = base + ".log_format" if os.path.exists(base + ".log_format") else None
            yield file[:-4], base, base + ".settings.json", log_format, [base + ".log"]


def check_expected(name, base, settings, log_format, logs):
    """The reference itself against the files beside an example."""
    decisions, summary = run_reference(settings, log_format, logs)
    with open(base + ".decisions.jsonl", encoding="utf-8") as file:
        want = [json.loads(line) for line in file]
    for decision in want:
        decision.pop("country", None)
    with open(base + ".summary.json", encoding="utf-8") as file:
        want_summary = json.load(file)
    problem = difference(want, decisions, want_summary, summary)
    if problem is not None:
        print("FAILED reference on example %s\n  %s" % (name, problem.replace("\n", "\n  ")))
    return problem is None


def case_files(directory):
    logs = sorted(os.path.join(directory, f) for f in os.listdir(directory) if f.endswith(".log"))
    log_format = os.path.join(directory, "case.log_format")
    return os.path.join(directory, "case.settings.json"), log_format if os.path.exists(log_format) else None, logs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary")
    parser.add_argument("--seeds", help="A..B, both included")
    parser.add_argument("--examples")
    parser.add_argument("--all", action="store_true", help="all 12 combinations of threads and batch bytes for every case, not 5")
    parser.add_argument("--contested", action="store_true", help="cases with what the specification leaves open, too")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first 10 failures")
    parser.add_argument("--timeout", type=int, default=120)
    args = parser.parse_args()
    if not args.seeds and not args.examples:
        parser.error("give --seeds or --examples")
    if args.binary:
        args.binary = os.path.abspath(args.binary)

    passed = failed = 0

    def count(ok):
        nonlocal passed, failed
        passed, failed = passed + ok, failed + (not ok)

    if args.examples:
        for name, base, settings, log_format, logs in examples_in(args.examples):
            count(check_expected(name, base, settings, log_format, logs))
            if args.binary:
                count(check("example " + name, args.binary, settings, log_format, logs, COMBINATIONS, args.timeout))

    if args.seeds:
        first, _, last = args.seeds.partition("..")
        seeds = range(int(first), int(last or first) + 1)
        totals = dict.fromkeys(COUNTERS, 0)
        cases_with = dict.fromkeys(COUNTERS, 0)
        for seed in seeds:
            directory = tempfile.mkdtemp(prefix="replay-case-%d-" % seed)
            Case(seed, args.contested).make(directory)
            settings, log_format, logs = case_files(directory)
            ok = True
            if args.binary:
                # The plain run and four others that take turns, so that every one comes up.
                some = [COMBINATIONS[0]] + [COMBINATIONS[1 + (seed * 4 + i) % 11] for i in range(4)]
                ok = check("seed %d%s" % (seed, " --contested" if args.contested else ""), args.binary, settings,
                           log_format, logs, COMBINATIONS if args.all else some, args.timeout)
                count(ok)
            else:
                _, summary = run_reference(settings, log_format, logs)
                for key in COUNTERS:
                    totals[key] += summary[key]
                    cases_with[key] += summary[key] > 0
            if ok:  # a failed case stays for a look
                for file in os.listdir(directory):
                    os.unlink(os.path.join(directory, file))
                os.rmdir(directory)
            elif failed >= 10 and not args.keep_going:
                print("stopped after 10 failures (--keep-going goes on)")
                break
        if not args.binary:
            for key in COUNTERS:
                print("%-13s %8d in all, in %d of %d cases" % (key, totals[key], cases_with[key], len(seeds)))

    print("%d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
