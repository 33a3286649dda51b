"""bertcli: BERT-family encoders as a Unix tool."""

__version__ = "0.1.0"
