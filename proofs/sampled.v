(** The sampled form: Theorem A from a random sample of the positions (theory 1, [sampled_certificate]).

    Assumed, as there: Bob's string is a function of the message before the sample is drawn. [decode] takes no sample,
    so a reader whose answer to one position depends on which others are asked is not modelled. *)

From mathcomp Require Import all_ssreflect.
From kvfloor Require Import counting hamming certificate.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

(** Of the samples of m of N positions, those with at most s of the e that are wrong. *)
Definition tail (N m e s : nat) : nat := \sum_(k < s.+1 | k <= m) 'C(e, k) * 'C(N - e, m - k).

(** An upper confidence bound: no e beyond [bound s] shows at most s errors with probability above 2^-u. *)
Definition upper_bound (N m u : nat) (bound : nat -> nat) : Prop :=
  forall s e, e <= N -> 'C(N, m) < tail N m e s * 2 ^ u -> e <= bound s.

(** The largest such e is one, and every larger number: rounding up is sound. *)
Definition least_bound (N m u s : nat) : nat := \max_(e < N.+1 | 'C(N, m) < tail N m e s * 2 ^ u) e.

Lemma least_boundP N m u : upper_bound N m u (least_bound N m u).
Proof. by move=> s e le_eN above; apply: (leq_bigmax_cond (Ordinal (le_eN : e < N.+1))) above. Qed.

Section Samples.

Variables (I : finType) (m : nat).
Local Notation N := #|I|.
Local Notation sample := {set I}.

(** All samples of m positions; each is drawn with probability 1 / binom(N, m). *)
Definition samples : {set sample} := [set S : sample | #|S| == m].

Lemma card_samples : #|samples| = 'C(N, m).
Proof. exact: card_draws. Qed.

(** A sample is what it takes from D and what it takes from the rest. *)
Lemma card_hits (D : {set I}) k :
  #|[set S in samples | #|S :&: D| == k]| = if k <= m then 'C(#|D|, k) * 'C(N - #|D|, m - k) else 0.
Proof.
case: leqP => [le_km|lt_mk]; last first.
  apply: eq_card0 => S; rewrite !inE; apply/andP => -[/eqP cardS /eqP cardSD].
  by move: lt_mk; rewrite -cardS -cardSD ltnNge subset_leq_card ?subsetIl.
pose join (AB : {set I} * {set I}) := AB.1 :|: AB.2.
pose parts := setX [set A : {set I} | A \subset D & #|A| == k] [set B : {set I} | B \subset ~: D & #|B| == m - k].
have part_of A B : (A, B) \in parts -> [/\ A = join (A, B) :&: D, B = join (A, B) :\: D & #|join (A, B)| = m].
  rewrite !inE /= => /andP[/andP[AD /eqP cardA] /andP[BD /eqP cardB]].
  have BD0: B :&: D = set0 by apply/eqP; rewrite setI_eq0 disjoints_subset.
  have AB0: A :&: B = set0 by apply/eqP; rewrite -subset0 -BD0 setIC setIS.
  rewrite /join /= setIUl setDUl BD0 setU0 cardsU AB0 cards0 subn0 cardA cardB subnKC //.
  split=> //; first by apply/esym/setIidPl.
  have /eqP->: A :\: D == set0 by rewrite setD_eq0.
  by rewrite set0U; apply/esym/setDidPl; rewrite disjoints_subset.
have join_inj: {in parts &, injective join}.
  move=> [A B] [C E] /part_of[AE BE _] /part_of[CE EE _] same.
  by congr (_, _); [rewrite AE same -CE | rewrite BE same -EE].
have cardDC: #|~: D| = N - #|D| by rewrite -(cardsC D) addKn.
rewrite -cardDC -(cards_draws D k) -(cards_draws (~: D)) -cardsX -/parts -(card_in_imset join_inj).
congr #|pred_of_set _|; apply/setP => S; rewrite !inE; apply/andP/imsetP => [[/eqP cardS /eqP cardSD]|].
  exists (S :&: D, S :\: D); last by rewrite /join setID.
  by rewrite !inE subsetIr cardSD eqxx subDset setUCr subsetT cardsD cardS cardSD eqxx.
move=> [[A B] AB ->]; have [AE _ ->] := part_of _ _ AB; rewrite -AE eqxx.
by move: AB; rewrite !inE => /andP[/andP[_ ->]].
Qed.

Lemma card_few_hits (D : {set I}) s : #|[set S in samples | #|S :&: D| <= s]| = tail N m #|D| s.
Proof.
rewrite /tail big_mkcond -sum1dep_card /=.
rewrite (partition_big (fun S => inord #|S :&: D| : 'I_s.+1) xpredT) //=.
apply: eq_bigr => k _; rewrite -card_hits -sum1dep_card; apply: eq_bigl => S.
rewrite -andbA; congr (_ && _); apply/andP/eqP => [[le_s /eqP <-]|->]; first by rewrite inordK.
by rewrite -ltnS ltn_ord inord_val.
Qed.

(** Whatever is wrong, the bound falls short of it on a fraction 2^-u of the samples at most. *)
Theorem upper_bound_misses u bound (D : {set I}) : upper_bound N m u bound ->
  #|[set S in samples | bound #|S :&: D| < #|D|]| * 2 ^ u <= 'C(N, m).
Proof.
move=> boundP; set misses := [set S in _ | _].
have [->|[S0 S0miss]] := set_0Vmem misses; first by rewrite cards0.
case: (arg_maxnP (fun S => #|S :&: D|) S0miss) => S Smiss most.
have few: misses \subset [set T in samples | #|T :&: D| <= #|S :&: D|].
  apply/subsetP => T Tmiss; rewrite !inE; have:= most T Tmiss => /= ->.
  by move: Tmiss; rewrite !inE => /andP[->].
have{few} := subset_leq_card few; rewrite card_few_hits => le_tail.
apply: leq_trans (leq_mul le_tail (leqnn _)) _; rewrite leqNgt; apply/negP => above.
have: S \in misses by []; rewrite !inE => /andP[_]; apply/negP; rewrite -leqNgt.
by apply: boundP above; apply: max_card.
Qed.

End Samples.

Section Sampled.

Variables I A : finType.
Local Notation string := {ffun I -> A}.
Local Notation N := #|I|.
Local Notation q := #|A|.

(** Theorem A at t + 1 with the bound in the place of the errors, the bound at t + 1, too: together 2^-t of all
    pairs of a string and a sample. [S :&: errors x y] are the errors that the sample shows. *)
Theorem theorem_A_sampled prefix m t bound (encode : string -> message) (decode : message -> string) :
  sendable prefix encode -> upper_bound N m t.+1 bound ->
  #|[set xS | (xS.2 \in samples I m) &&
      refuted I A prefix 1 t.+1 (size (encode xS.1)) (bound #|xS.2 :&: errors xS.1 (decode (encode xS.1))|)]| * 2 ^ t
  <= q ^ N * 'C(N, m).
Proof.
move=> short boundP; pose wrong x := errors x (decode (encode x)); set claims := [set xS | _].
pose unlucky_string := setX [set x | refuted I A prefix 1 t.+1 (size (encode x)) #|wrong x|] (samples I m).
pose unlucky_sample := [set xS | xS.2 \in [set S in samples I m | bound #|S :&: wrong xS.1| < #|wrong xS.1|]].
have covered: claims \subset unlucky_string :|: unlucky_sample.
  apply/subsetP => -[x S]; rewrite !inE /= => /andP[-> claimed] /=; rewrite andbT.
  case: ltnP => [_|le_bound]; first by rewrite orbT.
  by rewrite orbF; apply: leq_trans claimed; rewrite leq_mul2l leq_vol ?orbT.
have bad_strings: #|unlucky_string| * 2 ^ t.+1 <= q ^ N * 'C(N, m).
  by rewrite cardsX card_samples mulnAC leq_mul2r theorem_A ?orbT.
have bad_samples: #|unlucky_sample| * 2 ^ t.+1 <= q ^ N * 'C(N, m).
  pose short_of x S := S \in [set S in samples I m | bound #|S :&: wrong x| < #|wrong x|].
  rewrite (card_pairs short_of) big_distrl -card_ffun -sum_nat_const /=.
  apply: leq_sum => x _; have->: [set S | short_of x S] = [set S in samples I m | bound #|S :&: wrong x| < #|wrong x|].
    by apply/setP => S; rewrite inE.
  exact: upper_bound_misses.
rewrite -(leq_pmul2r (m := 2)) // -mulnA -expnSr [leqRHS]muln2 -addnn.
apply: leq_trans (leq_add bad_strings bad_samples); rewrite -mulnDl leq_mul2r.
by rewrite (leq_trans (subset_leq_card covered) (leq_card_setU _ _)) orbT.
Qed.

End Sampled.
