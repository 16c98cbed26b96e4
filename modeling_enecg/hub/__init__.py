"""Publishing on the Hub: what belongs there, on what terms, and how it gets there. Nothing here travels."""
