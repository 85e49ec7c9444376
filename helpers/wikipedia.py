"""Fetching and cleaning Wikipedia (notebook 05)."""

import re
from pathlib import Path

REVISION = "b04c8d1ceb2f5cd4588862100d08de323dccfbaa"
NAME = "train-00000-of-00001.parquet"
URL = f"https://huggingface.co/datasets/wikimedia/wikipedia/resolve/{REVISION}/20231101.simple/{NAME}"
SHA256 = "31bded16768a47c286becd292079122f5d7d4397a17b87d4250a00ccd581e6f0"


def read_parquet(path):
    """Yield the cleaned articles of a Wikipedia parquet file."""
    raise NotImplementedError


def fetch(cache):
    """Return the path of the file, downloaded."""
    raise NotImplementedError
