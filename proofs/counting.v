(** Counting: pairs, unions and messages. *)

From mathcomp Require Import all_ssreflect.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

(** Pairs are counted row by row. *)
Lemma card_pairs (S T : finType) (P : S -> T -> bool) :
  #|[set p | P p.1 p.2]| = \sum_x #|[set y | P x y]|.
Proof.
rewrite -sum1dep_card -(pair_big_dep xpredT P (fun _ _ => 1)) /=.
by apply: eq_bigr => x _; rewrite sum1dep_card.
Qed.

(** The union bound. *)
Lemma card_union (T J : finType) (V : J -> {set T}) : #|\bigcup_j V j| <= \sum_j #|V j|.
Proof.
elim/big_rec2: _ => [|j n U _ leU]; first by rewrite cards0.
by apply: leq_trans (leq_card_setU _ _) _; rewrite leq_add2l.
Qed.

(** A message is a finite sequence of bits. *)
Definition message := seq bool.

(** There are 2^L messages of L bits: what holds of each one's share with the factor 2^L holds of all without. *)
Lemma leq_sum_messages (T : finType) (V : {set T}) (send : T -> message) (bits c bound : nat) :
  {in V, forall x, size (send x) = bits} ->
  (forall m, #|[set x in V | send x == m]| * (c * 2 ^ bits) <= bound) ->
  #|V| * c <= bound.
Proof.
move=> sizeV le_bound; rewrite -(leq_pmul2l (m := 2 ^ bits)) ?expn_gt0 // mulnC -mulnA.
pose fixed x : bits.-tuple bool := insubd [tuple of nseq bits false] (send x).
rewrite -sum1_card (partition_big fixed xpredT) //= big_distrl /=.
have <-: \sum_(m : bits.-tuple bool) bound = 2 ^ bits * bound.
  by rewrite sum_nat_const card_tuple card_bool.
apply: leq_sum => m _; apply: leq_trans (le_bound m).
rewrite leq_mul2r sum1dep_card; apply/orP; right.
apply/subset_leq_card/subsetP => x; rewrite !inE => /andP[Vx /eqP <-].
by rewrite Vx val_insubd sizeV ?eqxx.
Qed.
