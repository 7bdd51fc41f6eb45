"""Problems as keys, values and queries, and how their answers are read.

`protocol` is what every encoding follows, `levels` how symbols become values and are read back; the others are
encodings, one a file, each with the proof of its constants. No bit is counted here (`kvfloor.reductions.bounds`)
and no attention computed.
"""
