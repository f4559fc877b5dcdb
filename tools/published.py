"""Write the tables of docs/PUBLISHED.md: our numbers beside those that papers printed.

    python tools/published.py

reads results/leaderboard.csv and docs/published/, and replaces what stands between the markers of each table.
"""

import re
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "PUBLISHED.md"
TENTH, CLASS = "cifar10-jpeg75-2500-tenth", "cifar10-jpeg75-2500-class"
COLUMNS = {"forget": "acc_forget", "retain": "acc_retain", "test": "acc_test", "svc": "svc_mia_efficacy"}
ATTACK = "mia_auc_phi"


def main() -> None:
    """Write both tables."""
    board = pd.read_csv(ROOT / "results" / "leaderboard.csv", low_memory=False)
    page = PAGE.read_text()
    for name, table in {"tenth": beside(board), "class": of_class(board)}.items():
        marked = rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)"
        page, found = re.subn(marked, lambda m, text=table: f"{m[1]}{text}{m[2]}", page, flags=re.DOTALL)
        assert found == 1, f"{PAGE}: the markers of the table {name!r} are missing"
    PAGE.write_text(page)


def beside(board: pd.DataFrame) -> str:
    """A random tenth: UA as printed twice and measured here, each also as a share of retraining's."""
    paper, again = (pd.read_csv(ROOT / "docs" / "published" / f"salun_{name}.csv") for name in ("table1", "rerun"))
    printed = [paper.set_index("method"), again[again.forget_percent == 10].set_index("method")]
    ours = numbers(board, TENTH)
    rows = []
    for method in [*printed[0].index, *(name for name in ours.index if name not in printed[0].index)]:
        cells = [ua(table.UA.get(method), table.UA["retrain"]) for table in printed]
        if method not in ours.index:
            rows.append([method, *cells, *[""] * 5, "not run"])
            continue
        own = ours.loc[method]
        lost = 100 - own.forget
        cells.append(ua(lost, 100 - ours.forget["retrain"], own.spread))
        rest = [short(own.retain), short(own.test), short(own.svc), short(own.auc, 3)]
        rows.append([method, *cells, *rest, own.remarks])
    heads = ["method", "UA, table 1", "UA, rerun", "UA, ours", "RA", "TA", "SVC", "attack AUC", "remarks"]
    return markdown(heads, rows)


def of_class(board: pd.DataFrame) -> str:
    """One class: what is left of its accuracy."""
    ours = numbers(board, CLASS)
    rows = [
        [name, short(own.forget), short(own.retain), short(own.test), short(own.auc, 3), own.remarks]
        for name, own in ours.iterrows()
    ]
    return markdown(["method", "forget accuracy", "RA", "TA", "attack AUC", "remarks"], rows)


def numbers(board: pd.DataFrame, task: str) -> pd.DataFrame:
    """Method -> means over seeds in per cent, anchors first; `spread` is half of the interval of forget accuracy."""
    board = board[board.task == task]
    rows = board[board.metric.isin([*COLUMNS.values(), ATTACK])]
    values = rows.pivot_table(index="method", columns="metric", values="value_mean", sort=False)
    found = pd.DataFrame({name: 100 * values[metric] for name, metric in COLUMNS.items() if metric in values})
    found["auc"] = values[ATTACK]
    forget = rows[rows.metric == COLUMNS["forget"]].set_index("method")
    found["spread"] = 50 * (forget.value_high - forget.value_low)
    remarks = board.groupby("method").remarks.first().fillna("")
    found = found.reindex(remarks.index)  # what failed has remarks and no numbers
    found["remarks"] = remarks
    order = {"original": 0, "retrained": 1, "retrain": 2, "no_op": 3}
    return found.sort_index().sort_index(key=lambda names: names.map(lambda name: order.get(name, 4)), kind="stable")


def short(value: float, digits: int = 1) -> str:
    """A number, or nothing."""
    return "" if pd.isna(value) else f"{value:.{digits}f}"


def ua(value: float | None, retrain: float, spread: float | None = None) -> str:
    """`0.63 (0.12)`: unlearning accuracy, and its share of what retraining has."""
    if value is None or pd.isna(value):
        return ""
    around = "" if spread is None or pd.isna(spread) else f" ± {spread:.1f}"
    return f"{value:.2f}{around} ({value / retrain:.2f})"


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [heads, [":---"] + ["---:"] * (len(heads) - 2) + [":---"], *rows]
    return "".join(f"| {' | '.join(line).replace('_', chr(92) + '_')} |\n" for line in lines)


if __name__ == "__main__":
    main()
