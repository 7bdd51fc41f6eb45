"""SubGen and what it stands on.

`subgen` answers from samples, `subgen4` does so for tensor attention. `clusters` opens clusters of keys online,
`reservoirs` samples keys and values, `concentration` bounds how far sums of samples stray.
"""
