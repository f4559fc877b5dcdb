"""Pure measurement functions: arrays in, numbers out; definitions and traps in METRICS.md."""

from benchmark.metrics.attacks import (
    average_precision,
    delong_interval,
    mia_auc,
    one_run_epsilon,
    roc_on_grid,
    swap_auc,
    tpr_at_fpr,
)
from benchmark.metrics.cost import speedup
from benchmark.metrics.distances import cka, energy_distance, js_divergence
from benchmark.metrics.encoders import encodermi_t, pairwise_cosines, weighted_knn
from benchmark.metrics.legacy import average_gap, emia_threshold, svc_mia_efficacy, svc_nonmember_share, tow
from benchmark.metrics.population import competition_forgetting_quality, klom, klom0, lira_score, rmia, u_lira
from benchmark.metrics.signals import entropy, loss, modified_entropy, phi

__all__ = [
    "average_gap",
    "average_precision",
    "cka",
    "competition_forgetting_quality",
    "delong_interval",
    "emia_threshold",
    "encodermi_t",
    "energy_distance",
    "entropy",
    "js_divergence",
    "klom",
    "klom0",
    "lira_score",
    "loss",
    "mia_auc",
    "modified_entropy",
    "one_run_epsilon",
    "pairwise_cosines",
    "phi",
    "rmia",
    "roc_on_grid",
    "speedup",
    "svc_mia_efficacy",
    "svc_nonmember_share",
    "swap_auc",
    "tow",
    "tpr_at_fpr",
    "u_lira",
    "weighted_knn",
]
