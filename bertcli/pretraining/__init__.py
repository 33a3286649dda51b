"""From raw text to what an encoder learns from: vocabulary, words, vectors. NumPy and tokenizers, never torch."""
