"""One play of the one-way game: parties, the ways to run them, and where randomness comes from.

What lives here can change a measurement: a stored row is measured anew when it changes. What only judges,
keeps or shows a measurement lives in other folders.
"""
