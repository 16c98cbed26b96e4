"""Every picture: the ECG on paper, training curves, scores, calibration, gates and experts."""
