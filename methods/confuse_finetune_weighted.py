"""CFW: noise on convolutions, fine-tuning on retain, and a little noise once more before the last epoch.

A solution of the NeurIPS 2023 unlearning challenge, after its port in Cadet et al., "Deep Unlearn" (arXiv 2410.01276,
2024). The strong noise is meant for the first convolution, which is all that the port reaches on a ResNet; on all of
them 0.6 is destruction, so set `std` with `scope`. The port's class weights multiply a loss that is averaged already
and so weigh nothing; here there are none. Encoders are fine-tuned by their own loss, in batches of 256 at a rate larger
in proportion (ours).
"""

from dataclasses import dataclass

from torch import Generator

from benchmark.api import (
    GradientMethod,
    Learner,
    UnlearningRequest,
    add_noise,
    bounded,
    choice,
    copy_of,
    epochs_on_retain,
    half_cosine,
    kernels,
    register_method,
    remember_only,
)


@register_method(
    "confuse_finetune_weighted",
    paper="NeurIPS 2023 unlearning challenge; Cadet et al., arXiv 2410.01276, 2024",
    uses={"retain"},
    cost="4 R",
    scenarios={"random", "indices"},
    contrastive={"lr": 0.0028, "batch_size": 256},
)
@dataclass(frozen=True, kw_only=True)
class ConfuseFinetuneWeighted(GradientMethod):
    """Gaussian noise of `std` at once and of `late_std` before the last epoch; cosine rate, epoch by epoch."""

    scope: str = choice("first_conv", "all_conv")
    std: float = bounded(0.6, 0.0, 1.0)
    late_std: float = bounded(0.005, 0.0, 1.0)
    optimizer: str = choice("sgd", "adam", "adamw")
    lr: float = bounded(7e-4, 0.0, 0.1)
    epochs: int = bounded(4, 1, 37)
    batch_size: int = bounded(64, 2, 65536)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = copy_of(learner)
        draws = request.stream("noise")
        confuse(unlearned, self.scope, self.std, draws)
        remember_only(unlearned, request.retain, request.stream("memory"))

        def late(epoch: int) -> None:
            if 0 < epoch == self.epochs - 1:
                confuse(unlearned, self.scope, self.late_std, draws)

        epochs_on_retain(unlearned, request, self.how(), half_cosine, late)
        return unlearned


def confuse(learner: Learner, scope: str, std: float, generator: Generator) -> None:
    """Add noise to kernels in scope; a `std` of 0 draws nothing."""
    if std > 0:
        add_noise(learner, [*kernels(learner)][: 1 if scope == "first_conv" else None], std, generator)
