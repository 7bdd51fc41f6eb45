"""What a claim is, and how rows are judged.

`claim` is the frame, `rows` picks rows and columns, `plays` and `barrier` hold the checks that several claims make,
`scaling` and `unbiased` the statistics. Reads stored rows alone: what lives here can change a verdict, never a
measurement, and it draws nothing.
"""
