"""CT: every convolution kernel is transposed, height for width, and the network is fine-tuned on retain.

A solution of the NeurIPS 2023 unlearning challenge, after its port in Cadet et al., "Deep Unlearn" (arXiv 2410.01276,
2024). A transposed network answers to a transposed image as the original did to the image itself, so what is general
comes back in a few epochs and what was memorised of single images, it is hoped, does not. Kernels that are not square
stay, and 1 x 1 kernels cannot change. For convolutional networks; of a vision transformer it would move the patch
embedding alone. Encoders are fine-tuned by their own loss, in batches of 256 at a rate larger in proportion (ours).
"""

from dataclasses import dataclass

from benchmark.api import (
    BenchmarkError,
    GradientMethod,
    Learner,
    UnlearningRequest,
    bounded,
    choice,
    copy_of,
    edit_weights,
    epochs_on_retain,
    half_cosine,
    kernels,
    register_method,
    remember_only,
)


@register_method(
    "convolution_transpose",
    paper="NeurIPS 2023 unlearning challenge; Cadet et al., arXiv 2410.01276, 2024",
    uses={"retain"},
    cost="3 R",
    scenarios={"random", "indices"},
    contrastive={"lr": 0.004, "batch_size": 256},
)
@dataclass(frozen=True, kw_only=True)
class ConvolutionTranspose(GradientMethod):
    """Transposition, then epochs of the training loss on retain; the rate follows a cosine, epoch by epoch."""

    optimizer: str = choice("sgd", "adam", "adamw")
    lr: float = bounded(1e-3, 0.0, 0.1)
    epochs: int = bounded(3, 1, 37)
    batch_size: int = bounded(64, 2, 65536)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = copy_of(learner)
        transpose_kernels(unlearned)
        remember_only(unlearned, request.retain, request.stream("memory"))
        epochs_on_retain(unlearned, request, self.how(), half_cosine)
        return unlearned


def transpose_kernels(learner: Learner) -> None:
    """Swap the spatial axes of every square kernel, of momentum copies too.

    Raises:
        BenchmarkError: If there is no kernel that this would change.
    """
    names = {name for name, kernel in kernels(learner).items() if kernel.shape[-2] == kernel.shape[-1] > 1}
    if not names:
        raise BenchmarkError("convolution_transpose: this network has no square kernel larger than 1 x 1.")
    edit_weights(learner, lambda name, weight: weight.mT.clone() if name in names else weight)
