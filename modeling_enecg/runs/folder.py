"""Names of the files that a run leaves in its folder, for those that write and those that read them."""

RUN_INFO, METRICS, PREDICTIONS = "run_info.json", "metrics.json", "predictions.parquet"
LEAD_SETS, EXPERTS = "lead_sets.json", "experts.json"  # of runs that score lead sets, or have several experts
HISTORY = "history.json"  # in the folder of each stage
