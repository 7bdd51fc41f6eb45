"""Claims of theory 4: low dimension and SubGen.

`low_dimension` fills packings with bits; `subgen_low_dimension` and `subgen_high_dimension` show where SubGen saves and
where it cannot, `subgen_unbiased` that its sums have the right means. `streams` is what two of them read.
"""
