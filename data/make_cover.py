"""Draw the picture of the front page and the README from the recorded study.

    python data/make_cover.py

Run it again when ``results/lenet-mnist.csv`` has changed.
"""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

from lth_utils import plots, studies

TARGET = Path(__file__).parents[1] / "book" / "_static" / "cover.svg"


def main() -> None:
    plots.style()
    # Same input, same bytes: no date, no random identifiers, text as paths.
    mpl.rcParams["svg.hashsalt"] = "lottery tickets"
    full = studies.recorded("lenet-mnist")
    _, ax = plt.subplots(figsize=(8.5, 4.2), layout="constrained")
    plots.levels(full.table, title=full.title, ax=ax)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    plt.savefig(TARGET, metadata={"Date": None})
    print(TARGET)


if __name__ == "__main__":
    main()
