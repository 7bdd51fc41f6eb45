(** What each theorem rests on beside Coq's own rules: nothing. [make proofs] counts the answers. *)

From kvfloor Require Import hamming certificate sampled attention barrier.

Print Assumptions card_ball.
Print Assumptions count_violators.
Print Assumptions count_violators_tight.
Print Assumptions count_best_violators.
Print Assumptions theorem_A.
Print Assumptions over_coins.
Print Assumptions theorem_A_readers.
Print Assumptions upper_bound_misses.
Print Assumptions least_boundP.
Print Assumptions theorem_A_sampled.
Print Assumptions attention_bounds.
Print Assumptions levels_apart.
Print Assumptions theorem_B.
Print Assumptions theorem_B_thresholds.
Print Assumptions barrier.
