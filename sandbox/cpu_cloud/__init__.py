"""A cloud of CPU machines, shaped like Google's Compute Engine. The marketplace's process serves it."""
