"""Imported by the server that workers are forked from, so that no worker waits for what every job needs."""

import lightly.loss
import lightly.models.modules
import sklearn.linear_model
import sklearn.preprocessing
import timm
import torch.optim.lr_scheduler

__all__ = ["lightly", "sklearn", "timm", "torch"]
