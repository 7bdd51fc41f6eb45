"""The graph of problems and models: its arrows, and how a bound travels along them.

`reduction` is what an arrow is, `nodes` names what they join, `into_softmax` and `beyond` hold them, `arrows` lists
them, `graph` pushes bounds along. Constants are proved where the encodings are; nothing here plays.
"""
