"""`make bench-shops`: are small shops served while a large one is synced?

Small shops of 50 to 250 items, Shopify and WooCommerce, are loaded for the first time: a few one after the other,
then all others started in one burst. Each repetition does so alone and, in new services on an empty database,
while a WooCommerce shop of 1,000,000 items is loaded for the first time. There is one replica of each service,
with the default limits of running syncs. The stores cache their answers in a first round that is not measured:
the devstore computes more slowly than we sync, and would be what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from bench.common.measure import percentile
from bench.common.report import Target, print_result, print_table, print_targets
from bench.shops.scenario import PROCESSES, Measurement, Size, measure

MAX_START_SECONDS = 5.0
MAX_TIMES_ALONE = 2.0
FIGURES = tuple(
    f"{order}_{moment}_p{percent}"
    for order in ("single", "burst")
    for moment in ("start", "end")
    for percent in (50, 95)
)
"""Percentiles of one measurement, in seconds after StartSync."""


def _figures(measurement: Measurement) -> dict[str, float]:
    found = {}
    for order, syncs in (("single", measurement.singles), ("burst", measurement.burst)):
        for percent in (50, 95):
            found[f"{order}_start_p{percent}"] = percentile([one.start for one in syncs], percent)
            found[f"{order}_end_p{percent}"] = percentile([one.end for one in syncs], percent)
    return found


def _medians(measurements: Sequence[Measurement]) -> dict[str, float]:
    found = list(map(_figures, measurements))
    return {name: round(median(one[name] for one in found), 3) for name in FIGURES}


def _times_alone(alone: Sequence[Measurement], together: Sequence[Measurement]) -> dict[str, float]:
    """Return the medians of the repetitions' ratios, by figure."""
    pairs = [(_figures(one), _figures(other)) for one, other in zip(alone, together, strict=True)]
    return {name: round(median(other[name] / one[name] for one, other in pairs), 2) for name in FIGURES}


def _targets(together: dict[str, float], times: dict[str, float]) -> list[Target]:
    name = "small shop beside a large one"
    return [
        Target(
            name=f"{name}: starts, p95",
            value=round(together["burst_start_p95"], 2),
            unit="s",
            wanted=MAX_START_SECONDS,
            at="most",
        ),
        *(
            Target(
                name=f"{name}: ends, p{percent}, times alone",
                value=times[f"burst_end_p{percent}"],
                unit="x",
                wanted=MAX_TIMES_ALONE,
                at="most",
            )
            for percent in (50, 95)
        ),
    ]


def _print_times(size: Size, alone: Sequence[Measurement], together: Sequence[Measurement]) -> None:
    one, other, times = _medians(alone), _medians(together), _times_alone(alone, together)
    rows = [
        (name.replace("_", " "), f"{one[name]:.2f}", f"{other[name]:.2f}", f"{times[name]:.2f}")
        for name in FIGURES
    ]
    title = f"{size.singles} small shops one by one, {size.shops} in a burst; seconds after StartSync"
    print_table(title, ("", "alone", f"beside {size.items:,} items", "times alone"), rows)


def _print_burst(alone: Sequence[Measurement], together: Sequence[Measurement]) -> None:
    def row(name: str, figure: Callable[[Measurement], float]) -> tuple[str, str, str]:
        return name, f"{median(map(figure, alone)):,.1f}", f"{median(map(figure, together)):,.1f}"

    rows = [
        row("seconds", lambda one: one.burst_seconds),
        *(row(f"CPU seconds, {kind}", partial(_cpu, kind)) for kind in PROCESSES),
        row("items/s of the large shop", _large_items_per_second),
    ]
    print_table("During the burst", ("", "alone", "beside the large shop"), rows)


def _cpu(kind: str, measurement: Measurement) -> float:
    return measurement.cpu[kind]


def _large_items_per_second(measurement: Measurement) -> float:
    return measurement.large_items / measurement.burst_seconds


def main() -> None:
    """Print the small shops alone and beside the large shop, the targets and the RESULT line."""
    parser = argparse.ArgumentParser(prog="python -m bench.shops", description=__doc__)
    parser.add_argument("--shops", type=int, default=200, help="small ones in the burst")
    parser.add_argument("--singles", type=int, default=20, help="small ones before it, one after the other")
    parser.add_argument("--items", type=int, default=1_000_000, help="of the large shop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="30 and 5 small shops, 20,000 items, one round")
    args = parser.parse_args()
    size = Size(shops=args.shops, singles=args.singles, items=args.items)
    rounds = args.rounds
    if args.smoke:
        size, rounds = Size(shops=30, singles=5, items=20_000), 1
    alone, together = asyncio.run(measure(size, rounds))
    _print_times(size, alone, together)
    _print_burst(alone, together)
    times, beside = _times_alone(alone, together), _medians(together)
    targets = _targets(beside, times)
    print_targets(targets)
    print_result(
        "shops",
        {
            "targets": [target.to_json() for target in targets],
            "ratios": {"alone_over_together_end": round(1 / times["burst_end_p50"], 3)},
            "repetitions": rounds,
            "shops": size.shops,
            "large_items": size.items,
            "seconds_alone": _medians(alone),
            "seconds_together": beside,
            "times_alone": times,
            "large_items_per_second": round(median(map(_large_items_per_second, together))),
            "large_syncs_ended": [one.large_ended for one in together],
        },
    )


if __name__ == "__main__":
    main()
