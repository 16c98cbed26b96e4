import numpy as np
import pytest

from modeling_enecg.evaluation.similarity import FeatureSpace, map_in_2d


def test_every_expert_counts_alike_whatever_its_scale_and_number_of_features():
    generator = np.random.default_rng(0)
    small, large = generator.normal(size=(50, 2)), 1000 * generator.normal(size=(50, 400))
    points = FeatureSpace([small, large]).points
    assert (points[:, :2] ** 2).sum() == pytest.approx((points[:, 2:] ** 2).sum())


def test_a_feature_that_does_not_vary_among_the_known_records_tells_nothing():
    known = np.column_stack([np.arange(5.0), np.ones(5)])
    space = FeatureSpace([known])
    near, far = space.place([np.array([[2.5, 1.0], [2.5, 9.0]])])
    np.testing.assert_array_equal(near, far)


def test_nearest_leaves_out_the_record_itself_and_gives_what_there_is():
    space = FeatureSpace([np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])])
    rows, cosines = space.nearest(5)
    assert rows.shape == cosines.shape == (3, 2)
    assert rows[:2, 0].tolist() == [1, 0]
    assert all(row not in others for row, others in enumerate(rows))
    alone = FeatureSpace([np.array([[1.0, 0.0]])])
    assert [each.shape for each in alone.nearest(5)] == [(1, 0), (1, 0)]


def test_similarity_is_the_cosine():
    generator = np.random.default_rng(0)
    space, queries = FeatureSpace([generator.normal(size=(30, 6))]), generator.normal(size=(4, 6))
    rows, cosines = space.nearest(30, queries)
    for query, found, values in zip(queries, rows, cosines, strict=True):
        others = space.points[found]
        wanted = others @ query / np.linalg.norm(others, axis=1) / np.linalg.norm(query)
        np.testing.assert_allclose(values, wanted, atol=1e-12)
        assert sorted(wanted, reverse=True) == pytest.approx(list(wanted))


def test_no_records_and_features_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="no records"):
        FeatureSpace([np.zeros((0, 3))])
    with pytest.raises(ValueError, match="finite"):
        FeatureSpace([np.array([[1.0, np.nan]])])


def test_a_map_keeps_groups_apart_and_is_the_same_each_time():
    generator = np.random.default_rng(0)
    groups = np.repeat([0, 1], 20)
    points = generator.normal(size=(40, 10)) + 20 * groups[:, None]
    places = map_in_2d(points)
    centres = np.stack([places[groups == group].mean(axis=0) for group in (0, 1)])
    nearer = np.linalg.norm(places[:, None] - centres, axis=-1).argmin(axis=1)
    assert nearer.tolist() == groups.tolist()
    np.testing.assert_array_equal(map_in_2d(points), places)


def test_a_map_of_three_records_is_refused():
    with pytest.raises(ValueError, match="at least 4 records"):
        map_in_2d(np.eye(3))
