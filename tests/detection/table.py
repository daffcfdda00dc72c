"""What the experiment found, as JSON for programs and as a page for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from sandbox.sabotage.saboteur import Saboteur
from sandbox.state import write_private
from tests.detection.trials import WANTED, Outcome

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; } th:nth-child(3) { width: 48%; }
ul { margin: 0; padding-left: 1.2em; } td { overflow-wrap: anywhere; }
th, td { text-align: left; vertical-align: top; padding: .3em .8em; }
tr { border-top: 1px solid #ccc; } .good { color: #06662e; } .bad { color: #a80000; font-weight: bold; }
.open { color: #6b5900; }
small { color: #555; display: block; }
"""


def found(saboteurs: Sequence[Saboteur], outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """The whole finding.

    A saboteur counts as detected when every run in which it could act detected it. It counts as not touched when this
    account could not let it act in any run.
    """
    rows = []
    for one in saboteurs:
        runs = [outcome for outcome in outcomes if outcome.trial.saboteur == one]
        if runs:
            rows.append(
                {
                    "name": one.name,
                    "breaks": one.breaks,
                    "seen": one.seen,
                    "rule": one.rule,
                    "noticed": one.noticed.pattern,
                    "detected": any(run.verdict == "detected" for run in runs) and all(run.as_wanted for run in runs),
                    "not_touched": all(run.as_wanted and run.verdict == "not touched" for run in runs),
                    "runs": [_run(run) for run in runs],
                }
            )
    honest = [outcome for outcome in outcomes if outcome.trial.saboteur is None]
    counted = Counter(outcome.verdict for outcome in outcomes)
    return {
        "saboteurs": len(rows),
        "detected": sum(row["detected"] is True for row in rows),
        "not_touched": sum(row["not_touched"] is True for row in rows),
        "honest_runs": len(honest),
        "false_alarms": sum(outcome.verdict != "passed" for outcome in honest),
        "runs": dict(sorted(counted.items())),
        "seconds": round(seconds, 1),
        "table": rows,
        "honest": [_run(outcome) for outcome in honest],
    }


def write(folder: Path, finding: dict[str, Any]) -> None:
    """Writes detection.json and detection.html, each whole or not at all."""
    for name, text in (
        ("detection.json", json.dumps(finding, indent=1, ensure_ascii=False)),
        ("detection.html", page(finding)),
    ):
        write_private(folder / name, text)
        (folder / name).chmod(0o644)


def headline(finding: dict[str, Any]) -> str:
    """The score in one line."""
    untouched = finding["not_touched"]
    return (
        f"{finding['detected']} of {finding['saboteurs']} saboteurs detected, "
        + (f"{untouched} not touched for lack of privileges, " if untouched else "")
        + f"{finding['false_alarms']} false alarms in {finding['honest_runs']} honest runs"
    )


def page(finding: dict[str, Any]) -> str:
    head = f"{headline(finding)}, {finding['seconds']} s"
    rows = "".join(_row(row) for row in finding["table"])
    return (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Detection</title><style>{_STYLE}</style>'
        f"<h1>Detection</h1><p>{escape(head)}</p><h2>Honest runs</h2>{_by_suite(finding['honest'])}"
        "<h2>Saboteurs</h2><table><tr><th>What it breaks<th>Rule that must notice<th>Where, and in which words</tr>"
        f"{rows}</table></html>"
    )


def _row(row: dict[str, Any]) -> str:
    color = "good" if row["detected"] else "open" if row["not_touched"] else "bad"
    return (
        f'<tr id="{escape(row["name"])}"><td><b class="{color}">{escape(row["name"])}</b><br>{escape(row["breaks"])}'
        f"<small>Seen: {escape(row['seen'])}</small><td>{escape(row['rule'])}"
        f"<small><code>{escape(row['noticed'])}</code></small><td>{_by_suite(row['runs'])}</tr>"
    )


def _by_suite(runs: Sequence[dict[str, Any]]) -> str:
    """A line a suite, with the words of its first run; what did not go as wanted is told run by run."""
    lines = []
    for suite in sorted({run["suite"] for run in runs}):
        of_suite = [run for run in runs if run["suite"] == suite]
        wanted = [run for run in of_suite if run["verdict"] in WANTED]
        if wanted:
            seconds = [run["seconds"] for run in wanted]
            told = f"{wanted[0]['verdict']} {len(wanted)} of {len(of_suite)}"
            lines.append(
                _line(suite, told, f"{min(seconds):.0f} to {max(seconds):.0f} s", wanted[0]["message"], "good")
            )
        for run in of_suite:
            if run["obstacle"]:
                told = f"{run['verdict']} in run {run['number']}"
                words = "; ".join(filter(None, (run["obstacle"], run["message"])))
                color = "open" if run["verdict"] == "not touched" else "bad"
                lines.append(_line(suite, told, f"{run['seconds']:.0f} s", words, color))
            elif run["verdict"] not in WANTED:
                told = f"{run['verdict']} in run {run['number']}"
                lines.append(_line(suite, told, f"{run['seconds']:.0f} s", run["message"], "bad"))
    return f"<ul>{''.join(lines) or '<li>none</li>'}</ul>"


def _line(suite: str, told: str, seconds: str, message: str | None, color: str) -> str:
    words = f"<small>{escape(message)}</small>" if message else ""
    return f'<li>{escape(suite)}: <span class="{color}">{escape(told)}</span> ({seconds}){words}'


def _run(outcome: Outcome) -> dict[str, Any]:
    told = asdict(outcome) | {"seconds": round(outcome.seconds, 2)}
    del told["trial"]
    return {"suite": outcome.trial.suite, "number": outcome.trial.number, **told}


def summary(outcomes: Iterable[Outcome]) -> str:
    return ", ".join(
        f"{count} {verdict}" for verdict, count in sorted(Counter(one.verdict for one in outcomes).items())
    )
