(** The barrier: Theorems A and B together (theory 3). A cache that answers every query to 1 +- eta, whatever the bits,
    carries all n d_v of them. *)

From mathcomp Require Import all_ssreflect ssralg ssrnum.
From kvfloor Require Import counting hamming certificate attention.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import GRing.Theory Num.Theory.

Section Barrier.

(** n tokens with values of d_v channels; the bits stand in the values. Bob's token is [None] and has value 0. *)
Variables (R : realFieldType) (stream channels : finType).
Local Notation bits := {ffun stream * channels -> bool}.
Implicit Types (x : bits).

Definition value x (j : channels) (l : option stream) : bool := if l is Some token then x (token, j) else false.

(** The weight of each token to the query that asks for token i: the keys are public, so it does not depend on x. *)
Variable weight : stream -> option stream -> R.
Variables (kappa eta : R).
Hypothesis kappaP : forall i, peaked (weight i) (Some i) kappa.
Hypothesis eta_ge0 : (0 <= eta)%R.
Hypothesis margin : (kappa * (1 + eta) < 1 - eta)%R.

(** A cache writes the stream into a message; its answers are read from the message alone. *)
Variables (prefix : nat) (encode : bits -> message) (answer : message -> stream -> channels -> R).
Hypothesis short : sendable prefix encode.
Hypothesis near : forall x i j,
  approximates eta (attention (weight i) (fun l => (value x j l)%:R%R)) (answer (encode x) i j).

Definition decode (m : message) : bits := [ffun ij => ((1 - eta) / (1 + kappa) <= answer m ij.1 ij.2)%R].

Lemma decode_encode x : decode (encode x) = x.
Proof.
apply/ffunP => -[i j]; rewrite ffunE /=.
have [theirs _] := theorem_B_thresholds (peaked_ge0 (kappaP i)) margin.
exact: (theorem_B (kappaP i) eta_ge0 margin (near x i j) theirs).
Qed.

(** All but a fraction 2^-t of the bit strings take more than n d_v - t - prefix bits. *)
Theorem barrier t :
  #|[set x | 2 ^ (size (encode x) + prefix + t) <= 2 ^ (#|stream| * #|channels|)]| * 2 ^ t
  <= 2 ^ (#|stream| * #|channels|).
Proof.
have := theorem_A decode t short; rewrite card_bool card_prod.
apply: leq_trans; rewrite leq_mul2r; apply/orP; right; apply/subset_leq_card/subsetP => x.
by rewrite !inE decode_encode distance_xx /refuted vol0 card_bool card_prod !muln1.
Qed.

End Barrier.
