"""Macro AUROC and AUPRC as a metric of Hugging Face's `evaluate`.

`evaluate` copies this file elsewhere before it loads it, hence the absolute import of the package.
"""

from typing import Any

import datasets
import evaluate

from modeling_enecg.evaluation import multilabel_scores

_DESCRIPTION = """
Macro AUROC and macro AUPRC (average precision) of multi-label ECG predictions.
Labels with one class only are left out of the means.
"""

_INPUTS_DESCRIPTION = """
Args:
    predictions: one list of scores (logits or probabilities) per record, one score per label.
    references: one list of 0 or 1 per record, one per label.

Returns:
    macro_auroc, macro_auprc: means over the labels with both classes; nan if there is none.
"""


class MultilabelECG(evaluate.Metric):
    """`multilabel_scores` as a metric of `evaluate`, for loops that collect predictions batch by batch.

    ```python
    import evaluate
    from modeling_enecg.evaluation import multilabel_ecg

    metric = evaluate.load(multilabel_ecg.__file__)
    metric.add_batch(predictions=logits, references=targets)  # both of shape (num_records, num_labels)
    metric.compute()  # {"macro_auroc": ..., "macro_auprc": ...}
    ```
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS_DESCRIPTION,
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Sequence(datasets.Value("int64")),
                }
            ),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        scores = multilabel_scores(references, predictions)
        return {name: scores[name] for name in ("macro_auroc", "macro_auprc")}
