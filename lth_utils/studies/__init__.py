"""Studies: experiments that are recorded, and what they say.

A :class:`Study` is a task with treatments, levels and replicates. :func:`record` runs it and
writes one tidy table, its learning curves and its provenance; :func:`recorded` reads them back;
:func:`scorecard` holds every claim of the podcast against the tables. Intervals are computed here
and nowhere else. :func:`check` says what speaks against a result.
"""

from lth_utils.studies._check import check
from lth_utils.studies._claims import CLAIMS, VERDICTS, Claim, Finding
from lth_utils.studies._depth import DEEP, deep_table
from lth_utils.studies._intervals import Interval, interval, measure, median, paired, summary
from lth_utils.studies._recording import CURVE_POINTS, Recorded, expected, record, recorded
from lth_utils.studies._scorecard import SCORECARD, scorecard
from lth_utils.studies._studies import PROCEDURES, STUDIES, Procedure, Study, Variant, by_name

__all__ = [
    "CLAIMS", "CURVE_POINTS", "DEEP", "PROCEDURES", "SCORECARD", "STUDIES", "VERDICTS", "Claim",
    "Finding", "Interval", "Procedure", "Recorded", "Study", "Variant", "by_name", "check",
    "deep_table", "expected", "interval", "measure", "median", "paired", "record", "recorded",
    "scorecard", "summary",
]  # fmt: skip
