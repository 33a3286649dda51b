"""Raw text in, an encoder out: vocabulary, tokenised corpus, masks and pairs, objectives."""
