"""Adapters on frozen layers: y[b] = W x[b] + sum over n of w[b, n] d_n(x[b], W x[b]).

`W` is the base's layer and stays as it is, `d_n` is what adapter n adds (:mod:`lorastyle.adapters.kinds`), and `w`
is the routing: which row of the batch uses which adapters, how strongly (:mod:`lorastyle.adapters.routing`).
Training one adapter, training many at once, serving many, mixing them and the base as teacher are choices of `w`.
"""
