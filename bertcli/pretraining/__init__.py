"""Pre-training: from raw text over a vocabulary and a tokenised corpus to a checkpoint of an encoder."""
