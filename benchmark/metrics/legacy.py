"""Columns kept only for comparison with papers; never ranked.

Tug-of-war: RUM, Zhao et al. (NeurIPS 2024, 2406.01257). Average gap: SalUn, Fan et al. (ICLR 2024,
2310.12508). SVC membership inference: Jia et al. (NeurIPS 2023, 2304.04934). EncoderMI with a threshold: MUC, Wang
et al. (TMLR 2025, 2406.03603).
"""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.svm import SVC

from benchmark.metrics._checks import numbers, probabilities, same_shape


def tow(unlearned: ArrayLike, retrained: ArrayLike) -> float:
    """Tug-of-war: mean over seeds of the product of (1 - |unlearned - retrained|) over three accuracies.

    Args:
        unlearned: [S, 3], forget (or SVC efficacy), retain and test accuracy as fractions.
        retrained: [S, 3], same seeds.

    Returns:
        In [0, 1]; 1 if every accuracy equals the retrained one.

    Raises:
        ValueError: values outside [0, 1] (percent), shapes other than [S, 3], NaN.

    Source: RUM, Zhao et al., NeurIPS 2024.

    >>> round(tow([[0.8, 0.95, 0.9]], [[0.9, 1.0, 0.95]]), 5)
    0.81225
    """
    u, r = probabilities(unlearned, "tow: unlearned", 2), probabilities(retrained, "tow: retrained", 2)
    same_shape(u, r, "tow: unlearned and retrained")
    if u.shape[1] != 3:
        raise ValueError(f"tow: {u.shape[1]} columns; forget, retain and test accuracy are needed.")
    return float((1 - np.abs(u - r)).prod(axis=1).mean())


def average_gap(unlearned: ArrayLike, retrained: ArrayLike) -> float:
    """Mean over seeds and columns of |unlearned - retrained|; gaps of opposite sign do not cancel.

    Args:
        unlearned: [S, K], for instance UA, RA, TA and SVC efficacy in points.
        retrained: [S, K], same seeds.

    Returns:
        In [0, inf), in the unit of the input.

    Raises:
        ValueError: unequal shapes, empty, NaN.

    Source: SalUn, Fan et al., ICLR 2024.

    >>> average_gap([[1.0, 0.0], [-1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]])
    0.5
    """
    u, r = numbers(unlearned, "average_gap: unlearned", 2), numbers(retrained, "average_gap: retrained", 2)
    same_shape(u, r, "average_gap: unlearned and retrained")
    return float(np.abs(u - r).mean())


def svc_mia_efficacy(conf_retain: ArrayLike, conf_test: ArrayLike, conf_forget: ArrayLike) -> float:
    """Share of forget examples that an SVC, fitted on retain (1) against test (0), calls non-members.

    One-sided: a model that over-forgets scores 1, which is not what retraining scores.

    Args:
        conf_retain: [t], true-class probabilities of retained examples.
        conf_test: [t], of test examples.
        conf_forget: [m], of forget examples.

    Returns:
        In [0, 1].

    Raises:
        ValueError: unequal retain and test sizes, values outside [0, 1], NaN, empty.

    Source: Jia et al., NeurIPS 2023; settings C=3, RBF, gamma="auto" as in Fan et al., ICLR 2024.

    >>> svc_mia_efficacy([0.9, 1.0], [0.1, 0.2], [0.15, 0.95])
    0.5
    """
    retain = probabilities(conf_retain, "svc_mia_efficacy: conf_retain", 1)
    test = probabilities(conf_test, "svc_mia_efficacy: conf_test", 1)
    forget = probabilities(conf_forget, "svc_mia_efficacy: conf_forget", 1)
    same_shape(retain, test, "svc_mia_efficacy: conf_retain and conf_test")
    return svc_nonmember_share(retain, test, forget)


def svc_nonmember_share(retain: ArrayLike, test: ArrayLike, forget: ArrayLike) -> float:
    """The attack of `svc_mia_efficacy` on any number per example: correctness (0 or 1), entropy in nats.

    Args:
        retain: [t].
        test: [t].
        forget: [m].

    Returns:
        In [0, 1].

    Raises:
        ValueError: unequal retain and test sizes, NaN, empty.

    Source: the variants of Fan et al., ICLR 2024.

    >>> svc_nonmember_share([0.1, 0.2], [2.0, 2.1], [0.0, 2.3, 1.9, 0.15])
    0.5
    """
    members = numbers(retain, "svc_nonmember_share: retain", 1)
    nonmembers = numbers(test, "svc_nonmember_share: test", 1)
    scored = numbers(forget, "svc_nonmember_share: forget", 1)
    same_shape(members, nonmembers, "svc_nonmember_share: retain and test")
    attack = SVC(C=3, kernel="rbf", gamma="auto")
    attack.fit(np.concatenate([members, nonmembers])[:, None], np.repeat([1, 0], len(members)))
    return float((attack.predict(scored[:, None]) == 0).mean())


def emia_threshold(member_scores: ArrayLike, nonmember_scores: ArrayLike, forget_scores: ArrayLike) -> float:
    """Share of forget examples below the threshold that best parts members from non-members.

    The threshold is the first edge of 500 equal bins over [0, 1] with the highest accuracy of "member iff score >=
    threshold". One-sided, and refitted for every model.

    Args:
        member_scores: [t], EncoderMI-T of retained examples.
        nonmember_scores: [t], of examples never trained on.
        forget_scores: [m].

    Returns:
        In [0, 1].

    Raises:
        ValueError: unequal member and non-member sizes, NaN, empty.

    Source: MUC, Wang et al., TMLR 2025 (2406.03603).

    >>> emia_threshold([0.8, 0.9], [0.1, 0.2], [0.1, 0.95, 0.85, 0.9])
    0.25
    """
    members = numbers(member_scores, "emia_threshold: member_scores", 1)
    nonmembers = numbers(nonmember_scores, "emia_threshold: nonmember_scores", 1)
    forget = numbers(forget_scores, "emia_threshold: forget_scores", 1)
    same_shape(members, nonmembers, "emia_threshold: member and non-member scores")
    thresholds = np.linspace(0, 1, 501)
    right = (members >= thresholds[:, None]).sum(axis=1) + (nonmembers < thresholds[:, None]).sum(axis=1)
    return float((forget < thresholds[right.argmax()]).mean())
