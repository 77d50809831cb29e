"""Names of arrays in other libraries, one module a library: rules for `jaxkd.weights.load`.

Each module has `RULES`, by the class of the network in `jaxkd.models`, and may have `IGNORED`, a
pattern of names of arrays that are no weights.
"""
