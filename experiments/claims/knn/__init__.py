"""Claims of theory 9: kNN attention and sublinear time.

`lazy_gumbel` draws exactly, `knn_forward` and `knn_time` answer, `knn_gradients` estimates, `knn_training` trains a
small model (`language_model`, on a rhyme). What they run lives in `attention.knn`; what readers may probe, in `time`.
"""
