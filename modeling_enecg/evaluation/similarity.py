"""How alike records are by their experts' features, and a map of them in two dimensions."""

from collections.abc import Sequence

import numpy as np

from .checks import finite_array

_MAP_COMPONENTS, _PERPLEXITY = 50, 30.0


class FeatureSpace:
    """The space in which records are compared: standardised features, in which every expert counts alike.

    Each feature is standardised by its mean and deviation over the known records; a feature that does not vary there
    tells nothing. Each expert's features are divided by the square root of their number, so that an expert with more
    of them does not count more.

    Args:
        known (`Sequence[np.ndarray]`): Each expert's features of the known records, `(num_records, feature_size)`.

    Raises:
        ValueError: if there are no records, or a feature is not finite.
    """

    def __init__(self, known: Sequence[np.ndarray]):
        arrays = [finite_array("features", each) for each in known]
        if not arrays or not len(arrays[0]):
            raise ValueError("There are no records with features.")
        self._means = [each.mean(axis=0) for each in arrays]
        self._deviations = [each.std(axis=0) for each in arrays]
        self.points = self.place(arrays)

    def place(self, features: Sequence[np.ndarray]) -> np.ndarray:
        """Return records' standardised features, `(num_records, num_features)` of all experts together."""
        blocks = []
        for each, mean, deviation in zip(features, self._means, self._deviations, strict=True):
            varies = deviation > 0
            centred = np.where(varies, each - mean, 0.0)
            blocks.append(centred / np.where(varies, deviation, 1.0) / np.sqrt(each.shape[1]))
        return np.concatenate(blocks, axis=1)

    def nearest(self, number: int, points: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the known records that are most similar to some, by the cosine of the angle between them.

        Args:
            number (`int`): How many; fewer where fewer are known.
            points (`np.ndarray` of shape `(num_queries, num_features)`, *optional*): As `place` gives them. By default
                the known records themselves, none of which is then its own neighbour.

        Returns:
            `tuple[np.ndarray, np.ndarray]`: Rows of the known records, most similar first, and the cosines, both of
                shape `(num_queries, number)`.
        """
        from sklearn.neighbors import NearestNeighbors

        number = min(number, len(self.points) - (points is None))
        if number < 1:
            nothing = np.zeros((len(self.points), 0))
            return nothing.astype(int), nothing
        finder = NearestNeighbors(metric="cosine").fit(self.points)
        distances, rows = finder.kneighbors(points, number)
        return rows, 1 - distances


def map_in_2d(points: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return a map of records, on which neighbours lie together: t-SNE of scikit-learn.

    Maaten, Hinton, "Visualizing data using t-SNE", J. Mach. Learn. Res. 9 (2008), from the first 50 principal
    components and started at the first two. Distances between groups mean nothing.

    Args:
        points (`np.ndarray` of shape `(num_records, num_features)`): As [`FeatureSpace`] has them.
        seed (`int`, *optional*, defaults to 0): Of the computation.

    Returns:
        `np.ndarray` of shape `(num_records, 2)`.

    Raises:
        ValueError: if there are fewer than 4 records.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(points) < 4:
        raise ValueError(f"A map needs at least 4 records with features; got {len(points)}.")
    reduced = PCA(min(_MAP_COMPONENTS, *points.shape), random_state=seed).fit_transform(points)
    perplexity = min(_PERPLEXITY, (len(points) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)


__all__ = ["FeatureSpace", "map_in_2d"]
