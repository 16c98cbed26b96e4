"""Recipes: what is trained, with which regularisation, for how long."""

from .lora import LoraHeadTrainer
from .recipe import Recipe, RecipeError, load_recipe
from .run import run_recipe
from .trainers import AttentiveProbingTrainer, DivergenceError, EnECGTrainer, FineTuningTrainer, LinearProbingTrainer

__all__ = [
    "AttentiveProbingTrainer",
    "DivergenceError",
    "EnECGTrainer",
    "FineTuningTrainer",
    "LinearProbingTrainer",
    "LoraHeadTrainer",
    "Recipe",
    "RecipeError",
    "load_recipe",
    "run_recipe",
]
