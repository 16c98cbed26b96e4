"""MIMIC-IV-ECG."""
