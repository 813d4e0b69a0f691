"""Analyses of images as text: states, scores, findings, failures and counts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from catalogsync.catalog.v1.analysis_pb2 import AnalysisCounts, AnalysisState, ItemAnalysis
from catalogsync.catalog.v1.analysis_service_pb2 import AnalysisResult, ImageAnalysis, TaskFailure
from google.protobuf.json_format import MessageToDict

from catalogsync_cli.formatting import enum_name
from catalogsync_cli.output import time_text

_COMPONENTS = "components"
"""The attribute with the parts of a quality score, each with a name, a score, a weight and what was measured."""


def analysis_state_text(state: AnalysisState.ValueType) -> str:
    """Return a state as PENDING, ANALYZED, ...; "" if it is unspecified."""
    return enum_name(AnalysisState.Name, state, "ANALYSIS_STATE_") if state else ""


def item_state_text(analysis: ItemAnalysis) -> str:
    """Return the state of an item's analysis, "-" while no analyzer is switched on."""
    return analysis_state_text(analysis.state) or "-"


def item_quality_text(analysis: ItemAnalysis) -> str:
    """Return the quality score of each result, "image-quality 0.87"; "-" if there is none."""
    return ", ".join(f"{result.analyzer} {result.quality_score}" for result in analysis.results) or "-"


def item_analysis_text(analysis: ItemAnalysis) -> str:
    """Return state and quality scores in one text; "" while no analyzer is switched on."""
    state = analysis_state_text(analysis.state)
    return f"{state}: {item_quality_text(analysis)}" if state and analysis.results else state


def counts_text(counts: AnalysisCounts) -> str:
    """Return "1,200 of 1,240 items analyzed, 30 pending, 10 failed"."""
    analyzed, pending, failed = counts.analyzed_item_count, counts.pending_item_count, counts.failed_item_count
    total = analyzed + pending + failed
    return f"{analyzed:,} of {total:,} items analyzed, {pending:,} pending, {failed:,} failed"


def category_text(result: AnalysisResult) -> str:
    """Return "Clothing / Shirts", or "" if the analyzer found no category."""
    return " / ".join(part for part in (result.category, result.subcategory) if part)


def failure_text(failure: TaskFailure) -> str:
    """Return the message and reason of a failure: "the image is gone [IMAGE_NOT_FOUND]"; "" if there is none."""
    if not failure.reason:
        return failure.message
    return f"{failure.message} [{failure.reason}]" if failure.message else failure.reason


def image_analysis_fields(analysis: ImageAnalysis) -> Iterator[tuple[str, str]]:
    """Yield the analysis of an image by one analyzer as names and values."""
    yield "Analyzer", analysis.analyzer
    yield "State", analysis_state_text(analysis.state)
    if analysis.HasField("result"):
        yield from _result_fields(analysis.result)
    yield "Analyzed", time_text(analysis, "analyze_time")
    yield "Attempts", f"{analysis.attempt_count:,}" if analysis.attempt_count else ""
    yield "Failure", failure_text(analysis.failure)
    yield "Image id", analysis.image_id
    yield "Image", analysis.image_url


def _result_fields(result: AnalysisResult) -> Iterator[tuple[str, str]]:
    yield "Quality", result.quality_score
    yield "Confidence", result.confidence_score
    yield "Category", category_text(result)
    yield "Gender", result.gender
    yield "Description", result.description
    attributes = MessageToDict(result.attributes)
    for component in _components(attributes):
        yield "Component", _component_text(component)
    others = {name: value for name, value in attributes.items() if name != _COMPONENTS}
    yield "Attributes", json.dumps(others, ensure_ascii=False) if others else ""
    yield "Model", result.model_version
    if result.HasField("processing_time"):
        yield "Took", f"{result.processing_time.ToTimedelta().total_seconds():.3f} s"


def _components(attributes: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = attributes.get(_COMPONENTS)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _component_text(component: Mapping[str, Any]) -> str:
    """Return "sharpness: score 0.91, weight 0.4, measured 312.5"."""
    parts = [f"{key} {_plain(component[key])}" for key in ("score", "weight", "measured") if key in component]
    return f"{_plain(component.get('name', '?'))}: {', '.join(parts)}"


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.12g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
