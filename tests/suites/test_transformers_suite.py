"""transformers' own tests of configurations and models, on every backbone and on an ensemble."""

import unittest
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from modeling_enecg import BACKBONES, EnECGConfig, EnECGModel
from tests.helpers.suites import foreign_tests, without
from tests.helpers.tiny_models import AGE, RHYTHM, SEX, TASKS, tiny_backbone_configs

ModelTesterMixin = foreign_tests("transformers", "test_modeling_common").ModelTesterMixin
ConfigTester = foreign_tests("transformers", "test_configuration_common").ConfigTester

# Which tests do not apply, and why. Each is run all the same, and has to fail.
EVERYWHERE = {
    "test_model_get_set_embeddings": "a signal has no vocabulary, and so no table of embeddings",
}
STAGES = "the stages of a convolutional network differ in length and width"
BY_EXPERT = "a dict by expert, each with layers of its own"
NOT_APPLICABLE = {
    "enecg-dlinear": {
        "test_hidden_states_output": "there is no layer between the input and the forecast, which is the tokens",
        "test_retain_grad_hidden_states_attentions": "what stands before the only layers has no gradient",
    },
    "enecg-ecgcpc": {"test_init_weights_can_init_buffers": "S4's steps are a buffer, and drawn at random"},
    "enecg-ecgfounder": {"test_hidden_states_output": STAGES},
    "enecg-moment": {"test_attention_outputs": "each lead's patches attend to each other alone"},
    "enecg-tempo": {
        "test_attention_outputs": "GPT-2 reads each lead's trend, season and remainder apart, with a prompt each",
        "test_hidden_states_output": "GPT-2 reads each lead apart, with prompts, which are no tokens",
    },
    "enecg-xresnet1d": {"test_hidden_states_output": STAGES},
    "enecg": {
        "test_hidden_states_output": BY_EXPERT,
        "test_retain_grad_hidden_states_attentions": BY_EXPERT,
        "test_can_capture_specific_layers_hidden_states": BY_EXPERT,
        "test_determinism": "wants tensors, and outputs are dicts by task",
        "test_config_arguments_init": "labels and problem types are those of the tasks",
        "test_config_with_num_labels": "labels are those of the tasks",
        "test_can_load_ignoring_mismatched_shapes": "labels are those of the tasks, so num_labels makes no new head",
    },
}
LABELS = {
    RHYTHM["name"]: torch.tensor([[1.0, 0.0, 1.0]]).expand(5, -1),
    SEX["name"]: torch.tensor([0, 1, 0, 1, 1]),
    AGE["name"]: torch.full((5, 1), 50.0),
}
TRAINING = ("training", "gradient")
MISSING = ("can_init_all_missing_weights", "no_missing_tied_weights")  # tests that load from no weights at all


def with_loss(model_class: type) -> type:
    """A backbone that has a loss of all its outputs, for the tests of training."""

    class WithLoss(model_class):
        def forward(self, input_values: torch.Tensor, **kwargs: Any) -> Any:
            output = super().forward(input_values, **kwargs)
            output.loss = torch.stack([each.square().mean() for each in output.to_tuple()]).sum()
            return output

    return WithLoss


def lenient(model_class: type) -> type:
    """A model that loads as transformers' own, which starts missing weights anew."""
    return type("Lenient", (model_class,), {"from_pretrained": vars(PreTrainedModel)["from_pretrained"]})


class ModelTester:
    """What transformers' tests ask of a model: its config, inputs for it, and the shape of what it gives for them."""

    batch_size = 5
    is_training = True

    def __init__(self, model_class: type, config: PreTrainedConfig):
        self.config = config
        self.num_hidden_layers = getattr(config, "num_hidden_layers", 2)
        self.num_attention_heads = getattr(config, "num_attention_heads", None)
        self.seq_length = self.hidden_size = None
        if model_class is not EnECGModel:
            config, inputs = self.prepare_config_and_inputs_for_common()
            with torch.no_grad():
                tokens = model_class(config).eval()(**inputs).last_hidden_state
            self.seq_length, self.hidden_size = tokens.shape[1:]

    def prepare_config_and_inputs_for_common(self) -> tuple[PreTrainedConfig, dict[str, Any]]:
        generator = torch.Generator().manual_seed(0)
        shape = (self.batch_size, 12, getattr(self.config, "sequence_length", 150))
        return deepcopy(self.config), {"input_values": torch.randn(shape, generator=generator)}


def config_test(name: str) -> Callable[[Any], None]:
    return lambda self: getattr(self.config_tester, name)()


def suite_of(model_class: type, config: PreTrainedConfig, reasons: Mapping[str, str]) -> type:
    """The tests as a class, for one class of models."""

    class Suite(ModelTesterMixin, unittest.TestCase):
        test_resize_embeddings = False
        test_can_init_all_missing_weights_before_2023 = True  # by which transformers means: test it
        has_attentions = hasattr(config, "num_attention_heads")  # an ensemble's are by expert

        def setUp(self) -> None:
            self.model_tester = ModelTester(model_class, config)
            unsaid = ("model_type", "transformers_version")
            fields = {key: value for key, value in config.to_diff_dict().items() if key not in unsaid}
            self.config_tester = ConfigTester(
                self, type(config), has_text_modality=False, common_properties=[], **fields
            )
            tested = model_class
            if model_class is not EnECGModel and any(word in self._testMethodName for word in TRAINING):
                tested = with_loss(model_class)
            if self._testMethodName.endswith(MISSING):
                tested = lenient(model_class)
            self.all_model_classes = (tested,)

        def _prepare_for_class(
            self, inputs_dict: dict[str, Any], model_class: type, return_labels: bool = False
        ) -> Any:
            inputs = super()._prepare_for_class(inputs_dict, model_class)
            return {**inputs, "labels": LABELS} if return_labels and model_class is EnECGModel else inputs

    prefixes = ("create_and_test_", "check_")
    for name in dir(ConfigTester):
        if name.startswith(prefixes):
            setattr(Suite, f"test_config_{name.partition('config_')[2]}", config_test(name))
    for name, test in without(Suite, reasons).items():
        setattr(Suite, name, test)
    return Suite


def small(config: PreTrainedConfig) -> PreTrainedConfig:
    """At most two layers, as transformers' tests want."""
    if hasattr(config, "num_hidden_layers"):
        config.num_hidden_layers = 2
    return config


CONFIGS = {model_type: small(config) for model_type, config in tiny_backbone_configs().items()}
EXPERTS = {name: CONFIGS[f"enecg-{name}"].to_diff_dict() for name in ("ecgfounder", "stmem")}
MODELS = {name: (BACKBONES[name], config) for name, config in CONFIGS.items()}
MODELS["enecg"] = (EnECGModel, EnECGConfig(experts=EXPERTS, tasks=TASKS, head_hidden_sizes=[8]))
for model_type, (tested_class, tiny_config) in MODELS.items():
    name = f"Test{tested_class.__name__}"
    globals()[name] = suite_of(tested_class, tiny_config, EVERYWHERE | NOT_APPLICABLE.get(model_type, {}))
