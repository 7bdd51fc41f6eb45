"""Other people's caches, as they ship: a folder a library.

An engine is given weights and tokens and leaves bytes. It imports its library only when it is used, and knows neither
what the tokens mean nor who asks.
"""
