"""The scorecard: every claim of the podcast held against the recorded tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from lth_utils.errors import DataError
from lth_utils.studies._claims import CLAIMS, MATCHES, MATCHES_ELSEWHERE, Claim
from lth_utils.studies._recording import recorded
from lth_utils.studies._studies import by_name

SCORECARD = [
    "claim", "text", "where", "study", "dataset", "network", "replicates",
    "ours", "low", "high", "quantity", "published", "verdict",
]  # fmt: skip
"""Columns of the scorecard, one row a claim."""

NUMBERS = ("ours", "low", "high", "replicates")


def scorecard(folder: str | Path | None = None) -> pd.DataFrame:
    """Every claim of the podcast with our number, its interval and a verdict.

    Built from the recorded tables alone. A claim without a study is *open*.

    Returns:
        One row a claim, columns ``SCORECARD``.
    """
    rows = []
    for claim in CLAIMS:
        row = (
            dict.fromkeys(SCORECARD, "")
            | dict.fromkeys(NUMBERS)
            | {
                "claim": claim.id,
                "text": claim.text,
                "where": claim.where,
                "published": claim.published,
                "verdict": "open",
            }
        )
        if claim.rule is None:
            row["quantity"] = "no study yet"
        else:
            row |= _judge(claim, folder)
        rows.append(row)
    card = pd.DataFrame(rows, columns=SCORECARD)
    return card.astype({"ours": float, "low": float, "high": float, "replicates": "Int64"})


def _doubt(claim: Claim, name: str, provenance: Mapping) -> str:
    """Why the recorded result of a study may not settle a claim; empty where it may."""
    study, settings = by_name(name), provenance["settings"]
    needed = claim.least or (5 if settings["network"].startswith("LeNet") else 3)
    if settings["scale"] != "paper":
        return f"recorded at {settings['scale']} scale, which settles nothing"
    if provenance["dataset"]["name"] != study.prepared().dataset:
        return f"recorded on {provenance['dataset']['title']}, a stand-in"
    if len(provenance["seeds"]) < needed:
        return f"{len(provenance['seeds'])} replicates where {needed} are needed"
    return ""


def _judge(claim: Claim, folder: str | Path | None) -> dict:
    try:
        result = recorded(claim.study, folder)
    except DataError:
        return {"study": claim.study, "quantity": "study not recorded yet"}
    p = result.provenance
    if doubt := _doubt(claim, claim.study, p):
        return {"study": claim.study, "quantity": doubt}
    try:
        beside = {name: recorded(name, folder) for name in claim.beside}
    except DataError:
        return {"study": claim.study, "quantity": "a study beside it is not recorded yet"}
    for name, other in beside.items():
        if doubt := _doubt(claim, name, other.provenance):
            return {"study": claim.study, "quantity": f"{name} beside it: {doubt}"}
    tables = [result.table, *(other.table for other in beside.values())]
    table = pd.concat(tables, ignore_index=True)
    finding = claim.rule(table, MATCHES.get(p["dataset"]["name"], MATCHES_ELSEWHERE))
    facts = {
        "study": claim.study,
        "dataset": p["dataset"]["title"],
        "network": p["settings"]["network"],
        "replicates": len(p["seeds"]),
    }
    if finding is None:
        return facts | {"quantity": "the study is not sparse enough to settle it"}
    return facts | {
        k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(finding).items()
    }
