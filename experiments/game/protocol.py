"""One play of the one-way game: the only place where Alice meets Bob.

Alice encodes x, feeds the tokens to a cache and sends its bytes; Bob restores the cache from those bytes,
appends his one token, asks and decodes. Two channels run the same two halves (`kvfloor.experiments.game.parties`):
`InProcess`, for thousands of plays, and `FreshProcesses` (`kvfloor.experiments.game.processes`), where nothing but the
bytes can cross.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Coins
from kvfloor.experiments.game.parties import Answered, Channel, InProcess
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.game.reading import THRESHOLD, check_readers
from kvfloor.reductions.bounds.certificates import Certificate, one_shot_certificate, sampled_certificate
from kvfloor.reductions.encodings.protocol import Encoding, Tokens
from kvfloor.reductions.encodings.values import ValuesEncoding

__all__ = ["Transcript", "play", "play_symbols"]


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


def play(
    encoding: Encoding,
    cache: str,
    randomness: Randomness,
    *,
    channel: Channel | None = None,
    positions: int | None = None,
    eta: float = 0.0,
    sample: Callable[[np.random.Generator], NDArray[Any]] | None = None,
    readers: Sequence[str] = (THRESHOLD,),
) -> Transcript:
    """Play the game once and return its transcript.

    Parameters
    ----------
    encoding : Encoding
        The reduction; its keys were drawn from `randomness.keys()` or are deterministic.
    cache : str
        The cache under test, as `kvfloor.attention.caches.resolve` takes it.
    randomness : Randomness
        The streams of this play.
    channel : Channel, optional
        How the halves run; in this process by default.
    positions : int, optional
        Ask this many symbols, drawn after the message is fixed; all of them by default.
    eta : float
        An adversary moves every answer by up to this relative amount, in [0, 1), so as to break the
        decoder. Decoders are monotone in every answer, so its best choice is one of the two ends.
    sample : callable, optional
        Draws x from the secret generator; uniform by default. The certificate holds for uniform x alone.
    readers : sequence of str
        Who reads, of `kvfloor.experiments.game.reading.READERS`; the errors are those of the best. All but the threshold
        need every position and exact answers.

    Returns
    -------
    Transcript
        Wire bits, errors and sizes.
    """
    wire_bits, indices, wrong = _play(
        encoding, cache, randomness, channel or InProcess(), positions, eta, sample, readers
    )
    errors = {name: int(missed.sum()) for name, missed in wrong.items()}
    best = min(errors, key=lambda name: errors[name])
    problem = encoding.problem
    sizes = len(indices), problem.length, problem.alphabet
    return Transcript(wire_bits, errors[best], *sizes, best, len(readers))


def play_symbols(
    encoding: Encoding,
    cache: str,
    randomness: Randomness,
    *,
    channel: Channel | None = None,
    positions: int | None = None,
    eta: float = 0.0,
    sample: Callable[[np.random.Generator], NDArray[Any]] | None = None,
) -> tuple[int, NDArray[np.int64], NDArray[np.bool_]]:
    """Play the game once and say which symbols were decoded wrongly; the arguments are those of `play`.

    Returns
    -------
    wire_bits : int
        8 x the bytes that crossed from Alice to Bob.
    indices : ndarray of int, shape (k,)
        The symbols asked.
    wrong : ndarray of bool, shape (k,)
        Which of them were decoded wrongly.
    """
    wire_bits, indices, wrong = _play(
        encoding, cache, randomness, channel or InProcess(), positions, eta, sample, (THRESHOLD,)
    )
    return wire_bits, indices, wrong[THRESHOLD]


def _play(
    encoding: Encoding,
    cache: str,
    randomness: Randomness,
    channel: Channel,
    positions: int | None,
    eta: float,
    sample: Callable[[np.random.Generator], NDArray[Any]] | None,
    readers: Sequence[str],
) -> tuple[int, NDArray[np.int64], dict[str, NDArray[np.bool_]]]:
    """Return wire bits, the symbols asked, and which of them each reader decoded wrongly."""
    problem = encoding.problem
    asked_all = positions is None or positions >= problem.length
    check_readers(readers, encoding, asked_all and eta == 0)
    symbols = (sample or problem.sample)(randomness.secret())
    coins = Coins(randomness.coins_seed(), encoding.public_keys)
    payload = channel.send(cache, coins, encoding.encode(symbols))

    if asked_all:
        indices = np.arange(problem.length)
    else:
        indices = randomness.positions().choice(problem.length, positions, replace=False, shuffle=False)
    questions = problem.reconstruction(indices)
    token, queries = encoding.reader_token(), encoding.queries(questions)
    outputs = channel.receive(cache, coins, payload, token, queries)
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
        solved = channel.solve(cache, coins, solving, answered)
        wrong |= {name: missed(values) for name, values in zip(solving, solved, strict=True)}
    return 8 * len(payload), indices, wrong
