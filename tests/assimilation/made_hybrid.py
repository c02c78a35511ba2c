"""A small ring and a correction of it for the tests of learning."""

from flax import nnx

from assimilation.model_error import RingNetwork, make_hybrid


def untrained(base):
    """One channel of one point, and a constant: enough for another forcing and friction."""
    net = RingNetwork(
        names=base.prognostic,
        layers=((1, 1),),
        products=True,
        mean=3.0,
        spread=4.0,
        rngs=nnx.Rngs(0),
    )
    return make_hybrid(base, net, form="tendency")
