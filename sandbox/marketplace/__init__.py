"""The GPU market: rents machines out and bills them."""
