"""A person's few words to the long caption that both stages were trained on. Knows no torch, no Ray and no vLLM."""
