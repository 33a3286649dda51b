"""Raw text to batches for pre-training: vocabulary, tokenised corpus, blocks and masks. NumPy only, no torch."""
