(** Theorem B's decoding over any ordered field (theory 3): bits are read from approximate attention.

    Attention is a weighted mean of values in [0, 1]. Exponentials enter through one number only: kappa, a bound on the
    weight of all other tokens together, relative to the token asked for. In theory 3 kappa = n e^(-C (1 - eps)). *)

From mathcomp Require Import all_ssreflect ssralg ssrnum.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Attention.

Variables (R : realFieldType) (tokens : finType).
Implicit Types (w v : tokens -> R) (i : tokens) (kappa eta rho : R).

(** Softmax attention with weights w = e^(scores): a convex combination of the values. *)
Definition attention w v : R := (\sum_l w l * v l) / \sum_l w l.

(** All other tokens together weigh at most kappa times the token i. *)
Definition peaked w i kappa : Prop :=
  [/\ 0 < w i, forall l, 0 <= w l & \sum_(l | l != i) w l <= kappa * w i].

(** A (1 +- eta)-approximation, entrywise. *)
Definition approximates eta (exact found : R) : Prop := (1 - eta) * exact <= found <= (1 + eta) * exact.

(** Where each of the n other tokens weighs at most rho times the token asked for, kappa = n rho. *)
Lemma peaked_each w i rho : 0 < w i -> (forall l, 0 <= w l) -> (forall l, l != i -> w l <= rho * w i) ->
  peaked w i (#|tokens|.-1%:R * rho).
Proof.
move=> wi_gt0 w_ge0 le_rho; split=> //; apply: le_trans (ler_sum _ le_rho) _.
by rewrite sumr_const cardC1 -mulrA mulr_natl.
Qed.

Lemma peaked_ge0 w i kappa : peaked w i kappa -> 0 <= kappa.
Proof.
move=> [wi_gt0 w_ge0 le_rest]; rewrite -(pmulr_lge0 _ wi_gt0).
by apply: le_trans le_rest; apply: sumr_ge0.
Qed.

Lemma total_gt0 w i kappa : peaked w i kappa -> 0 < \sum_l w l.
Proof. by move=> [wi_gt0 w_ge0 _]; rewrite (bigD1 i) //= ltr_paddr // sumr_ge0. Qed.

Lemma total_le w i kappa : peaked w i kappa -> \sum_l w l <= w i * (1 + kappa).
Proof. by move=> [_ _ le_rest]; rewrite (bigD1 i) //= mulrDr mulr1 ler_add2l mulrC. Qed.

(** The token asked for is heard with 1 / (1 + kappa) of the weight at least... *)
Lemma attention_lower w v i kappa : peaked w i kappa -> (forall l, 0 <= v l) -> v i / (1 + kappa) <= attention w v.
Proof.
move=> wP v_ge0; have kappa_ge0 := peaked_ge0 wP; have [wi_gt0 w_ge0 _] := wP.
rewrite /attention ler_pdivl_mulr ?(total_gt0 wP) // mulrAC ler_pdivr_mulr ?ltr_paddr ?ltr01 //.
apply: le_trans (ler_wpmul2l (v_ge0 i) (total_le wP)) _.
rewrite mulrA [v i * _]mulrC ler_wpmul2r ?addr_ge0 ?ler01 // (bigD1 i) //= ler_addl.
by apply: sumr_ge0 => l _; apply: mulr_ge0.
Qed.

Lemma attention_complement w v i kappa : peaked w i kappa -> attention w (fun l => 1 - v l) = 1 - attention w v.
Proof.
move=> /total_gt0 total; rewrite /attention -[in RHS](divff (lt0r_neq0 total)) -mulrBl -sumrB.
by congr (_ / _); apply: eq_bigr => l _; rewrite mulrBr mulr1.
Qed.

(** ...and so the convex combination stays within kappa of its value. *)
Theorem attention_bounds w v i kappa : peaked w i kappa -> (forall l, 0 <= v l <= 1) ->
  v i / (1 + kappa) <= attention w v <= (v i + kappa) / (1 + kappa).
Proof.
move=> wP v01; rewrite (attention_lower wP) => [|l]; last by case/andP: (v01 l).
have : (1 - v i) / (1 + kappa) <= 1 - attention w v.
  rewrite -(attention_complement v wP); apply: (attention_lower (v := fun l => 1 - v l) wP) => l.
  by rewrite subr_ge0; case/andP: (v01 l).
have denominator : 1 + kappa != 0 by rewrite lt0r_neq0 ?ltr_paddr ?ltr01 ?(peaked_ge0 wP).
rewrite ler_subr_addr -ler_subr_addl => /le_trans-> //.
rewrite -[X in X - _](divff denominator) -mulrBl.
by rewrite opprB addrC addrA subrK.
Qed.

Lemma approximate_bounds w v i kappa eta found :
  peaked w i kappa -> (forall l, 0 <= v l <= 1) -> 0 <= eta <= 1 -> approximates eta (attention w v) found ->
  (1 - eta) * (v i / (1 + kappa)) <= found <= (1 + eta) * ((v i + kappa) / (1 + kappa)).
Proof.
move=> wP v01 /andP[eta_ge0 eta_le1] /andP[above below].
have [lower upper] := andP (attention_bounds wP v01).
apply/andP; split; first by apply: le_trans above; rewrite ler_wpmul2l // subr_ge0.
by apply: le_trans below _; rewrite ler_wpmul2l // addr_ge0 ?ler01.
Qed.

(** Every threshold between the worst outputs of two levels tells them apart. *)
Theorem levels_apart w v i kappa eta found (low high threshold : R) :
  peaked w i kappa -> (forall l, 0 <= v l <= 1) -> 0 <= eta <= 1 -> approximates eta (attention w v) found ->
  (1 + eta) * ((low + kappa) / (1 + kappa)) < threshold <= (1 - eta) * (high / (1 + kappa)) ->
  (v i <= low -> found < threshold) /\ (high <= v i -> threshold <= found).
Proof.
move=> wP v01 eta01 near /andP[above_low below_high]; have [eta_ge0 eta_le1] := andP eta01.
have [lower upper] := andP (approximate_bounds wP v01 eta01 near).
have denominator : 0 < 1 + kappa by rewrite ltr_paddr ?ltr01 ?(peaked_ge0 wP).
split=> level.
  apply: le_lt_trans (le_trans upper _) above_low.
  by rewrite ler_wpmul2l ?addr_ge0 ?ler01 // ler_pmul2r ?invr_gt0 // ler_add2r.
apply: le_trans below_high (le_trans _ lower).
by rewrite ler_wpmul2l ?subr_ge0 // ler_pmul2r ?invr_gt0.
Qed.

(** Theorem B: where kappa (1 + eta) < 1 - eta, any threshold from kappa (1 + eta) / (1 + kappa), itself left out, to
    (1 - eta) / (1 + kappa), which is theory 3's, reads every bit. *)
Theorem theorem_B w (x : tokens -> bool) i kappa eta found threshold :
  peaked w i kappa -> 0 <= eta -> kappa * (1 + eta) < 1 - eta ->
  approximates eta (attention w (fun l => (x l)%:R)) found ->
  kappa * (1 + eta) / (1 + kappa) < threshold <= (1 - eta) / (1 + kappa) ->
  (threshold <= found) = x i.
Proof.
move=> wP eta_ge0 margin near between.
have eta_le1 : eta <= 1.
  by rewrite -subr_ge0; apply: le_trans (ltW margin); rewrite mulr_ge0 ?(peaked_ge0 wP) ?addr_ge0 ?ler01.
have [|||zero one] := @levels_apart w (fun l => (x l)%:R) i kappa eta found 0 1 threshold wP _ _ near _.
- by move=> l; case: (x l); rewrite ler01 lexx.
- by rewrite eta_ge0.
- by move: between; rewrite add0r mul1r !mulrA [(1 + eta) * _]mulrC.
by case: (x i) zero one => zero one; [apply: one | apply/negbTE; rewrite -ltNge; apply: zero].
Qed.

(** Theory 3's threshold is one of these, and so is the middle of the two worst outputs, which the package takes. *)
Lemma theorem_B_thresholds kappa eta : 0 <= kappa -> kappa * (1 + eta) < 1 - eta ->
  let zero := kappa * (1 + eta) / (1 + kappa) in let one := (1 - eta) / (1 + kappa) in
  zero < one <= one /\ zero < (zero + one) / 2%:R <= one.
Proof.
move=> kappa_ge0 margin zero one.
have apart : zero < one by rewrite /zero /one ltr_pmul2r // invr_gt0 ltr_paddr ?ltr01.
by rewrite apart lexx; have [-> /ltW->] := midf_lt apart.
Qed.

End Attention.
