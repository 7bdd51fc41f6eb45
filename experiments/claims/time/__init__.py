"""Claims of theory 6: time.

`non_adaptive_time` reads at places fixed beforehand (`probing_readers`, through a store that counts: `probes`),
`time_barrier_circumvented` looks at the query first. How many bits a cache keeps is not their subject.
"""
