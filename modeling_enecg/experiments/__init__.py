"""The papers' experiments: each one command, from records to a table and figures."""

from .run_study import check_studies, run_study
from .study import Study, StudyError, StudyRun, list_studies, load_study

__all__ = ["Study", "StudyError", "StudyRun", "check_studies", "list_studies", "load_study", "run_study"]
