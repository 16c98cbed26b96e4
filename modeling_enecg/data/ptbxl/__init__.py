"""PTB-XL."""
