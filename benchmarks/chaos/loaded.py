"""What is loaded once, before the runs that faults are tried on are forked off? Loading takes longer than such a run itself."""

from __future__ import annotations

import great_expectations  # noqa: F401
import sklearn.cluster  # noqa: F401
import sklearn.datasets  # noqa: F401
import sklearn.ensemble  # noqa: F401
import sklearn.linear_model  # noqa: F401
import torch
import torch._dynamo  # noqa: F401  # what the first step of an optimizer loads

import data.publish  # noqa: F401
import flows.begin  # noqa: F401
import flows.cli
import flows.show  # noqa: F401
import flows.stages  # noqa: F401
import flows.tell  # noqa: F401
import flows.walk  # noqa: F401
import generators.tabular.gan  # noqa: F401
import validators.expectations
import validators.gx_gate  # noqa: F401
import validators.judge  # noqa: F401
import validators.report.page  # noqa: F401
import validators.suite  # noqa: F401

torch.set_num_threads(1)
