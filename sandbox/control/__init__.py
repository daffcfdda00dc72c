"""Dumont Cloud: the product's API, doing its work over the wire: market by HTTP, machines by SSH, store by restic."""
