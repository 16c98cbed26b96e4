"""Each augmentation does what it says, to the letter of a property that can be computed by hand."""

import numpy as np
import pytest

from modeling_enecg.data.augmentation import (
    Augmentation,
    augmented,
    band_noise,
    electrode_noise,
    leads_of_electrodes,
    record_rng,
    time_crop,
    time_mask,
)
from modeling_enecg.leads import STANDARD_LEADS

RATE = 500
EVERYTHING = Augmentation(
    time_crop=1.0,
    amplitude_scale=0.2,
    baseline_wander=0.3,
    power_line=0.1,
    gaussian_noise=0.02,
    muscle_noise=0.05,
    time_mask=1.0,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def signal(rng):
    """A record of ten seconds whose limb leads follow from I and II, of no particular shape."""
    electrodes = rng.normal(size=(9, 10 * RATE)).cumsum(axis=1) / 50
    return leads_of_electrodes(STANDARD_LEADS) @ electrodes


def vary(signal, seed=0, rate=RATE, leads=STANDARD_LEADS, **settings):
    return augmented(signal, rate, leads, Augmentation(**settings), np.random.default_rng(seed))


def test_without_settings_nothing_changes_and_nothing_is_on(signal):
    assert not Augmentation()
    assert EVERYTHING
    np.testing.assert_array_equal(vary(signal), signal)


def test_the_signal_that_is_given_stays_as_it_is(signal):
    before = signal.copy()
    augmented(signal, RATE, STANDARD_LEADS, EVERYTHING, np.random.default_rng(0))
    np.testing.assert_array_equal(signal, before)


def test_a_crop_is_a_part_of_the_record_from_its_beginning_or_its_end(rng):
    record = np.arange(2000.0)[None]
    sides = set()
    for _ in range(50):
        cropped = time_crop(record, 300, rng)[0]
        assert 1700 <= len(cropped) <= 2000
        assert (np.diff(cropped) == 1).all()
        sides.add((cropped[0] > 0, cropped[-1] < 1999))
    assert sides >= {(True, False), (False, True)}
    assert (True, True) not in sides
    assert all(time_crop(record, 10**6, rng).shape[1] >= 1000 for _ in range(20))  # half stays


def test_all_leads_are_scaled_by_one_factor_near_1(signal):
    factors = [vary(signal, seed, amplitude_scale=0.3) / signal for seed in range(30)]
    assert all(np.ptp(each) < 1e-9 for each in factors)
    means = np.array([each.mean() for each in factors])
    assert 0.7 <= means.min() < 0.85
    assert 1.15 < means.max() <= 1.3


def test_a_masked_stretch_is_flat_at_each_leads_mean_and_the_rest_is_untouched(signal, rng):
    masked = time_mask(signal, 400, rng)
    changed = np.flatnonzero((masked != signal).any(axis=0))
    stretch = slice(changed[0], changed[-1] + 1)
    assert changed[-1] - changed[0] < 400
    np.testing.assert_array_equal(masked[:, stretch] - signal.mean(axis=1, keepdims=True), 0)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("baseline_wander", 0, 0.6), ("muscle_noise", 19, 151), ("gaussian_noise", 0, 250)]
)
def test_a_noise_lies_in_its_band_and_is_no_louder_than_asked(name, low, high):
    settings, num_samples = Augmentation(**{name: 0.2}), 200 * RATE
    noises = [electrode_noise(num_samples, RATE, settings, np.random.default_rng(seed)) for seed in range(5)]
    for noise in noises:
        assert 0 < np.sqrt((noise**2).mean()) < 0.2 * 1.2
        power = np.abs(np.fft.rfft(noise * np.hanning(num_samples))) ** 2
        frequencies = np.fft.rfftfreq(num_samples, 1 / RATE)
        inside = (low <= frequencies) & (frequencies <= high)
        assert power[:, inside].sum() > 0.99 * power.sum()


def test_band_noise_has_a_root_mean_square_of_1_and_rows_of_their_own(rng):
    noise = band_noise((9, 100 * RATE), RATE, (20.0, 150.0), rng)
    np.testing.assert_allclose(np.sqrt((noise**2).mean(axis=1)), 1, atol=0.05)
    assert np.abs(np.corrcoef(noise) - np.eye(9)).max() < 0.1


def test_drift_does_not_end_where_it_began(rng):
    """Noise of a period as long as the record would be drawn to meet itself."""
    drift = band_noise((200, 10 * RATE), RATE, (0.05, 0.5), rng)
    assert np.abs(drift[:, -1] - drift[:, 0]).mean() > 0.3


@pytest.mark.parametrize("seed", range(4))
def test_the_hum_is_a_sine_of_the_power_line_in_one_phase_at_all_electrodes(seed):
    hum = electrode_noise(10 * RATE, RATE, Augmentation(power_line=0.1), np.random.default_rng(seed))
    spectrum = np.fft.rfft(hum)
    loudest = np.abs(spectrum).argmax(axis=1)
    assert set(np.fft.rfftfreq(10 * RATE, 1 / RATE)[loudest]) in ({50.0}, {60.0})
    assert np.abs(hum).max() <= 0.1
    np.testing.assert_allclose(np.ptp(np.angle(spectrum[:, loudest[0]])), 0, atol=1e-6)


def test_noise_keeps_to_einthovens_law(signal):
    varied = augmented(signal, RATE, STANDARD_LEADS, EVERYTHING, record_rng(0, 0, 0))
    noisy = dict(zip(STANDARD_LEADS, varied, strict=True))
    np.testing.assert_allclose(noisy["I"] + noisy["III"], noisy["II"], atol=1e-9)
    np.testing.assert_allclose(noisy["aVR"] + noisy["aVL"] + noisy["aVF"], 0, atol=1e-9)


def test_leads_follow_from_electrodes_as_in_the_textbook():
    ra, la, ll, v1 = 1.0, 3.0, 7.0, 20.0
    leads = leads_of_electrodes(["I", "II", "III", "AVR", "aVL", "aVF", "V1"]) @ [ra, la, ll, v1, *[0.0] * 5]
    expected = [la - ra, ll - ra, ll - la, ra - (la + ll) / 2, la - (ra + ll) / 2, ll - (ra + la) / 2]
    np.testing.assert_allclose(leads, [*expected, v1 - (ra + la + ll) / 3])


def test_fewer_leads_get_the_noise_that_they_would_get_among_all(signal):
    noise = {"baseline_wander": 0.3, "power_line": 0.1}
    few = vary(signal[[1, 6]], leads=["II", "V1"], **noise)
    np.testing.assert_allclose(few, vary(signal, **noise)[[1, 6]])


def test_a_record_is_varied_alike_in_an_epoch_and_otherwise_in_another(signal):
    def varied(seed, epoch, record):
        return augmented(signal, RATE, STANDARD_LEADS, EVERYTHING, record_rng(seed, epoch, record))

    first = varied(1, 2, 3)
    np.testing.assert_array_equal(varied(1, 2, 3), first)
    for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0)):
        assert not np.array_equal(varied(*other), first)


@pytest.mark.parametrize(("settings", "needed"), [({"power_line": 0.1}, 120), ({"muscle_noise": 0.1}, 40)])
def test_a_noise_that_a_rate_cannot_hold_is_refused(signal, settings, needed):
    (name,) = settings
    with pytest.raises(ValueError, match=f"{name}: records of {needed} Hz cannot hold .* at more than {needed} Hz"):
        vary(signal, rate=needed, **settings)
    vary(signal, rate=needed + 1, **settings)
