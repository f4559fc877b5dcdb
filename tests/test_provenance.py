"""What a record says of where it was made, and what it must not."""

from pathlib import Path

import pytest

from benchmark import ROOT
from benchmark.provenance import anonymous


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'File "{ROOT}/jobs.py", line 3', f'File "{ROOT.name}/jobs.py", line 3'),
        (f"{Path.home()}/data/x.png: gone", "…/x.png: gone"),
        ('File "/usr/lib/python3/site-packages/torch/nn.py", line 1', 'File "…/nn.py", line 1'),
        ("no '/data/ada lovelace'", "no '…/ada lovelace'"),
        (r"open C:\Users\ada\x.pt failed", "open …/x.pt failed"),
        ("folder:/home/ada/cats", "folder:…/cats"),
        ("original/outputs", "original/outputs"),
        ("1/2 and/or n/a, https://arxiv.org/abs/1234", "1/2 and/or n/a, https://arxiv.org/abs/1234"),
        ("a single /tmp", "a single /tmp"),
        ("x\n  /a/b\n", "x\n  …/b\n"),
        ("\x1b[31;1mred\x1b[0m\x07", "red"),
    ],
)
def test_paths_of_a_machine_lose_their_folders(text, said):
    assert anonymous(text) == said
    assert anonymous(said) == said
