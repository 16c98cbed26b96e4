"""Datasets: from files to what a model is trained on."""
