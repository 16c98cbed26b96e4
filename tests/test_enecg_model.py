import copy

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModel

from modeling_enecg import BACKBONES, EnECGConfig, EnECGModel, STMEMModel, Task
from modeling_enecg.modeling_backbone import RecordDropout
from tests.helpers.tiny_models import AGE, RHYTHM, SEX, TASKS


@pytest.fixture
def ensemble(tiny_experts):
    """Two experts and three tasks, with gates that have learnt something."""
    torch.manual_seed(0)
    model = EnECGModel.from_experts(tiny_experts, TASKS, head_hidden_sizes=[8])
    with torch.no_grad():
        for gate in model.gates.values():
            gate.linear.weight.normal_()
    return model


def assert_same_output(ours, theirs, **tolerance):
    for name, logits in theirs.logits.items():
        torch.testing.assert_close(ours.logits[name], logits, **({"atol": 0, "rtol": 0} | tolerance))
        torch.testing.assert_close(ours.gate_weights[name], theirs.gate_weights[name], **tolerance)


# Experts, heads and gates


@torch.inference_mode()
def test_one_experts_gate_is_one_and_its_head_decides(single, tiny_experts, inputs):
    output = single(inputs)
    features = tiny_experts["ecgfounder"](inputs).pooler_output
    for task in TASKS:
        assert torch.equal(output.gate_weights[task["name"]], torch.ones(4, 1))
    assert torch.equal(output.logits["rhythm"], single.heads["rhythm"]["founder"](features))
    assert output.logits["rhythm"].shape == (4, 3)
    assert output.logits["sex"].shape == (4, 2)
    assert output.logits["age"].shape == (4, 1)
    assert output.loss is None


def test_one_expert_has_linear_heads_and_several_have_two_hidden_layers(tiny_experts):
    counts = []
    for names in (["ecgfounder"], ["ecgfounder", "stmem"]):
        model = EnECGModel.from_experts({name: tiny_experts[name] for name in names}, [SEX])
        linears = [each for each in model.heads["sex"]["ecgfounder"].modules() if isinstance(each, torch.nn.Linear)]
        counts.append([(each.in_features, each.out_features) for each in linears])
    assert counts == [[(24, 2)], [(24, 256), (256, 256), (256, 2)]]


@torch.inference_mode()
def test_gates_start_uniform(tiny_experts, inputs):
    model = EnECGModel.from_experts(tiny_experts, TASKS)
    for weights in model(inputs).gate_weights.values():
        assert torch.equal(weights, torch.full((4, 2), 0.5))


@torch.inference_mode()
def test_gate_rows_sum_to_one_and_depend_on_the_record(ensemble, inputs):
    for weights in ensemble(inputs).gate_weights.values():
        torch.testing.assert_close(weights.sum(-1), torch.ones(4))
        assert (weights > 0).all()
        assert len(weights.unique(dim=0)) == 4


@torch.inference_mode()
def test_logits_are_the_gated_sum_of_the_experts(ensemble, inputs):
    output = ensemble(inputs)
    for task in TASKS:
        name = task["name"]
        by_hand = sum(
            output.gate_weights[name][:, [index]] * output.expert_logits[name][:, index] for index in range(2)
        )
        torch.testing.assert_close(output.logits[name], by_hand, atol=1e-5, rtol=1e-5)
        assert output.expert_logits[name].shape == (4, 2, output.logits[name].shape[1])


@torch.inference_mode()
def test_a_records_logits_do_not_depend_on_its_batch_mates(ensemble, inputs):
    alone, together = ensemble(inputs[:1]), ensemble(inputs)
    for name, logits in alone.logits.items():
        torch.testing.assert_close(logits[0], together.logits[name][0], atol=1e-5, rtol=1e-5)


def test_every_parameter_gets_a_gradient(ensemble, inputs):
    labels = {"rhythm": torch.tensor([[0.0, 1.0, 0.0]] * 4), "sex": torch.tensor([0, 1, 1, 0]), "age": torch.ones(4)}
    ensemble.train()(inputs, labels=labels).loss.backward()
    for name, parameter in ensemble.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert all(gate.linear.weight.grad.abs().max() > 0 for gate in ensemble.gates.values())


@torch.inference_mode()
def test_every_expert_may_take_its_own_tensor(ensemble, inputs):
    shared = ensemble(inputs)
    assert_same_output(ensemble([inputs, inputs]), shared)
    shorter = ensemble([inputs, inputs[..., :45]])
    features = ensemble.backbones["stmem"](inputs[..., :45]).pooler_output
    assert torch.equal(shorter.expert_logits["sex"][:, 0], shared.expert_logits["sex"][:, 0])
    assert torch.equal(shorter.expert_logits["sex"][:, 1], ensemble.heads["sex"]["stmem"](features))


def test_a_list_of_another_length_is_refused(ensemble, inputs):
    with pytest.raises(ValueError, match=r"Got 3 input tensors for 2 experts \(ecgfounder, stmem\)"):
        ensemble([inputs] * 3)


@torch.inference_mode()
def test_stored_features_give_what_the_signals_give(ensemble, inputs):
    features = ensemble.extract_features(inputs)
    assert {name: tuple(feature.shape) for name, feature in features.items()} == {
        "ecgfounder": (4, 24),
        "stmem": (4, 16),
    }
    labels = {"sex": torch.tensor([0, 1, 1, 0])}
    stored, computed = ensemble(expert_features=features, labels=labels), ensemble(inputs, labels=labels)
    assert_same_output(stored, computed)
    assert torch.equal(stored.loss, computed.loss)


def test_neither_signals_nor_features_is_refused(ensemble):
    with pytest.raises(ValueError, match="Pass input_values, or expert_features"):
        ensemble()


@torch.inference_mode()
def test_a_plain_tuple_is_returned_on_request(ensemble, inputs):
    logits, gate_weights, expert_logits = ensemble(inputs, return_dict=False)
    assert set(logits) == set(gate_weights) == set(expert_logits) == {"rhythm", "sex", "age"}
    assert len(ensemble(inputs, labels={"age": torch.ones(4)}, return_dict=False)) == 4


@torch.inference_mode()
def test_probabilities_follow_the_problem_type(ensemble, inputs):
    logits = ensemble(inputs).logits
    probabilities = ensemble.probabilities(logits)
    assert torch.equal(probabilities["rhythm"], logits["rhythm"].sigmoid())
    torch.testing.assert_close(probabilities["sex"].sum(-1), torch.ones(4))
    assert torch.equal(probabilities["age"], logits["age"])


@torch.inference_mode()
def test_bfloat16_is_finite(ensemble, inputs):
    output = ensemble.to(torch.bfloat16)(inputs.to(torch.bfloat16), labels={"age": torch.full((4,), 60.0)})
    assert output.loss.isfinite()
    for logits in output.logits.values():
        assert logits.isfinite().all()


# Saving, loading and building


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["single", "ensemble"])
def test_a_saved_model_is_bitwise_the_same_after_loading(kind, inputs, tmp_path, request):
    model = request.getfixturevalue(kind)
    model.save_pretrained(tmp_path)
    for auto_class in (AutoModel, EnECGModel):
        loaded, info = auto_class.from_pretrained(tmp_path, output_loading_info=True)
        assert type(loaded) is EnECGModel
        assert not loaded.training
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
        assert loaded.state_dict().keys() == model.state_dict().keys()
        assert_same_output(loaded(inputs), model(inputs))


@torch.inference_mode()
def test_experts_from_folders_and_from_models_keep_their_weights(tiny_experts, inputs, tmp_path):
    for name, expert in tiny_experts.items():
        expert.save_pretrained(tmp_path / name)
    folders = {name: str(tmp_path / name) for name in tiny_experts}
    mixed = {"ecgfounder": folders["ecgfounder"], "stmem": tiny_experts["stmem"]}
    for experts in (folders, tiny_experts, mixed):
        model = EnECGModel.from_experts(experts, [SEX])
        assert not model.training
        for name, expert in tiny_experts.items():
            assert torch.equal(model.backbones[name](inputs).pooler_output, expert(inputs).pooler_output)
            assert model.config.experts[name]["model_type"] == expert.config.model_type


@torch.inference_mode()
def test_the_same_backbone_may_be_two_experts(tiny_configs, inputs):
    experts = {name: STMEMModel(tiny_configs["enecg-stmem"]) for name in ("one", "two")}
    output = EnECGModel.from_experts(experts, [SEX])(inputs)
    assert not torch.equal(output.expert_logits["sex"][:, 0], output.expert_logits["sex"][:, 1])


@pytest.mark.parametrize("model_type", sorted(BACKBONES))
def test_every_weight_that_an_unfrozen_expert_trains_gets_a_gradient(tiny_configs, model_type):
    """A weight without one, such as a forecast's, would stop training on several processes."""
    config = tiny_configs[model_type]
    model = EnECGModel.from_experts({"expert": BACKBONES[model_type](config)}, [SEX])
    model.unfreeze_experts()
    inputs = torch.randn(4, config.num_leads, config.sequence_length)
    model.train()(inputs, labels={"sex": torch.tensor([0, 1, 0, 1])}).loss.backward()
    assert [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None] == []


@torch.inference_mode()
def test_experts_keep_their_order_through_files_that_sort_their_keys(tiny_configs, inputs, tmp_path):
    """Weights of the gate and lists of inputs go by order: one changed on loading would mix experts up in silence."""
    experts = {name: STMEMModel(tiny_configs["enecg-stmem"]) for name in ("zeta", "alpha", "mu")}
    model = EnECGModel.from_experts(experts, [SEX])
    torch.nn.init.normal_(model.gates["sex"].linear.weight)
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert list(loaded.experts) == ["zeta", "alpha", "mu"]
    views = [inputs, 2 * inputs, inputs.flip(-1)]
    for name in ("logits", "gate_weights", "expert_logits"):
        assert torch.equal(loaded(views)[name]["sex"], model(views)[name]["sex"])


def test_an_expert_order_that_names_others_is_refused():
    with pytest.raises(ValueError, match="expert_order"):
        EnECGConfig(experts={"a": {}, "b": {}}, expert_order=["a", "c"])


def test_a_folder_that_holds_no_backbone_is_refused(single, tmp_path):
    single.save_pretrained(tmp_path / "ensemble")
    with pytest.raises(ValueError, match="No backbone has the model type 'enecg'; there are: enecg-"):
        EnECGModel.from_experts({"nested": str(tmp_path / "ensemble")}, [SEX])
    with pytest.raises(OSError, match="absent"):
        EnECGModel.from_experts({"absent": str(tmp_path / "absent")}, [SEX])


@pytest.mark.parametrize("fields", [{"experts": {}, "tasks": [SEX]}, {"experts": {"a": {}}, "tasks": []}])
def test_a_model_without_experts_or_tasks_is_refused(fields):
    with pytest.raises(ValueError, match="at least one expert and one task"):
        EnECGModel(EnECGConfig(**fields))


@torch.inference_mode()
def test_the_attention_implementation_reaches_the_experts(ensemble, inputs, tmp_path):
    ensemble.save_pretrained(tmp_path)
    outputs = {}
    for implementation in ("eager", "sdpa"):
        model = AutoModel.from_pretrained(tmp_path, attn_implementation=implementation)
        for expert in model.backbones.values():
            assert expert.config._attn_implementation == implementation
        outputs[implementation] = model(inputs)
    assert_same_output(outputs["eager"], outputs["sdpa"], atol=1e-4, rtol=1e-4)
    model.set_attn_implementation("eager")
    assert model.backbones["stmem"].config._attn_implementation == "eager"


def test_activation_checkpointing_reaches_the_experts(ensemble, inputs):
    def gradients():
        ensemble.zero_grad()
        ensemble(inputs, labels={"age": torch.full((4,), 50.0)}).loss.backward()
        return [parameter.grad.clone() for parameter in ensemble.experts.parameters()]

    ensemble.train()
    plain = gradients()
    ensemble.activation_checkpointing_enable()
    assert all(block.gradient_checkpointing for each in ensemble.backbones.values() for block in each.residual_blocks)
    for before, after in zip(plain, gradients(), strict=True):
        torch.testing.assert_close(after, before, atol=1e-6, rtol=1e-5)


# What trains


def test_frozen_experts_stay_in_eval_mode_and_do_not_change(ensemble, inputs):
    ensemble.set_drop_path_rate(0.5)
    before = ensemble.extract_features(inputs)
    ensemble.freeze_experts()
    ensemble.train()
    assert ensemble.heads.training
    assert not any(module.training for module in ensemble.experts.modules() if module is not ensemble.experts)
    optimizer = torch.optim.SGD([each for each in ensemble.parameters() if each.requires_grad], lr=0.1)
    heads_before = copy.deepcopy(ensemble.heads.state_dict())
    for _ in range(2):
        ensemble(inputs, labels={"sex": torch.tensor([0, 1, 1, 0])}).loss.backward()
        optimizer.step()
    after = ensemble.extract_features(inputs)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert any(not torch.equal(heads_before[name], tensor) for name, tensor in ensemble.heads.state_dict().items())


def test_unfrozen_experts_train_again(ensemble):
    ensemble.freeze_experts()
    ensemble.train()
    ensemble.unfreeze_experts()
    assert all(expert.training for expert in ensemble.backbones.values())
    assert all(parameter.requires_grad for parameter in ensemble.parameters())
    ensemble.eval()
    ensemble.unfreeze_experts()
    assert not any(module.training for module in ensemble.modules())


def test_a_partly_frozen_expert_trains(ensemble):
    ensemble.backbones["stmem"].embeddings.requires_grad_(False)
    ensemble.backbones["ecgfounder"].requires_grad_(False)
    ensemble.train()
    assert ensemble.backbones["stmem"].training
    assert not ensemble.backbones["ecgfounder"].training


@torch.inference_mode()
def test_drop_path_and_head_dropout_are_set_and_saved(ensemble, inputs, tmp_path):
    before = ensemble(inputs)
    ensemble.set_drop_path_rate(0.25)
    ensemble.set_head_dropout(0.4)
    assert_same_output(ensemble(inputs), before)  # neither acts in eval mode
    ensemble.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert loaded.config.head_dropout == 0.4
    for name, expert in loaded.backbones.items():
        assert loaded.config.experts[name]["drop_path_rate"] == 0.25
        assert [block.drop_path_rate for block in expert.residual_blocks] == [
            block.drop_path_rate for block in ensemble.backbones[name].residual_blocks
        ]
        assert expert.residual_blocks[-1].drop_path_rate == 0.25
    rates = {module.rate for module in loaded.heads.modules() if isinstance(module, RecordDropout)}
    assert rates == {0.4}


@torch.inference_mode()
def test_head_dropout_acts_in_training(ensemble, inputs):
    features = ensemble.extract_features(inputs)
    ensemble.train()
    first = ensemble(expert_features=features).logits["age"]
    assert torch.equal(ensemble(expert_features=features).logits["age"], first)
    ensemble.set_head_dropout(0.5)
    assert not torch.equal(ensemble(expert_features=features).logits["age"], first)


# Config and tasks


def test_a_config_survives_dict_and_file(ensemble, tmp_path):
    config = ensemble.config
    assert EnECGConfig.from_dict(config.to_dict()).to_dict() == config.to_dict()
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is EnECGConfig
    assert list(loaded.experts) == ["ecgfounder", "stmem"]
    assert loaded.experts == config.experts
    assert loaded.get_tasks() == config.get_tasks() == [Task(**task) for task in TASKS]


def test_a_config_says_which_head_it_means():
    assert EnECGConfig(experts={"a": {}}).head_hidden_sizes == []
    assert EnECGConfig(experts={"a": {}, "b": {}}).head_hidden_sizes == [256, 256]
    assert EnECGConfig(experts={"a": {}, "b": {}}, head_hidden_sizes=[]).head_hidden_sizes == []


def test_tasks_are_given_as_objects_or_dicts(tiny_experts):
    experts = {"founder": tiny_experts["ecgfounder"]}
    models = [EnECGModel.from_experts(experts, [task]) for task in (AGE, Task(**AGE))]
    assert models[0].config.tasks == models[1].config.tasks


def test_a_regression_without_labels_has_one_output_of_its_name():
    task = Task(name="age", problem_type="regression")
    assert (task.num_outputs, task.output_names) == (1, ["age"])
    assert (task.target_mean, task.target_std) == ([0.0], [1.0])


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (SEX | {"lables": ["a"]}, r"Task 'sex': unknown field 'lables'; did you mean 'labels'\?"),
        (SEX | {"zzz": 1}, r"unknown field 'zzz'; known: name, problem_type, labels"),
        ({"name": "sex", "labels": ["a", "b"]}, "lacks problem_type"),
        ({"labels": ["a", "b"]}, "lacks name and problem_type"),
        (SEX | {"problem_type": "classification"}, r"problem_type must be one of multi_label.*got 'classification'"),
        (SEX | {"labels": ["a", "a"]}, "labels must differ from each other"),
        (SEX | {"labels": ["a"]}, "single_label_classification needs labels"),
        (RHYTHM | {"labels": []}, "multi_label_classification needs labels"),
        (RHYTHM | {"class_weights": [1.0, 2.0]}, "class_weights needs 3 numbers"),
        (AGE | {"target_std": [0.0]}, "target_std must be positive"),
        (AGE | {"target_mean": [1.0, 2.0]}, "target_mean needs 1 numbers"),
        (SEX | {"name": "the.sex"}, r"Illegal task name 'the\.sex'"),
        (SEX | {"name": ""}, "Illegal task name ''"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_an_illegal_task_is_refused_with_the_reason(task, message):
    with pytest.raises(ValueError, match=message):
        EnECGConfig(tasks=[task])


@pytest.mark.parametrize(
    "task",
    [AGE | {"target_std": 15.0}, SEX | {"name": 5}, RHYTHM | {"labels": None}, RHYTHM | {"labels": "AFIB"}],
    ids=["std is a number", "name is a number", "labels are None", "labels are one string"],
)
def test_a_task_field_of_another_type_is_refused(task):
    with pytest.raises(ValueError, match=r"[Tt]ask"):
        EnECGConfig(tasks=[task])


@pytest.mark.parametrize("name", ["values", "type", "train"])
def test_a_name_that_torch_needs_itself_is_refused_as_illegal(tiny_experts, name):
    with pytest.raises(ValueError, match=f"Illegal task name '{name}'"):
        EnECGConfig(tasks=[SEX | {"name": name}])
    with pytest.raises(StrictDataclassError, match=f"Illegal expert name '{name}'"):
        EnECGModel.from_experts({name: tiny_experts["ecgfounder"]}, [SEX])


def test_two_tasks_of_one_name_are_refused():
    with pytest.raises(StrictDataclassError, match="Task names must differ"):
        EnECGConfig(tasks=[SEX, RHYTHM | {"name": "sex"}])


@pytest.mark.parametrize("name", ["a.b", "1st", "", "a b"])
def test_an_illegal_expert_name_is_refused(name):
    with pytest.raises(StrictDataclassError, match="Illegal expert name"):
        EnECGConfig(experts={name: {}})
