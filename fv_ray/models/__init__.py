"""The two transformers and the way of the released weights into them."""
