"""Claims of theory 5: sparsity and windows.

`unstructured_sparsity` shows that attention on one token spares no bit, `sliding_window` what a window needs and takes
where evicted values still count. The window's attention lives in `attention.window`.
"""
