"""An explanation as HTML: the ECG with a wash of colour, and by method the numbers, the controls and the warnings."""

from collections.abc import Mapping
from html import escape

from ..data.measured_print import measured_print
from ..explaining import Explanation
from ..explaining.explanation import METHODS, Attribution
from ..explaining.words import (
    COLOURS,
    describe_deletion,
    headline,
    meaning,
    method_title,
    parts_line,
    plot_explanation,
)
from ..recording import ECGRecord
from .cards import card_html, figure_html, row_html


def explanation_html(record: ECGRecord, found: Explanation) -> str:
    """Return what explains an output for a recording, the warnings before all else."""
    windows = f", the mean over {found.num_windows} windows" if found.num_windows > 1 else ""
    lines = [
        f"{headline(found)}{windows}; {found.baseline_score:.3f} with every lead flat.",
        f"{method_title(METHODS[0])}: {COLOURS}. Beats found: {len(found.beats)}; parts of a beat: "
        f"{parts_line(found)}.",
    ]
    figure = plot_explanation(record, found, measured_print(record), lines=[f"{headline(found)}: {COLOURS}"])
    cards = "".join(_method_html(found, method, each) for method, each in found.attributions.items())
    return (
        f'<div class="ecg-record"><h2>Why {escape(found.label)}?</h2>{_warnings_html(found.warnings)}'
        f"{''.join(f'<p>{escape(line)}</p>' for line in lines)}</div>"
        f"{figure_html(figure, 'The ECG on paper, coloured where the model looked')}"
        f'<div class="ecg-tasks">{cards}</div>'
    )


def _method_html(found: Explanation, method: str, each: Attribution) -> str:
    """Return a card with a method's numbers by lead and part of the beat, and what its controls say."""
    correlation = each.random_weights_correlation
    control = "" if correlation is None else f"<p>Rank correlation with random weights: {correlation:.2f}</p>"
    content = (
        f"{_warnings_html(each.warnings)}<p>{escape(meaning(found, method))}</p>"
        f"{_table_html('Parts of the beat', each.by_segment, each.segment_shares)}"
        f"{_table_html('Leads', each.by_lead, each.lead_shares)}"
        f"<p>Deletion, {escape(describe_deletion(each.deletion))}</p>{control}"
    )
    return card_html(method_title(method), content, f"why-{method}")


def _warnings_html(warnings: list[str]) -> str:
    return "".join(f'<p class="ecg-warning">Warning: {escape(each)}</p>' for each in warnings)


def _table_html(title: str, values: Mapping[str, float], shares: Mapping[str, float]) -> str:
    """Return what is important, largest share first."""
    order = sorted(values, key=lambda name: -shares[name])
    rows = "".join(row_html(name, shares[name], f"{values[name]:+.2f}", f"{shares[name]:.0%}") for name in order)
    return f'<table class="ecg-why"><caption>{title}</caption>{rows}</table>'


__all__ = ["explanation_html"]
