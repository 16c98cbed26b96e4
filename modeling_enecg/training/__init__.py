"""Recipes: what is trained, with which regularisation, for how long."""

from .recipe import Recipe, RecipeError, load_recipe
from .run import run_recipe
from .trainers import EnECGTrainer, FineTuningTrainer, LinearProbingTrainer

__all__ = [
    "EnECGTrainer",
    "FineTuningTrainer",
    "LinearProbingTrainer",
    "Recipe",
    "RecipeError",
    "load_recipe",
    "run_recipe",
]
