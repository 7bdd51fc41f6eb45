"""What follows from errors and lengths, whatever the cache: proofs in numbers, none of them an estimate.

`certificates` counts what one play proves, with the `balls` it needs; `frontier` is what no rate can beat;
`optimum` and `coverings` solve small cases exactly; `readers` turn answers into values. Nothing here knows how
an instance was encoded.
"""
