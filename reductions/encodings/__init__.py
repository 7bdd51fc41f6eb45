"""Problems as keys, values and queries, and how their answers are read.

`protocol` is what every encoding follows; the others are encodings, one a file.
"""
