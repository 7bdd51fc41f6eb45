"""How figures look: their style, and the panels that several of them share.

`style` is common to all, `panels` has pieces of axes, `barrier` and `unbiased` whole panels for the rows that
`judging` knows under these names. Reads stored rows alone; nothing in `judging` may import it.
"""
