"""What normal distribution does each class follow, when some classes have only a handful of rows?"""

from __future__ import annotations

import torch
from torch import Tensor

#: Rows of all classes that weigh as much as those of one class, in the spread of that class.
SHRINK = 6.0


def class_normals(rows: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Means (k, d) and factors (k, d, d), factors @ factors.T the covariance, from rows (n, d) and labels (n,); the
    columns of a factor are at right angles.

    A class's covariance is drawn towards the one within all classes, the more so the fewer rows it has, and towards no
    correlation, the more so the fewer rows there are beside their numbers; a class without rows gets the mean of all."""
    wide = rows.double()
    owns = [wide[labels == k] for k in range(classes)]
    means = torch.stack([own.mean(dim=0) if len(own) else wide.mean(dim=0) for own in owns])
    off = wide - means[labels]
    pooled = off.T @ off / len(wide)
    lone = [(own - mean).T @ (own - mean) for own, mean in zip(owns, means, strict=True)]
    spreads = [(one + SHRINK * pooled) / (len(own) + SHRINK) for one, own in zip(lone, owns, strict=True)]
    many, d = rows.shape
    alone = 0.5 * d / (d + many)
    loose = [(1 - alone) * spread + alone * torch.diag(spread.diagonal()) for spread in spreads]
    return means.float(), torch.stack([_root(spread).float() for spread in loose])


def draws(means: Tensor, factors: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
    """Rows (n, d) of the classes that labels (n,) name, from standard normal noise (n, d)."""
    return means[labels] + torch.einsum("nde,ne->nd", factors[labels], noise)


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = vectors * values.clamp(min=0).sqrt()
    return root
