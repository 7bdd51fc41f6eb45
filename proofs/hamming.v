(** Hamming balls and their volume (theory 1).

    A string is a function from a finite set [I] of positions to a finite alphabet [A]: N = #|I|, q = #|A|. *)

From mathcomp Require Import all_ssreflect.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

(** Vol_q(N, e), the number that [log2_hamming_ball] in reductions takes the logarithm of. *)
Definition vol (N q e : nat) : nat := \sum_(k < e.+1) 'C(N, k) * q.-1 ^ k.

Lemma leq_vol N q : {homo vol N q : e f / e <= f}.
Proof.
move=> e f le_ef; pose term k := 'C(N, k) * q.-1 ^ k.
rewrite /vol -!(big_mkord xpredT term) [leqRHS](big_cat_nat _ _ _ (n := e.+1)) //=.
exact: leq_addr.
Qed.

Lemma vol0 N q : vol N q 0 = 1.
Proof. by rewrite /vol big_ord_recl big_ord0 bin0. Qed.

Section Hamming.

Variables I A : finType.
Local Notation string := {ffun I -> A}.
Local Notation N := #|I|.
Local Notation q := #|A|.

(** The positions at which two strings differ, and how many there are. *)
Definition errors (x y : string) : {set I} := [set i | x i != y i].
Definition distance (x y : string) : nat := #|errors x y|.
Definition ball (y : string) (e : nat) : {set string} := [set x | distance x y <= e].

Lemma in_ball x y e : (x \in ball y e) = (distance x y <= e).
Proof. by rewrite inE. Qed.

Lemma distance_xx x : distance x x = 0.
Proof. by apply/eqP; rewrite cards_eq0; apply/eqP/setP => i; rewrite !inE eqxx. Qed.

(** Each of the positions in D holds one of the q - 1 other symbols. *)
Lemma card_errors y (D : {set I}) : #|[set x | errors x y == D]| = q.-1 ^ #|D|.
Proof.
pose symbols i := if i \in D then predC1 (y i) else pred1 (y i).
transitivity #|family symbols|.
  apply: eq_card => x; rewrite inE; apply/eqP/familyP => [xyD i|x_ok].
    by rewrite /symbols -xyD inE; case: ifPn; rewrite inE /= ?negbK.
  apply/setP => i; rewrite inE; have:= x_ok i; rewrite /symbols.
  by case: (i \in D); rewrite inE //= => ->.
rewrite card_family foldrE big_map big_enum /=.
rewrite (bigID (mem D)) /= [X in _ * X]big1 ?muln1 => [|i /negbTE notD]; last first.
  by rewrite /symbols notD card1.
rewrite (eq_bigr (fun=> q.-1)) => [|i iD]; last by rewrite /symbols iD cardC1.
by rewrite prod_nat_const.
Qed.

Lemma card_sphere y k : #|[set x | distance x y == k]| = 'C(N, k) * q.-1 ^ k.
Proof.
rewrite -sum1dep_card (partition_big (errors^~ y) [pred D : {set I} | #|D| == k]) //=.
rewrite (eq_bigr (fun=> q.-1 ^ k)) => [|D /eqP cardD]; last first.
  rewrite -cardD -(card_errors y) -sum1dep_card; apply: eq_bigl => x.
  by rewrite andb_idl // => /eqP xyD; rewrite /distance xyD cardD.
by rewrite sum_nat_const -(card_draws I) cardsE.
Qed.

(** The volume of a ball is the sum of binom(N, k) (q-1)^k over k <= e, whatever its centre. *)
Theorem card_ball y e : #|ball y e| = vol N q e.
Proof.
rewrite /vol -sum1dep_card (partition_big (fun x => inord (distance x y) : 'I_e.+1) xpredT) //=.
apply: eq_bigr => k _; rewrite -(card_sphere y) -sum1dep_card; apply: eq_bigl => x.
apply/andP/eqP => [[le_xe /eqP <-]|->]; first by rewrite inordK.
by rewrite -ltnS ltn_ord inord_val.
Qed.

End Hamming.
