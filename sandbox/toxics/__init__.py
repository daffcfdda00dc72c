"""A network that can be made bad: TCP proxies between the parts of a cloud, in the words of Toxiproxy."""
