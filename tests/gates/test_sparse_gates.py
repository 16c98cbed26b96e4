"""What `top_k` leaves out, and how the load of experts is balanced."""

import copy
import multiprocessing

import numpy as np
import pytest
import torch

from modeling_enecg import BACKBONES, ECGFounderConfig, ECGFounderModel, EnECGFeatureExtractor, EnECGModel
from modeling_enecg.gates import gate_weights
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.losses import load_balancing_loss
from tests.helpers.encoded import count_encoded
from tests.helpers.gates import EXPERT_INPUT, LABELS, NAMES, SIGNAL_GATES, arguments, assert_near, record
from tests.helpers.tiny_models import RHYTHM, SEX, TASKS


def dense_copy(model):
    """The same model without `top_k`."""
    other = copy.deepcopy(model)
    other.config.top_k = None
    return other


# top_k


@torch.inference_mode()
@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("gate", SIGNAL_GATES)
def test_exactly_top_k_weights_of_a_record_are_above_zero(build, inputs, gate, top_k):
    model = build(gate, top_k=top_k)
    sparse, dense = (each(**arguments(each, inputs)).gate_weights for each in (model, dense_copy(model)))
    for name, weights in sparse.items():
        assert ((weights > 0).sum(-1) == top_k).all()
        assert_near(weights.sum(-1), torch.ones(8), 1e-6)
        kept = dense[name].topk(top_k, dim=-1).indices
        assert (weights.gather(-1, kept) > 0).all()
        shares = dense[name].gather(-1, kept)
        assert_near(weights.gather(-1, kept), shares / shares.sum(-1, keepdim=True))
    assert len((sparse["sex"] > 0).unique(dim=0)) > 1, "every record chose the same experts: choose another seed"


def test_equal_scores_leave_exactly_top_k_experts():
    for top_k in (1, 2, 3):
        weights = gate_weights(torch.zeros(5, 4), top_k=top_k)
        assert ((weights > 0).sum(-1) == top_k).all()
        assert_near(weights.sum(-1), torch.ones(5))


@torch.inference_mode()
@pytest.mark.parametrize("gate", SIGNAL_GATES)
def test_an_expert_runs_on_the_records_that_chose_it_and_no_others(build, inputs, gate):
    model = build(gate, [SEX], top_k=1)
    counts = count_encoded(model)
    chosen = (model(**arguments(model, inputs)).gate_weights["sex"] > 0).sum(0).tolist()
    assert list(counts.values()) == chosen
    assert sum(chosen) == 8
    assert 0 < max(chosen) < 8, "all records chose the same expert: choose another seed"


@torch.inference_mode()
def test_with_a_gate_a_task_an_expert_runs_where_any_task_chose_it(build, inputs):
    model = build("leads", top_k=1)
    counts = count_encoded(model)
    output = model(**arguments(model, inputs))
    chosen = torch.stack([output.gate_weights[task["name"]] > 0 for task in TASKS])
    assert list(counts.values()) == chosen.any(0).sum(0).tolist()
    assert 8 < sum(counts.values()) < 24, "tasks must differ in some choices, and leave some records out"
    for task in TASKS:
        is_computed = ~output.expert_logits[task["name"]].isnan()
        assert torch.equal(is_computed.all(-1), chosen.any(0))
        assert torch.equal(is_computed.any(-1), chosen.any(0))


@torch.inference_mode()
@pytest.mark.parametrize(("top_k", "tasks"), [(1, TASKS), (2, [SEX])])
@pytest.mark.parametrize("gate", SIGNAL_GATES)
def test_what_is_not_computed_does_not_change_the_logits(build, inputs, gate, top_k, tasks):
    """Against the same weights on the features of all experts."""
    model = build(gate, tasks, top_k=top_k)
    values, labels = arguments(model, inputs), {task["name"]: LABELS[task["name"]] for task in tasks}
    sparse = model(**values, labels=labels)
    features = model.extract_features(inputs)
    dense = model(expert_features=features, gate_values=values["gate_values"], labels=labels)
    for name in labels:
        assert torch.equal(sparse.gate_weights[name], dense.gate_weights[name])
        assert_near(sparse.logits[name], dense.logits[name])
        is_computed = ~sparse.expert_logits[name].isnan()
        assert not is_computed.all()
        assert_near(sparse.expert_logits[name][is_computed], dense.expert_logits[name][is_computed])
        assert dense.expert_logits[name].isfinite().all()
    assert_near(sparse.loss, dense.loss)


@torch.inference_mode()
def test_in_training_every_expert_runs_on_every_record(build, inputs):
    model = build("leads", top_k=1)
    values = arguments(model, inputs)
    in_eval = model(**values)
    model.train()
    counts = count_encoded(model)
    output = model(**values)
    assert counts == dict.fromkeys(NAMES, 8)
    for task in TASKS:
        assert output.expert_logits[task["name"]].isfinite().all()
        assert torch.equal(output.gate_weights[task["name"]], in_eval.gate_weights[task["name"]])
        assert_near(output.logits[task["name"]], in_eval.logits[task["name"]])


@torch.inference_mode()
@pytest.mark.parametrize("gate", SIGNAL_GATES)
def test_a_records_output_does_not_depend_on_its_batch_mates(build, inputs, gate):
    model = build(gate, top_k=1)
    together = model(**arguments(model, inputs))
    for row in range(8):
        alone = model(**arguments(model, inputs[[row]]))
        for task in TASKS:
            name = task["name"]
            assert_near(alone.gate_weights[name][0], together.gate_weights[name][row])
            assert_near(alone.logits[name][0], together.logits[name][row])
            torch.testing.assert_close(
                alone.expert_logits[name][0], together.expert_logits[name][row], atol=1e-5, rtol=1e-5, equal_nan=True
            )


@torch.inference_mode()
def test_experts_with_inputs_of_their_own_run_on_their_part_of_each(build, inputs):
    model = build("leads", [SEX], top_k=1)
    views = [inputs, 2 * inputs, inputs.flip(-1)]
    gate_values = inputs[:, [1]]
    sparse = model(views, gate_values=gate_values)
    dense = model(expert_features=model.extract_features(views), gate_values=gate_values)
    assert_near(sparse.logits["sex"], dense.logits["sex"])


def test_top_k_of_all_experts_is_dense(build, inputs):
    model = build("leads", top_k=3)
    dense = dense_copy(model)
    counts = count_encoded(model)
    for mode in ("eval", "train"):
        ours, theirs = (getattr(each, mode)()(**arguments(each, inputs), labels=LABELS) for each in (model, dense))
        for task in TASKS:
            assert torch.equal(ours.logits[task["name"]], theirs.logits[task["name"]])
            assert ours.expert_logits[task["name"]].isfinite().all()
        assert torch.equal(ours.loss, theirs.loss)
    assert counts == dict.fromkeys(NAMES, 16)


def test_an_expert_that_no_record_chose_does_not_run(build, inputs):
    model = build("leads", [SEX], top_k=2)
    with torch.no_grad():
        model.gates["sex"].layers[-1].bias.copy_(torch.tensor([0.0, 1000.0, 1000.0]))
    counts = count_encoded(model)
    output = model(**arguments(model, inputs), labels={"sex": LABELS["sex"]})
    assert counts == {"ecgfounder": 0, "stmem": 8, "dlinear": 8}
    assert output.logits["sex"].isfinite().all()
    assert output.loss.isfinite()
    assert output.expert_logits["sex"][:, 0].isnan().all()


# Balance


def test_the_load_balancing_loss_is_one_where_experts_are_used_alike():
    even = torch.full((6, 3), 1 / 3)
    assert_near(load_balancing_loss(even, torch.eye(3).bool().repeat(2, 1)), torch.tensor(1.0))
    turns = torch.eye(3).repeat(2, 1)  # decided, but each expert as often as the others
    assert_near(load_balancing_loss(turns, turns.bool()), torch.tensor(1.0))


def test_the_load_balancing_loss_by_hand():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]])
    is_chosen = torch.tensor([[True, True, False], [True, False, True]])
    # Shares of the choices 1/2, 1/4, 1/4; mean probabilities 0.6, 0.25, 0.15.
    assert_near(load_balancing_loss(probabilities, is_chosen), torch.tensor(3 * (0.3 + 0.0625 + 0.0375)))


def test_the_load_balancing_loss_grows_with_the_preference_for_one_expert():
    losses = []
    for preference in (0.0, 0.5, 1.0, 3.0, 20.0):
        scores = torch.eye(4).repeat(25, 1) + preference * torch.tensor([1.0, 0.0, 0.0, 0.0])
        losses.append(load_balancing_loss(scores.softmax(-1), gate_weights(scores, top_k=1) > 0).item())
    assert losses[0] == pytest.approx(1, abs=1e-5)
    assert losses == sorted(losses)
    assert losses[-1] == pytest.approx(4, abs=1e-3)  # always the same one of four


def balance_of_share(rank, store, probabilities, is_chosen, results):
    """One of two processes: the loss of its half of a batch, and the gradient."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    half = slice(4 * rank, 4 * rank + 4)
    own = probabilities[half].clone().requires_grad_()
    loss = load_balancing_loss(own, is_chosen[half])
    loss.backward()
    results.put((rank, loss.item(), own.grad.tolist()))
    torch.distributed.destroy_process_group()


def test_two_processes_balance_their_common_batch(tmp_path):
    """The mean of their losses and gradients, which training takes, is that of one process."""
    scores = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([1.0, 0.0, 0.0])
    whole = scores.softmax(-1).requires_grad_()
    is_chosen = gate_weights(scores, top_k=1) > 0
    assert is_chosen[:4].sum(0).tolist() != is_chosen[4:].sum(0).tolist()
    expected = load_balancing_loss(whole, is_chosen)
    expected.backward()

    context = multiprocessing.get_context("fork")
    results = context.Queue()
    arguments = (str(tmp_path / "store"), whole.detach(), is_chosen, results)
    processes = [context.Process(target=balance_of_share, args=(rank, *arguments)) for rank in range(2)]
    for process in processes:
        process.start()
    shares = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(timeout=60)
    losses, gradients = [loss for _, loss, _ in shares], [gradient for *_, gradient in shares]
    assert np.mean(losses) == pytest.approx(expected.item(), abs=1e-6)
    assert_near(torch.tensor(gradients).flatten(0, 1) / 2, whole.grad, 1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.01, 0.5])
def test_the_loss_of_training_holds_the_imbalance_of_every_task(build, inputs, weight):
    model = build("leads", [SEX, RHYTHM], top_k=2, load_balancing_weight=weight)
    values, labels = arguments(model, inputs), {name: LABELS[name] for name in ("sex", "rhythm")}
    in_eval = model(**values, labels=labels)
    in_training = model.train()(**values, labels=labels)
    imbalance = 0.0
    for task in ("sex", "rhythm"):
        probabilities = model.gates[task](values["gate_values"]).softmax(-1)
        imbalance += load_balancing_loss(probabilities, in_training.gate_weights[task] > 0)
    assert imbalance > 2
    assert_near(in_training.loss - in_eval.loss, weight * imbalance)


def test_a_dense_gate_is_not_balanced(build, inputs):
    model = build("leads", [SEX], load_balancing_weight=100.0)
    values = arguments(model, inputs)
    in_eval, in_training = (model.train(mode)(**values, labels=LABELS["sex"]).loss for mode in (False, True))
    assert_near(in_training, in_eval)


@pytest.mark.parametrize("top_k", [1, 2])
def test_balancing_spreads_the_choices_of_a_gate_that_always_picks_the_same(build, inputs, top_k):
    """Each expert's share of the choices in the last 30 of 60 steps; without balancing the choices stay."""
    shares = {}
    for weight in (0.0, 1.0):
        model = build("leads", [SEX], top_k=top_k, load_balancing_weight=weight).train()
        features = {name: each.detach() for name, each in model.extract_features(inputs).items()}
        values = arguments(model, inputs) | {"expert_features": features}
        last = model.gates["sex"].layers[-1]
        with torch.no_grad():
            last.weight.mul_(0.2)
            last.bias.copy_(torch.tensor([3.0, 2.0, -1.0]))
        optimizer, chosen = torch.optim.SGD(model.gates.parameters(), lr=0.1), []
        for _ in range(60):
            optimizer.zero_grad()
            output = model(**values, labels=LABELS["sex"])
            output.loss.backward()
            optimizer.step()
            chosen.append((output.gate_weights["sex"] > 0).float().mean(0))
        assert chosen[0].tolist() == [1.0] * top_k + [0.0] * (3 - top_k)
        shares[weight] = torch.stack(chosen[30:]).mean(0)
    assert shares[0.0][:top_k].min() > 0.9
    assert shares[1.0].min() > 0.4 * top_k / 3


@pytest.mark.parametrize("top_k", [1, 2])
def test_a_sparse_gate_learns_from_the_task_itself(build, inputs, top_k):
    model = build("leads", [SEX], top_k=top_k, load_balancing_weight=0.0).train()
    output = model(**arguments(model, inputs), labels=LABELS["sex"])
    assert_near(output.gate_weights["sex"].sum(-1), torch.ones(len(inputs)))
    output.loss.backward()
    assert model.gates["sex"].layers[-1].weight.grad.abs().max() > 0


@torch.inference_mode()
def test_a_task_may_be_added_to_a_model_with_a_gate_on_the_signal(build, inputs):
    model = build("encoder", [SEX], top_k=2)
    before = model(**arguments(model, inputs))
    model.add_task(RHYTHM, like="sex")
    after = model(**arguments(model, inputs))
    assert torch.equal(after.gate_weights["rhythm"], before.gate_weights["sex"])
    assert torch.equal(after.logits["sex"], before.logits["sex"])


def test_experts_of_other_kinds_of_input_share_a_gate(tiny_configs):
    """A one-lead and a twelve-lead expert, prepared and weighed from the same recording."""
    torch.manual_seed(0)
    one_lead = ECGFounderConfig(
        num_leads=1, sequence_length=100, stem_size=8, hidden_sizes=[8], depths=[1], group_width=8
    )
    experts = {"one": ECGFounderModel(one_lead), "twelve": BACKBONES["enecg-stmem"](tiny_configs["enecg-stmem"])}
    model = EnECGModel.from_experts(experts, [SEX], gate="leads", gate_sequence_length=500, top_k=1)
    settings = {
        "one": {"sampling_rate": 100, "sequence_length": 100, "lead_names": ["I"]},
        "twelve": EXPERT_INPUT,
    }
    extractor = EnECGFeatureExtractor(settings, gate=model.config.gate_extractor_settings())
    values = extractor([record(0), record(1)], 500, STANDARD_LEADS, return_tensors="pt")
    with torch.inference_mode():
        output = model(**values)
    assert [tuple(each.shape) for each in values["input_values"]] == [(2, 1, 100), (2, 12, 150)]
    assert ((output.gate_weights["sex"] > 0).sum(-1) == 1).all()
    assert output.logits["sex"].isfinite().all()
