"""`bfv` and `ckks`: sums under homomorphic encryption, with one secret key that every client holds.

Adversary.
  Who may be corrupted: the server, as long as it is honest but curious: it follows the steps and keeps all it sees.
  What it learns: the totals over the survivors, who took part, and nothing else of the vectors.
  A lying server opens the vectors of several clients a session. A key holder cannot know that what it decrypts is the
  sum of all, each once: c0 + 2 c1 + 4 c2 + ... of the votes of clients 0, 1, 2, ... passes every check that there is,
  and its bits are theirs. So of entries in [0, bound] it reads those of

      floor(log(survivors * bound + 1) / log(bound + 1))

  clients whole (votes: 2 of 4, 3 of 8, 6 of 64; see `clients_opened`), other ones in each ciphertext if it likes. It
  reads no more than that: a total within the range tells log2(survivors * bound + 1) bits, and there is one set of
  totals a session. For the clients sign a digest of what is to be decrypted, together with the survivor list and before
  anything is, so under 2 * recovery_threshold > clients + assumed_colluders only one choice of ciphertexts gathers
  enough signatures. Over many sessions with the same data a lying server thus opens the data of everybody.
  Any client that helps the server opens everything, every vector of every client; so does whoever obtains one client's
  secrets of the session. assumed_colluders counts, for these two protocols, in the rules of `check` and nowhere else.
  Among clients: none sees another's vectors. A client that does not follow the protocol can send what it likes, and so
  move any total, also in neighbouring lanes, and it can end the session for others by what it seals, signs or reports.
  It cannot report false totals unnoticed: two clients open the sum, and must agree. Two that lie together can, if they
  are the two whose reports come first.
  What aborts the session: too few clients (`TooFewSurvivors`); fewer than recovery_threshold signatures on the survivor
  list, sum and key that a client signed (`UnsafeRequest`); clients that hold different keys or opened different totals,
  and ciphertexts that do not open to a possible sum (`UnusableTotals`). The last is one error whatever the reason,
  raised when the step is spent, and sends nothing: how decryption fails would tell about the key. That it failed cannot
  be hidden from a server that waits for an answer: one bit a session, since all clients decrypt the same ciphertexts.

Keys are fresh each session and made from contributions of all clients that shared (`protocols.homomorphic.keys`), so
the session survives any client's leaving; they are dropped with the role. Each vector is packed, several entries a
word, and the words of all vectors fill ciphertexts one after another (`protocols.homomorphic.run_of_words`), whose
parameters are secure and exact by `protocols.homomorphic.parameters`, or the plan is refused.

`bfv` computes modulo a prime and is the denser of the two. `ckks` computes on approximate complex numbers; because its
raw decryptions leak the key (Li and Micciancio 2021), only the nearest integers ever leave the decrypting client, which
refuses unless all are within 1/4.

Sources: Fan and Vercauteren 2012 (BFV), Cheon, Kim, Kim and Song 2017 (CKKS), as implemented by Microsoft SEAL in
TenSEAL. This needs TenSEAL when a role is made, not before.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.homomorphic.parameters import Scheme, choose, largest_bound
from protocols.packing import Layout
from protocols.roles import ClientRole, ServerRole
from protocols.session import SessionPlan, VectorSpec
from protocols.wire import ClientPen

FEWEST_UNKNOWN = 2  # vectors in a sum, beyond those that its reader knows


class Homomorphic:
    """The protocol `bfv` or `ckks`.

    Attributes:
        scheme: Which of the two.
        workers: Processes in which a client encrypts when there is much to encrypt, as in
            `protocols.homomorphic.workers`.
    """

    def __init__(self, scheme: Scheme, *, workers: int = 1) -> None:
        """Choose the scheme and the number of processes.

        Raises:
            ValueError: If there is no worker.
        """
        if workers < 1:
            raise ValueError(f"workers={workers} must be at least 1")
        self.scheme = scheme
        self.workers = workers

    @property
    def name(self) -> str:
        """Name on the command line and on the wire."""
        return self.scheme.value

    def check(self, plan: SessionPlan) -> None:
        """Refuse a plan that is not safe or not exact.

        Raises:
            ValueError: If there are fewer than three clients, two survivor lists could gather enough signatures, the
                sum could be one client's vector to those who know the others, no parameters are exact, or the plan has
                neighbours.
        """
        clients, colluders = len(plan.roster), plan.assumed_colluders
        if clients < 3:
            raise ValueError(f"roster={clients} clients must be at least 3: of two, each learns the other's vectors")
        if 2 * plan.recovery_threshold <= clients + colluders:
            raise ValueError(
                f"recovery_threshold={plan.recovery_threshold} must be at least {(clients + colluders) // 2 + 1}: more "
                f"than half of {clients} clients and {colluders} assumed colluders"
            )
        if plan.minimum_survivors - max(colluders, 1) < FEWEST_UNKNOWN:
            raise ValueError(
                f"minimum_survivors={plan.minimum_survivors} must be at least {max(colluders, 1) + FEWEST_UNKNOWN}: "
                f"with assumed_colluders={colluders} the sum would be one client's vector to another"
            )
        if plan.neighbours:
            raise ValueError(f"neighbours={plan.neighbours} must be 0: {self.name} has no graph")
        choose(self.scheme, plan)

    def claim(self, plan: SessionPlan) -> str:
        """Say what it protects against, and what a lying server gains under this plan."""
        opened = clients_opened(plan)
        return (
            f"protects against an honest-but-curious server; a lying server opens the vectors of {opened} "
            f"client{'s' if opened > 1 else ''} in a session; any client that helps the server opens everything"
        )

    def layout(self, plan: SessionPlan, vector: VectorSpec) -> Layout:
        """Return the layout of a vector of the plan.

        Raises:
            ValueError: If the vector is not of the plan, or as `check`.
        """
        return choose(self.scheme, plan).layouts[plan.vectors.index(vector)]

    def largest_bound(self, clients: int) -> int:
        """Return the largest bound whose total over these clients is exact under some parameters."""
        return largest_bound(self.scheme, clients)

    def client(self, plan: SessionPlan, index: int, signing_key: Ed25519PrivateKey) -> ClientRole:
        """Return the role of the client at this roster index.

        Raises:
            ImportError: If TenSEAL is missing.
        """
        from protocols.homomorphic.client import HomomorphicClient

        self.check(plan)
        pen = ClientPen.of(plan.roster, index, signing_key)
        return HomomorphicClient(self.scheme, plan, pen, workers=self.workers)

    def server(self, plan: SessionPlan) -> ServerRole:
        """Return the role of the server.

        Raises:
            ImportError: If TenSEAL is missing.
        """
        from protocols.homomorphic.server import HomomorphicServer

        self.check(plan)
        return HomomorphicServer(self.scheme, plan)


def clients_opened(plan: SessionPlan) -> int:
    """Return the vectors of how many clients, whole, a lying server can have opened in one session.

    It has a sum opened in which the clients' entries are the digits: entry i weighs `values` ** i, for entries of so
    many values. The largest number of such digits that fits the range of totals, over the vectors of the plan; what
    headroom there is for noise counts as room.
    """
    return max(_digits(vector, len(plan.roster)) for vector in plan.vectors)


def _digits(vector: VectorSpec, clients: int) -> int:
    bound, reach = vector.bound, vector.reach(clients)
    values, room = (2 * bound + 1, 2 * reach + 1) if vector.signed else (bound + 1, reach + 1)
    digits = 1
    while values ** (digits + 1) <= room:
        digits += 1
    return digits
