"""One play of the one-way game: the only place where Alice meets Bob.

Alice encodes x, her host feeds the tokens to a cache and hands over its bytes; Bob's host restores the cache
from those bytes, appends his token and answers, and he decodes. A host in this process is for thousands of
plays; wrapped in `kvfloor.experiments.game.hosts.isolated.Isolated` nothing but the bytes can cross.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Coins
from kvfloor.experiments.game.hosts.host import Host, Written
from kvfloor.experiments.game.hosts.numpy_caches import NumpyCache
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.game.reading import THRESHOLD, check_readers
from kvfloor.experiments.game.solving import Answered
from kvfloor.reductions.bounds.certificates import Certificate, one_shot_certificate, sampled_certificate
from kvfloor.reductions.encodings.protocol import Encoding, Tokens
from kvfloor.reductions.encodings.values import ValuesEncoding

__all__ = ["Asking", "Played", "Transcript", "play", "play_in_full"]


@dataclass(frozen=True, slots=True)
class Transcript:
    """What one play left behind.

    Parameters
    ----------
    wire_bits : int
        8 x the bytes that crossed from Alice to Bob.
    errors : int
        Wrongly decoded symbols among those asked.
    asked : int
        Symbols asked, at most `symbols`.
    symbols : int
        N, the symbols Alice held.
    alphabet : int
        q, the values a symbol can take.
    reader : str
        Whose errors these are: the one of `readers` with the fewest, the first of equals.
    readers : int
        How many readers were to read, fixed before the play: the certificate pays log2 of it.
    """

    wire_bits: int
    errors: int
    asked: int
    symbols: int
    alphabet: int
    reader: str = THRESHOLD
    readers: int = 1

    @property
    def accuracy(self) -> float:
        """The fraction of the asked symbols that was decoded rightly, in [0, 1]."""
        return 1.0 - self.errors / self.asked

    def certificate(self, significance_bits: float = 40.0) -> Certificate:
        """Return what this play proves: one-shot if every symbol was asked, else sampled (theory 1)."""
        if self.asked == self.symbols:
            return one_shot_certificate(
                self.symbols, self.errors, self.alphabet, significance_bits, self.readers
            )
        return sampled_certificate(self.symbols, self.asked, self.errors, self.alphabet, significance_bits)

    def impossible(self, significance_bits: float = 40.0) -> bool:
        """Return whether the certificate proves more bits than crossed: a side channel or a miscount."""
        return self.certificate(significance_bits).refutes(self.wire_bits)


@dataclass(frozen=True, slots=True)
class Asking:
    """What Bob asks, and who reads his answers.

    Parameters
    ----------
    positions : int, optional
        Ask this many symbols, drawn after the message is fixed; all of them by default.
    readers : tuple of str
        Who reads, of `kvfloor.experiments.game.reading.READERS`; the errors are those of the best. All but the
        threshold need every position and exact answers.
    """

    positions: int | None = None
    readers: tuple[str, ...] = (THRESHOLD,)


EVERYTHING = Asking()


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """One play and all that it left.

    Parameters
    ----------
    transcript : Transcript
        Wire bits, errors and sizes.
    written : Written
        Alice's message, and her host's accounts.
    indices : ndarray of int, shape (k,)
        The symbols asked.
    wrong : ndarray of bool, shape (k,)
        Which of them the best reader decoded wrongly.
    """

    transcript: Transcript
    written: Written
    indices: NDArray[np.int64]
    wrong: NDArray[np.bool_]


def play(
    encoding: Encoding,
    host: Host | str,
    randomness: Randomness,
    *,
    eta: float = 0.0,
    sample: Callable[[np.random.Generator], NDArray[Any]] | None = None,
    asking: Asking = EVERYTHING,
) -> Transcript:
    """Play the game once and return its transcript.

    Parameters
    ----------
    encoding : Encoding
        The reduction; its keys were drawn from `randomness.keys()` or are deterministic.
    host : Host or str
        Who holds the cache under test; a text is that of a cache in NumPy, in this process.
    randomness : Randomness
        The streams of this play.
    eta : float
        An adversary moves every answer by up to this relative amount, in [0, 1), so as to break the
        decoder. Decoders are monotone in every answer, so its best choice is one of the two ends.
    sample : callable, optional
        Draws x from the secret generator; uniform by default. The certificate holds for uniform x alone.
    asking : Asking
        What is asked and who reads; by default every symbol, by the threshold.

    Returns
    -------
    Transcript
        Wire bits, errors and sizes.
    """
    return play_in_full(encoding, host, randomness, eta=eta, sample=sample, asking=asking).transcript


def play_in_full(
    encoding: Encoding,
    host: Host | str,
    randomness: Randomness,
    *,
    eta: float = 0.0,
    sample: Callable[[np.random.Generator], NDArray[Any]] | None = None,
    asking: Asking = EVERYTHING,
) -> Played:
    """Play the game once and return all that it left; the arguments are those of `play`."""
    host = NumpyCache(host) if isinstance(host, str) else host
    problem, positions, readers = encoding.problem, asking.positions, asking.readers
    asked_all = positions is None or positions >= problem.length
    check_readers(readers, encoding, asked_all and eta == 0)
    symbols = (sample or problem.sample)(randomness.secret())
    coins = Coins(randomness.coins_seed(), encoding.public_keys)
    written = host.write(encoding.encode(symbols), coins)

    if asked_all:
        indices = np.arange(problem.length)
    else:
        indices = randomness.positions().choice(problem.length, positions, replace=False, shuffle=False)
    questions = problem.reconstruction(indices)
    token, queries = encoding.reader_token(), encoding.queries(questions)
    outputs = host.ask(written.payload, token, queries, coins)
    truth = problem.answer(symbols, questions)

    def missed(read: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which symbols come out wrong from such outputs, each answer at the worse end of the noise."""
        answers = encoding.decode((1.0 - eta) * read, questions)
        if eta > 0:
            other = encoding.decode((1.0 + eta) * read, questions)
            answers = np.where(answers != truth, answers, other)
        wrong: NDArray[np.bool_] = problem.reconstruct(answers, indices) != symbols[indices]
        return wrong

    wrong = {THRESHOLD: missed(outputs)} if THRESHOLD in readers else {}
    solving = [name for name in readers if name != THRESHOLD]
    if solving and (THRESHOLD not in wrong or wrong[THRESHOLD].any()):  # nobody beats no error at all
        assert isinstance(encoding, ValuesEncoding)
        assert isinstance(token, Tokens)
        answered = Answered(encoding.public_keys, token, queries, outputs, encoding.levels.values)
        solved = host.solve(solving, answered, coins)
        wrong |= {name: missed(values) for name, values in zip(solving, solved, strict=True)}
    errors = {name: int(each.sum()) for name, each in wrong.items()}
    best = min(errors, key=lambda name: errors[name])
    counts = 8 * len(written.payload), errors[best], len(indices), problem.length, problem.alphabet
    return Played(Transcript(*counts, best, len(readers)), written, indices, wrong[best])
