"""`make bench-shops`: are small shops served while a large one is synced?

Small shops of 50 to 250 items, Shopify and WooCommerce, are loaded for the first time: a few one after the other,
then all others ordered in one burst. Each repetition does so alone and, in fresh services on an empty database,
while a WooCommerce shop of 1,000,000 items is loaded for the first time. There is one replica of each service,
with its usual bounds of running syncs. The stores remember their answers from a first round that is not counted:
the devstore computes more slowly than we sync, and would be what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from bench.common import report
from bench.common.load import percentile
from bench.common.report import Target, show_targets
from bench.shops.scenario import PROCESSES, Act, Size, acts

MOST_START_SECONDS = 5.0
MOST_TIMES_ALONE = 2.0
FIGURES = tuple(
    f"{ordered}_{moment}_p{percent}"
    for ordered in ("single", "burst")
    for moment in ("start", "end")
    for percent in (50, 95)
)
"""Of one act, in seconds after StartSync."""


def _figures(act: Act) -> dict[str, float]:
    found = {}
    for ordered, syncs in (("single", act.singles), ("burst", act.burst)):
        for percent in (50, 95):
            found[f"{ordered}_start_p{percent}"] = percentile([one.start for one in syncs], percent)
            found[f"{ordered}_end_p{percent}"] = percentile([one.end for one in syncs], percent)
    return found


def _middle(acts: Sequence[Act]) -> dict[str, float]:
    found = list(map(_figures, acts))
    return {name: round(median(one[name] for one in found), 3) for name in FIGURES}


def _times_alone(alone: Sequence[Act], together: Sequence[Act]) -> dict[str, float]:
    """The median of the repetitions' ratios."""
    pairs = [(_figures(one), _figures(other)) for one, other in zip(alone, together, strict=True)]
    return {name: round(median(other[name] / one[name] for one, other in pairs), 2) for name in FIGURES}


def _targets(together: dict[str, float], times: dict[str, float]) -> list[Target]:
    name = "small shop beside a large one"
    return [
        Target(
            name=f"{name}: starts, p95",
            value=round(together["burst_start_p95"], 2),
            unit="s",
            wanted=MOST_START_SECONDS,
            at="most",
        ),
        *(
            Target(
                name=f"{name}: ends, p{percent}, times alone",
                value=times[f"burst_end_p{percent}"],
                unit="x",
                wanted=MOST_TIMES_ALONE,
                at="most",
            )
            for percent in (50, 95)
        ),
    ]


def _show(size: Size, alone: Sequence[Act], together: Sequence[Act]) -> None:
    one, other, times = _middle(alone), _middle(together), _times_alone(alone, together)
    rows = [
        (name.replace("_", " "), f"{one[name]:.2f}", f"{other[name]:.2f}", f"{times[name]:.2f}")
        for name in FIGURES
    ]
    title = f"{size.singles} small shops one by one, {size.shops} in a burst; seconds after StartSync"
    report.show(title, ("", "alone", f"beside {size.items:,} items", "times alone"), rows)


def _show_burst(alone: Sequence[Act], together: Sequence[Act]) -> None:
    def row(name: str, figure: Callable[[Act], float]) -> tuple[str, str, str]:
        return name, f"{median(map(figure, alone)):,.1f}", f"{median(map(figure, together)):,.1f}"

    rows = [
        row("seconds", lambda act: act.burst_seconds),
        *(row(f"CPU seconds, {kind}", partial(_cpu, kind)) for kind in PROCESSES),
        row("items/s of the large shop", _large_items_per_second),
    ]
    report.show("While the burst ran", ("", "alone", "beside the large shop"), rows)


def _cpu(kind: str, act: Act) -> float:
    return act.cpu[kind]


def _large_items_per_second(act: Act) -> float:
    return act.large_items / act.burst_seconds


def main() -> None:
    """Prints both ways side by side."""
    parser = argparse.ArgumentParser(prog="python -m bench.shops", description=__doc__)
    parser.add_argument("--shops", type=int, default=200, help="small ones in the burst")
    parser.add_argument("--singles", type=int, default=20, help="small ones before it, one after the other")
    parser.add_argument("--items", type=int, default=1_000_000, help="of the large shop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="30 and 5 small shops, 20,000 items, one round")
    asked = parser.parse_args()
    size = Size(shops=asked.shops, singles=asked.singles, items=asked.items)
    rounds = asked.rounds
    if asked.smoke:
        size, rounds = Size(shops=30, singles=5, items=20_000), 1
    alone, together = asyncio.run(acts(size, rounds))
    _show(size, alone, together)
    _show_burst(alone, together)
    times, beside = _times_alone(alone, together), _middle(together)
    targets = _targets(beside, times)
    show_targets(targets)
    report.result(
        "shops",
        {
            "targets": [target.told() for target in targets],
            "ratios": {"alone_over_together_end": round(1 / times["burst_end_p50"], 3)},
            "repetitions": rounds,
            "shops": size.shops,
            "large_items": size.items,
            "seconds_alone": _middle(alone),
            "seconds_together": beside,
            "times_alone": times,
            "large_items_per_second": round(median(map(_large_items_per_second, together))),
            "large_syncs_ended": [act.large_ended for act in together],
        },
    )


if __name__ == "__main__":
    main()
