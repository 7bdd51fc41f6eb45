(** Theorem A in integers: what one play certifies (theory 1, [one_shot_certificate] in reductions).

    The theorem says |M| + 64 > N log2 q - log2 Vol_q(N, e) - t. Without logarithms: a string x violates it where

        2^(|M| + 64 + t) Vol_q(N, e) <= q^N,

    and at most q^N / 2^t strings do, a fraction 2^-t of all. *)

From mathcomp Require Import all_ssreflect.
From kvfloor Require Import counting hamming.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Section OneShot.

Variables I A : finType.
Local Notation string := {ffun I -> A}.
Local Notation N := #|I|.
Local Notation q := #|A|.

(** Alice's encoder and Bob's decoder, the coins fixed. Bob's string may depend on the whole message in any way. A
    message has one of so many [lengths]: 2^64 of them is what a self-delimiting prefix of 64 bits pays for. *)
Variables (lengths : nat) (encode : string -> message) (decode : message -> string).
Hypothesis short : forall x, size (encode x) < lengths.

(** A message that leaves e errors speaks for a ball of strings; it is one of 2^|m| of its length, and that one of many. *)
Definition cost (m : message) (e : nat) : nat := lengths * 2 ^ size m * vol N q e.

(** The strings that cost no more than [budget]. *)
Definition violators (budget : nat) : {set string} :=
  [set x | cost (encode x) (distance x (decode (encode x))) <= budget].

Lemma in_violators budget x :
  (x \in violators budget) = (cost (encode x) (distance x (decode (encode x))) <= budget).
Proof. by rewrite inE. Qed.

(** The violators that share a message m lie in one ball round what Bob decodes from it. *)
Lemma violators_of_message budget m :
  #|[set x in violators budget | encode x == m]| * (lengths * 2 ^ size m) <= budget.
Proof.
set V := [set x in _ | _]; have [->|[x0 Vx0]] := set_0Vmem V; first by rewrite cards0.
case: (arg_maxnP (fun x => distance x (decode m)) Vx0) => x Vx farthest.
have: V \subset ball (decode m) (distance x (decode m)) by apply/subsetP => y /farthest; rewrite in_ball.
move/subset_leq_card; rewrite card_ball => le_vol.
have: x \in V by [].
rewrite /V inE in_violators => /andP[le_budget /eqP mE]; move: le_budget; rewrite mE /cost.
by apply: leq_trans; rewrite mulnC leq_mul2l le_vol orbT.
Qed.

Lemma violators_of_length budget bits :
  #|[set x in violators budget | size (encode x) == bits]| * lengths <= budget.
Proof.
apply: (@leq_sum_messages _ _ encode bits) => [x|m]; first by rewrite !inE => /andP[_ /eqP].
have [->|[x]] := set_0Vmem [set x in [set x in violators budget | size (encode x) == bits] | encode x == m].
  by rewrite cards0.
rewrite !inE => /andP[/andP[_ /eqP <-] /eqP ->]; apply: leq_trans (violators_of_message budget m).
rewrite leq_mul2r; apply/orP; right.
by apply/subset_leq_card/subsetP => y; rewrite !inE => /andP[/andP[-> _] ->].
Qed.

(** The general form: [budget] = q^N / 2^t makes it Theorem A, other numbers serve a t that is not whole. *)
Theorem count_violators budget : #|violators budget| <= budget.
Proof.
have [|lengths_gt0] := posnP lengths.
  move=> no_length; rewrite (_ : violators budget = set0) ?cards0 //.
  by apply/setP => x; have:= short x; rewrite no_length.
rewrite -(leq_pmul2l lengths_gt0) mulnC.
pose length_of x := Ordinal (short x).
rewrite -sum1_card (partition_big length_of xpredT) //= big_distrl /=.
rewrite -[X in X * _](card_ord lengths) -sum_nat_const.
apply: leq_sum => L _; apply: leq_trans (violators_of_length budget L).
rewrite leq_mul2r sum1dep_card; apply/orP; right.
by apply/subset_leq_card/subsetP => x; rewrite !inE => /andP[-> /eqP <-] /=.
Qed.

End OneShot.

(** The best of several readers: whichever is believed, and whatever that choice looks at. *)
Theorem count_best_violators (I A readers : finType) lengths (encode : {ffun I -> A} -> message) decode budget :
  (forall x, size (encode x) < lengths) ->
  #|[set x | [exists j : readers, x \in violators lengths encode (decode j) budget]]| <= #|readers| * budget.
Proof.
move=> short; pose V j := violators lengths encode (decode j) budget.
apply: leq_trans (_ : #|\bigcup_j V j| <= _).
  by apply/subset_leq_card/subsetP => x; rewrite inE => /existsP[j xVj]; apply/bigcupP; exists j.
by apply: leq_trans (card_union V) _; rewrite -sum_nat_const; apply: leq_sum => j _; apply: count_violators.
Qed.

Section TheoremA.

Variables I A : finType.
Local Notation string := {ffun I -> A}.
Local Notation N := #|I|.
Local Notation q := #|A|.

(** The prefix that tells the length of a message has [prefix] bits, 64 on our wire. *)
Variable prefix : nat.
Definition sendable (encode : string -> message) : Prop := forall x, size (encode x) < 2 ^ prefix.

(** |M| + prefix + t + log2 r <= N log2 q - log2 Vol_q(N, e): what a certificate says is not so. *)
Definition refuted (r t bits e : nat) : bool := 2 ^ (bits + prefix + t) * r * vol N q e <= q ^ N.

Lemma refuted_cost r t m e : 0 < r ->
  refuted r t (size m) e = (cost I A (2 ^ prefix) m e <= q ^ N %/ (r * 2 ^ t)).
Proof.
move=> r_gt0; rewrite /refuted /cost leq_divRL ?muln_gt0 ?r_gt0 ?expn_gt0 //.
rewrite !expnD -!mulnA; congr (_ <= _).
by rewrite [RHS]mulnCA; congr (_ * (_ * _)); rewrite [RHS]mulnC mulnCA mulnA.
Qed.

(** Theorem A, the coins fixed: at most q^N / 2^t strings violate it. *)
Theorem theorem_A (encode : string -> message) (decode : message -> string) t :
  sendable encode ->
  #|[set x | refuted 1 t (size (encode x)) (distance x (decode (encode x)))]| * 2 ^ t <= q ^ N.
Proof.
move=> short; rewrite -leq_divRL ?expn_gt0 // -[2 ^ t]mul1n.
apply: leq_trans (count_violators decode short _); apply/subset_leq_card/subsetP => x.
by rewrite in_violators inE refuted_cost.
Qed.

(** The same for the best of r readers, which costs log2 r bits. *)
Theorem theorem_A_readers (readers : finType) (encode : string -> message) (decode : readers -> message -> string) t :
  sendable encode ->
  #|[set x | [exists j, refuted #|readers| t (size (encode x)) (distance x (decode j (encode x)))]]| * 2 ^ t
  <= q ^ N.
Proof.
move=> short; set r := #|readers|; set bad := [set x | _].
have le_bad: #|bad| <= r * (q ^ N %/ (r * 2 ^ t)).
  apply: leq_trans (count_best_violators decode _ short); apply/subset_leq_card/subsetP => x.
  rewrite !inE => /existsP[j xj]; apply/existsP; exists j; move: xj.
  by rewrite in_violators refuted_cost //; apply/card_gt0P; exists j.
by apply: leq_trans (leq_mul le_bad (leqnn _)) _; rewrite mulnAC mulnC leq_trunc_div.
Qed.

End TheoremA.

(** Coins drawn uniformly and apart from x: what is proved for each of them holds of
    all pairs together. *)
Theorem over_coins (coins T : finType) (bad : coins -> {set T}) t total :
  (forall c, #|bad c| * 2 ^ t <= total) ->
  #|[set cx | cx.2 \in bad cx.1]| * 2 ^ t <= #|coins| * total.
Proof.
move=> few; rewrite (card_pairs (fun c x => x \in bad c)) big_distrl -sum_nat_const.
by apply: leq_sum => c _; rewrite cardsE few.
Qed.

(** No factor is given away in the general form: a single message and a ball round its string meet it. *)
Theorem count_violators_tight (I A : finType) (y : {ffun I -> A}) e :
  let budget := vol #|I| #|A| e in #|violators 1 (fun=> [::]) (fun=> y) budget| = budget.
Proof.
move=> budget; apply/eqP; rewrite eqn_leq count_violators //= -[X in X <= _](card_ball y e).
apply/subset_leq_card/subsetP => x; rewrite in_ball in_violators /cost expn0 !mul1n.
exact: leq_vol.
Qed.
