"""Public data sets in the layout of their release, each described by a few lines of YAML."""
