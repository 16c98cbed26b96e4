"""A simulator of 12-lead ECGs, in the layout of PTB-XL."""
