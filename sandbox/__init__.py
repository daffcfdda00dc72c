"""The embedded cloud: a marketplace, machines, an object store and a control plane on loopback."""
