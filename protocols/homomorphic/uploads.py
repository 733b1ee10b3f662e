"""What one client that helps the server of `bfv` or `ckks` gives away: everybody's vectors, since all hold one key.

This is the claim's limit (`protocols.homomorphic.protocol`), carried out. No honest party has a use for it.
"""

from __future__ import annotations

import numpy as np

from protocols.homomorphic.ciphertexts import Adder, NotASum
from protocols.homomorphic.client import HomomorphicClient
from protocols.homomorphic.parameters import Scheme, choose
from protocols.packing import Integers, unpack
from protocols.roles import ClientRole
from protocols.session import SessionPlan


def open_upload(scheme: Scheme, plan: SessionPlan, upload: bytes, helper: ClientRole) -> dict[str, Integers]:
    """Decrypt the ciphertexts that one client submitted.

    Args:
        scheme: The session's.
        plan: The session's plan.
        upload: The ciphertexts, as the server received them.
        helper: Role of any client that has submitted and not revealed.

    Returns:
        For every name of the plan the client's entries, (length,).

    Raises:
        ValueError: If the helper does not hold the session's key now, or the upload does not open under it.
    """
    holder = helper._holder if isinstance(helper, HomomorphicClient) else None
    if holder is None:
        raise ValueError(f"helper={helper!r} must hold the session's key, as a client does between submit and reveal")
    choice = choose(scheme, plan)
    adder, run, size = Adder(choice.parameters), choice.run(plan), choice.parameters.ring.upload_bytes
    try:
        words = [
            holder.open_loaded(adder.load(upload[at : at + size]), shift=run.shift(number))
            for number, at in enumerate(range(0, run.ciphertexts * size, size))
        ]
    except NotASum:
        raise ValueError("upload must be encrypted under the helper's key") from None
    parts = zip(plan.vectors, choice.layouts, run.split(np.concatenate(words)), strict=True)
    return {spec.name: unpack(part, layout, spec.length) for spec, layout, part in parts}
