"""S4: the kernel against a loop over time, when it is computed anew, and what it can be compiled to."""

import copy

import pytest
import torch
from safetensors.torch import load_file

from modeling_enecg.s4 import S4Kernel, S4Layer, TiedDropout, convolve, hippo_legs

LENGTHS = [1, 2, 63, 64, 65, 200]


def layer(is_bidirectional=False, seed=0, **fields):
    torch.manual_seed(seed)
    return S4Layer(hidden_size=6, state_size=4, is_bidirectional=is_bidirectional, **fields).eval()


def looped(kernel, inputs):
    """The filtered inputs, token by token: each direction's state hands on what it has seen."""
    transition, entry = kernel.discretise()
    outputs = torch.zeros_like(inputs, dtype=torch.float64)
    for direction, matrix in enumerate(kernel.output_matrix.detach().double()):
        readout = 2 * torch.cat([matrix[..., 0], -matrix[..., 1]], dim=-1)
        state = torch.zeros(len(inputs), *entry.shape, dtype=torch.float64)
        for time in range(inputs.shape[1]) if direction == 0 else reversed(range(inputs.shape[1])):
            following = (transition @ state[..., None])[..., 0] + entry * inputs[:, time, :, None]
            # The past includes a token itself, the future starts with the next one.
            outputs[:, time] += (readout * (following if direction == 0 else state)).sum(-1)
            state = following
    return outputs


@torch.inference_mode()
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("is_bidirectional", [False, True])
def test_the_convolution_is_the_loop_over_time(length, is_bidirectional):
    kernel, inputs = layer(is_bidirectional).kernel, torch.randn(2, length, 6, dtype=torch.float64)
    torch.testing.assert_close(convolve(inputs, kernel(length)), looped(kernel, inputs), atol=1e-10, rtol=0)
    single = convolve(inputs.float(), kernel(length).float())
    torch.testing.assert_close(single.double(), looped(kernel, inputs), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_five_minutes_are_as_exact_as_ten_seconds():
    kernel = layer().kernel
    transition, entry = kernel.discretise()
    last = torch.linalg.matrix_power(transition, 35_999) @ entry[..., None]
    matrix = kernel.output_matrix[0].double()
    readout = 2 * torch.cat([matrix[..., 0], -matrix[..., 1]], dim=-1)
    torch.testing.assert_close(kernel(36_000)[0, :, -1], (readout[:, None] @ last).flatten(), atol=1e-12, rtol=1e-6)
    assert kernel(36_000).isfinite().all()


@torch.inference_mode()
def test_hippo_legs_has_the_eigenvalues_of_its_matrix():
    for state_size in (2, 6, 8):
        diagonal, low_rank, input_matrix = hippo_legs(state_size)
        whole = torch.diag(torch.cat([diagonal, diagonal.conj()]))
        vector = torch.cat([low_rank, low_rank.conj()])
        eigenvalues = torch.linalg.eigvals(whole - torch.outer(vector, vector.conj())).real.sort().values
        torch.testing.assert_close(eigenvalues, -torch.arange(state_size, 0.0, -1).double(), atol=1e-8, rtol=0)
        assert 2 * input_matrix.abs().square().sum().item() == pytest.approx(state_size**2)  # of sqrt(2 n + 1)


def test_a_new_kernel_starts_with_upstreams_fixed_tensors(parity_dir):
    weights = load_file(parity_dir / "ecgcpc" / "tiny_opt" / "state_dict.safetensors")
    name = "ts_encoder.predictor.predictor.s4_layers.0.kernel.kernel"
    theirs = {each: torch.view_as_complex(weights[f"{name}.{each}"]).flatten(0, -2)[0] for each in "wPB"}
    order = theirs["w"].imag.abs().argsort()
    for ours, each in zip(hippo_legs(4), "wPB", strict=True):  # eigenvectors have a free phase
        torch.testing.assert_close(ours.abs().float(), theirs[each][order].abs(), atol=1e-6, rtol=1e-6)


def test_new_steps_and_output_matrices_are_spread_as_upstreams():
    torch.manual_seed(0)
    kernel = S4Kernel(hidden_size=2000, state_size=8, num_directions=2)
    assert kernel.log_step.exp().min() > 0.001
    assert kernel.log_step.exp().max() < 0.1
    assert kernel.log_step.exp().median().item() == pytest.approx(0.01, rel=0.1)
    assert torch.view_as_complex(kernel.output_matrix.detach()).abs().square().mean().item() == pytest.approx(1, 0.05)
    assert [name for name, _ in kernel.named_parameters()] == ["output_matrix"]


# A kernel is kept while it is the right one


@pytest.fixture
def kernel(monkeypatch):
    """A kernel that counts how often it is computed."""
    kernel = layer().kernel
    discretise = S4Kernel.discretise

    def counting(self):
        self.times_computed = getattr(self, "times_computed", 0) + 1
        return discretise(self)

    monkeypatch.setattr(S4Kernel, "discretise", counting)
    return kernel


@torch.no_grad()
def test_a_kernel_is_computed_once_for_all_lengths_up_to_the_longest(kernel):
    long, short = kernel(100), kernel(40)
    assert torch.equal(short, long[..., :40])
    assert kernel.times_computed == 1
    torch.testing.assert_close(kernel(150)[..., :100], long, atol=1e-14, rtol=0)
    assert kernel.times_computed == 2


def double_in_place(kernel):
    kernel.output_matrix.mul_(2)


def double_through_data(kernel):
    kernel.output_matrix.data.mul_(2)


def double_by_loading(kernel):
    kernel.load_state_dict(kernel.state_dict() | {"output_matrix": 2 * kernel.output_matrix})


def double_by_assigning(kernel):
    weights = kernel.state_dict() | {"output_matrix": 2 * kernel.output_matrix}
    kernel.load_state_dict(weights, assign=True)


def double_by_replacing(kernel):
    kernel.output_matrix = torch.nn.Parameter(2 * kernel.output_matrix)


def double_by_training(kernel):
    with torch.enable_grad():
        optimizer = torch.optim.SGD(kernel.parameters(), lr=1)
        (-kernel.output_matrix.square() / 2).sum().backward()
        optimizer.step()


@torch.no_grad()
@pytest.mark.parametrize(
    "double",
    [
        double_in_place,
        double_through_data,
        double_by_loading,
        double_by_assigning,
        double_by_replacing,
        double_by_training,
    ],
)
def test_a_changed_output_matrix_gives_a_changed_kernel(kernel, double):
    before = kernel(50).clone()
    double(kernel)
    torch.testing.assert_close(kernel(50), 2 * before)


@torch.no_grad()
def test_a_changed_fixed_tensor_gives_a_changed_kernel(kernel):
    before = kernel(50).clone()
    for name, buffer in kernel.named_buffers():
        buffer += 0.1
        changed = kernel(50).clone()
        assert (changed - before).abs().max() > 1e-6, name
        before = changed


@torch.no_grad()
def test_rounded_tensors_give_the_kernel_of_what_they_are(kernel):
    before = kernel(50).clone()
    kernel.to(torch.bfloat16).to(torch.float32)
    fresh = S4Kernel(6, 4, 1)
    fresh.load_state_dict(kernel.state_dict())
    assert torch.equal(kernel(50), fresh(50))
    assert not torch.equal(kernel(50), before)


@torch.no_grad()
def test_a_copy_goes_its_own_way(kernel):
    before = kernel(50).clone()
    other = copy.deepcopy(kernel)
    other.output_matrix.mul_(2)
    assert torch.equal(kernel(50), before)
    torch.testing.assert_close(other(50), 2 * before)


@torch.no_grad()
def test_a_kept_kernel_is_not_saved(kernel):
    before = set(kernel.state_dict())
    kernel(50)
    assert set(kernel.state_dict()) == before


@pytest.mark.parametrize("is_training", [False, True])
def test_a_trained_output_matrix_gets_its_gradient_after_a_kernel_was_kept(kernel, is_training):
    with torch.inference_mode():
        kernel(50)
    kernel.train(is_training)
    kernel(50).square().sum().backward()
    assert kernel.output_matrix.grad.abs().max() > 0


def test_the_input_of_a_frozen_layer_gets_its_gradient_after_inference():
    frozen = layer().requires_grad_(False)
    with torch.inference_mode():
        frozen(torch.randn(1, 20, 6))
    inputs = torch.randn(1, 20, 6, requires_grad=True)
    frozen(inputs).square().sum().backward()
    assert inputs.grad.abs().max() > 0


# Types, dropout and compilers


@torch.inference_mode()
def test_a_float64_layer_computes_in_float64():
    single, inputs = layer(), torch.randn(2, 70, 6, dtype=torch.float64)
    double = copy.deepcopy(single).double()
    assert double(inputs).dtype == torch.float64
    filtered = looped(double.kernel, inputs) + double.skip * inputs
    expected = torch.nn.functional.glu(double.output(torch.nn.functional.gelu(filtered)), dim=-1)
    torch.testing.assert_close(double(inputs), expected, atol=1e-12, rtol=0)


def test_a_layer_trains_under_autocast():
    trained, inputs = layer().train(), torch.randn(2, 70, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = trained(inputs)
    torch.testing.assert_close(output.float(), trained(inputs), atol=0.05, rtol=0.05)
    output.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in trained.parameters())


def test_tied_dropout_takes_a_channel_at_all_times_or_none():
    torch.manual_seed(0)
    dropped = TiedDropout(0.25)(torch.ones(200, 10, 30))
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_dropout_that_is_not_tied_takes_single_times():
    torch.manual_seed(0)
    untied = layer(dropout=0.5, is_dropout_tied=False).train()
    dropped = untied.dropout(torch.ones(2, 10, 6))
    assert not torch.equal(dropped, dropped[:, :1].expand_as(dropped))


@torch.no_grad()
@pytest.mark.parametrize("is_bidirectional", [False, True])
def test_an_exported_layer_gives_the_same_for_any_batch(is_bidirectional):
    exported_layer, inputs = layer(is_bidirectional), torch.randn(3, 70, 6)
    shapes = ({0: torch.export.Dim("batch_size")},)
    exported = torch.export.export(exported_layer, (inputs,), dynamic_shapes=shapes).module()
    for batch in (inputs, inputs[:1]):
        torch.testing.assert_close(exported(batch), exported_layer(batch), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_compiled_layer_is_one_graph_and_follows_its_weights():
    compiled_layer, inputs = layer(), torch.randn(2, 70, 6)
    compiled = torch.compile(compiled_layer, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(inputs), compiled_layer(inputs), atol=1e-6, rtol=1e-5)
    compiled_layer.kernel.output_matrix.mul_(2)
    torch.testing.assert_close(compiled(inputs), compiled_layer(inputs), atol=1e-6, rtol=1e-5)
